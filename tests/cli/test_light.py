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


def test_what_commands_start_with_loads_nothing_that_trains() -> None:
    modules = "ftr.study.study, ftr.study.sweep, ftr.study.resume, ftr.runs.evaluate"
    script = f"import sys, {modules}; print(sorted(set({HEAVY[:4]!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr
