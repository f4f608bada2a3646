"""`ftr resume`: continue a run or a sweep that was stopped."""

from __future__ import annotations

import argparse

from ftr.cli.main import Answer
from ftr.cli.run import run_answer
from ftr.cli.sweep import sweep_answer

EXAMPLES = (
    "ftr resume RUN",
    "ftr resume SWEEP trials=40",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run or sweep, and settings to compare."""
    parser.add_argument(
        "run",
        help="the directory of the run or sweep, the start of its name under `runs`, or a sweep in "
        "a storage: s3://bucket/folder/NAME",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="must be those it was begun with; a sweep may get more: trials=40, time_budget=2h",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Resume, and answer as `ftr run` or `ftr sweep` does."""
    from ftr.progress import STAGES

    STAGES.begin()
    from ftr.study.resume import resume
    from ftr.study.sweep import SweepResult

    result = resume(args.run, args.settings)
    return sweep_answer(result) if isinstance(result, SweepResult) else run_answer(result)
