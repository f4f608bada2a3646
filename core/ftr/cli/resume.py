"""`ftr resume`: going on with a run or a sweep that was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftr.cli.main import Answer
from ftr.cli.run import answer
from ftr.runs.directory import SWEEP, named


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
    """Go on, and answer as `ftr run` or `ftr sweep` does."""
    if "://" in args.run:
        from ftr.registry import trust
        from ftr.study.remote import fetch_sweep

        # The storage is named on this command line, so it need not be named a second time.
        trust.remember([trust.setting("compute.storage", args.run.rstrip("/").rpartition("/")[0])])
        args.run = str(fetch_sweep(args.run, Path("runs")))
    if is_sweep(args.run):
        from ftr.cli.sweep import sweep_answer
        from ftr.study.sweep import resume_sweep

        return sweep_answer(resume_sweep(args.run, args.settings))
    from ftr.study.study import resume

    return answer(resume(args.run, args.settings))


def is_sweep(given: str, output: str = "runs") -> bool:
    """Whether a directory, or the start of a name under `output`, is that of a sweep.

    Raises `RequestError` where it may be several.
    """
    found = named(given, output)
    return found is not None and (found / SWEEP).is_file()
