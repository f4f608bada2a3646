"""The commands people type to look around: quick, and without a heavy import."""

import os
import resource
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
LIMIT = 0.25  # seconds
SCRIPT = f"""
import sys
from ftr.cli.main import main
code = main(sys.argv[1:])
print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["--help"], ["plugins"], ["--version"], ["plugins", "--json"]],
    ids=" ".join,
)
def test_no_heavy_module_is_loaded(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    "module", ["ftr.study.study", "ftr.study.sweep", "ftr.study.resume", "ftr.runs.evaluate"]
)
def test_what_a_command_starts_with_loads_nothing_that_trains(module: str) -> None:
    script = f"import sys, {module}; print(sorted(set({HEAVY[:4]!r}) & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["plugins"]], ids=" ".join)
def test_it_answers_within_a_quarter_second(arguments: list[str]) -> None:
    assert min(_processor_seconds(arguments) for _ in range(5)) < LIMIT


def _processor_seconds(arguments: list[str]) -> float:
    """Processor time rather than wall time: other tests may share the cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "ftr", *arguments],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
