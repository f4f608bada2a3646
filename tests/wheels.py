"""The packages under `examples/` and the one of the tutorial, as a stranger gets them: built as
wheels and installed into a Python of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from editable import new_python, pip_install
from pages import write_tutorial

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGES = tuple(sorted(path.parent.name for path in EXAMPLES.glob("ftr-*/pyproject.toml")))
TUTORIAL = "ftr-tickets"
TUTORIAL_TEST = """
from ftr.testing import TaskConformance


class TestTask(TaskConformance):
    name = "tickets"
"""
COMMANDS = """
import contextlib, io, json, sys
from ftr.cli.main import main

lines, answers, run = json.load(sys.stdin), [], ""
with contextlib.ExitStack() as stack:
    if any(line[0] == "sweep" for line in lines):  # one Ray for all of them
        from ftr.config.schema import ComputeConfig
        from ftr.runs.launch import connected
        from ftr.study.search import TUNE_SETTINGS
        from ftr.registry.registry import get_registry

        stack.enter_context(connected(ComputeConfig(), get_registry(), lambda line: None, TUNE_SETTINGS))
    for line in lines:
        words = [run if word == "RUN" else word for word in line]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = main([*words, "--json"])
        if code:
            sys.exit(f"exit code {code}: ftr {' '.join(words)}")
        answers.append(json.loads(said.getvalue()))
        run = answers[-1]["path"] if words[0] == "run" else run
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A Python that has the wheels, and the folder its commands run in, which holds the tests of
    the packages.
    """

    python: Path
    folder: Path

    def call(self, *words: str, text: str | None = None) -> str:
        """Run this Python with `words`, and `text` on stdin, and return what it printed; it must
        succeed.
        """
        environment = {name: value for name, value in os.environ.items() if name != "FTR_PLUGINS"}
        done = subprocess.run(
            [str(self.python), *words],
            cwd=self.folder,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def ftr(self, *words: str) -> Any:
        """Run a command of ftr and return its answer."""
        return json.loads(self.call("-m", "ftr", *words, "--json"))

    def commands(self, *lines: Sequence[str]) -> list[Any]:
        """Run commands of ftr one after the other in one process and return their answers; the word
        `RUN` is the last run's path.
        """
        answers: list[Any] = json.loads(self.call("-c", COMMANDS, text=json.dumps(lines)))
        return answers


def place_with_wheels(folder: Path) -> Place:
    """Build the wheels of all examples and of the tutorial, install them into a new environment in
    `folder`, and lay their tests beside it.
    """
    python, wheels, work = new_python(folder), folder / "wheels", folder / "work"
    work.mkdir()
    # What builds them: that which is here, else the index's.
    build = ["--no-build-isolation"] if find_spec("hatchling") else []
    sources = [
        str(shutil.copytree(EXAMPLES / name, folder / "sources" / name)) for name in PACKAGES
    ]
    sources.append(str(write_tutorial(folder / "sources" / TUTORIAL)))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
        *build,
        "--wheel-dir",
        str(wheels),
    ]
    subprocess.run([*command, *sources], check=True)
    pip_install(python, *map(str, sorted(wheels.glob("*.whl"))))
    for name in PACKAGES:
        shutil.copytree(EXAMPLES / name / "tests", work / name / "tests")
    tests = work / TUTORIAL / "tests"
    tests.mkdir(parents=True)
    for name in ("conftest.py", "test_tickets.py"):
        shutil.copy(folder / "sources" / TUTORIAL / name, tests)
    (tests / "test_task.py").write_text(TUTORIAL_TEST, encoding="utf-8")
    return Place(python, work)
