"""The commands people type to look around load few modules, and none that is heavy."""

import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "transformers",
    "datasets",
    "ray",
    "pydantic",
    "evaluate",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
]
MOST_MODULES = 300
"""With those that Python itself starts with."""
SCRIPT = f"""
import sys
from ftr.cli.main import main
code = main(sys.argv[1:])
print(sorted(set({HEAVY!r}) & set(sys.modules)), len(sys.modules), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["--help"], ["plugins"], ["--version"], ["plugins", "--json"]],
    ids=" ".join,
)
def test_few_modules_are_loaded_and_no_heavy_one(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    heavy, _, count = result.stderr.rpartition(" ")
    assert (result.returncode, heavy) == (0, "[]") and int(count) < MOST_MODULES


def test_the_help_of_every_command_loads_few_modules_and_no_heavy_one() -> None:
    script = f"""
import sys
from ftr.cli.main import COMMANDS, main
for name in COMMANDS:
    before = set(sys.modules)
    assert main([name, "--help"]) == 0
    if heavy := set({HEAVY!r}) & (set(sys.modules) - before):
        print(name, heavy, file=sys.stderr)
print(len(sys.modules), file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    *heavy, count = result.stderr.splitlines()
    assert (result.returncode, heavy) == (0, [])
    assert int(count) < MOST_MODULES and "usage: ftr serve" in result.stdout


def test_what_commands_start_with_loads_nothing_that_trains() -> None:
    modules = "ftr.study.study, ftr.study.sweep, ftr.study.resume, ftr.runs.evaluate"
    script = f"import sys, {modules}; print(sorted(set({HEAVY[:4]!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


def test_the_package_names_its_functions_and_loads_no_heavy_module_for_them() -> None:
    script = f"""
import sys, ftr
listed = dir(ftr)
assert all(name in listed for name in ftr.__all__)
functions = [ftr.evaluate, ftr.compare, ftr.resume, ftr.load, ftr.run, ftr.sweep]
assert all(callable(one) and one.__doc__ for one in functions)
print(sorted(set({HEAVY[:4]!r}) & set(sys.modules)))
"""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, ftr; print(len(sys.modules) < {MOST_MODULES}); exec({script!r})",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "True\n[]\n"), result.stderr
