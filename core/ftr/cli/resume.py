"""`ftr resume`: going on with a run or a sweep that was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftr.cli.answer import Answer
from ftr.cli.run import answer
from ftr.paths import expanded
from ftr.runs.sweep import RECORD, all_sweeps


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run or sweep, and settings to compare."""
    parser.add_argument(
        "run",
        help="the directory of the run or sweep, the start of its name under `runs`, or a sweep in a storage: s3://bucket/folder/NAME",
    )
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="must be those it was begun with; a sweep may get more: trials=40, time=2h"
    )


def execute(args: argparse.Namespace) -> Answer:
    """Go on, and answer as `ftr run` or `ftr sweep` does."""
    if "://" in args.run:
        from ftr.jobs.sweep.remote import fetch_sweep

        args.run = str(fetch_sweep(args.run, Path("runs")))
    if is_sweep(args.run):
        from ftr.cli.sweep import sweep_answer
        from ftr.jobs.sweep.start import resume_sweep

        return sweep_answer(resume_sweep(args.run, args.settings))
    from ftr.jobs.resume import resume

    return answer(resume(args.run, args.settings))


def is_sweep(given: str, output: str = "runs") -> bool:
    """Whether a directory, or the start of a name under `output`, is that of a sweep."""
    return (expanded(given, "run") / RECORD).is_file() or any(sweep.path.name.startswith(given) for sweep in all_sweeps(expanded(output)))
