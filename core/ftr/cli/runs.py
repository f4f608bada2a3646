"""`ftr runs`: the runs and sweeps made so far."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftr.cli.answer import Answer, table
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded
from ftr.runs.directory import all_runs, is_held
from ftr.runs.report import decimals, number, several_result
from ftr.study.directory import all_sweeps

Record = dict[str, Any]
SHOWN = ("run", "status", "task", "model", "dataset", "result", "created")
USUAL = "runs"
DAMAGED = (
    RequestError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    OSError,
)
"""What a record of another form may raise where it is read: one of them must not hide all
others.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the folder."""
    parser.add_argument(
        "folder", nargs="?", help=f"where the run directories are (default: {USUAL})"
    )


def execute(args: argparse.Namespace) -> Answer:
    """List runs and sweeps, oldest first; `stopped` ones were killed, and can be resumed as
    `interrupted` ones can.

    A record that cannot be read is listed as `unreadable`.
    """
    folder = expanded(USUAL if args.folder is None else args.folder, "folder")
    if args.folder is not None:
        _check_folder(args.folder, folder)
    rows = [_row(run.path, run.read, _summary) for run in all_runs(folder)]
    rows += [_row(sweep.path, sweep.read, _sweep) for sweep in all_sweeps(folder)]
    rows.sort(key=lambda row: str(row["run"]))
    if not rows:
        return Answer([], f"no runs or sweeps under `{args.folder or USUAL}`")
    header = ("run", "status", "task", "model", "dataset", "result", "trained")
    return Answer(rows, table(header, [tuple(row[key] for key in SHOWN) for row in rows]))


def _check_folder(given: str, folder: Path) -> None:
    if not given.strip():
        raise RequestError(
            "the name of the folder is empty: give the folder that holds run directories."
        )
    if folder.is_dir():
        return
    problem = "is a file" if folder.exists() else "does not exist"
    beside = (
        sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir())
        if folder.parent.is_dir()
        else []
    )
    raise RequestError(
        f"the folder `{given}` {problem}.{did_you_mean(folder.name, beside)} Give one that holds "
        "run directories."
    )


def _row(
    path: Path, read: Callable[[], Record], summary: Callable[[Path, Record], Record]
) -> Record:
    try:
        row = {"run": path.name, **summary(path, read())}
        if not all(isinstance(row[key], str) for key in SHOWN):
            raise TypeError("a name is no text")
    except DAMAGED as error:
        empty = dict.fromkeys(("task", "model", "dataset", "result", "created"), "-")
        return {
            "run": path.name,
            "status": "unreadable",
            **empty,
            "scores": {},
            "error": str(error),
        }
    return row


def _common(path: Path, record: Record) -> Record:
    config = record["config"]
    return {
        "status": "stopped"
        if record["status"] == "running" and not is_held(path)
        else record["status"],
        "task": config["task"] or config["head"]["name"],
        "model": config["model"]["name"],
        "dataset": config["dataset"]["name"],
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
    }


def _sweep(path: Path, record: Record) -> Record:
    best = record.get("best") or {}
    value = best.get("value")
    result = (
        "-"
        if value is None
        else f"best validation {record['primary']} {number(value, decimals([value]))}"
    )
    return {
        **_common(path, record),
        "result": result,
        "scores": {} if value is None else {record["primary"]: value},
    }


def _summary(path: Path, record: Record) -> Record:
    scores = record.get("scores", {}).get(record.get("heldout"), {})
    primary = record.get("primary", "")
    result = (
        f"{record['heldout']} {primary} {number(scores.get(primary), decimals(scores.values()))}"
        if scores
        else "-"
    )
    if "several" in record and "summary" in record:
        result = several_result(record)
    return {**_common(path, record), "result": result, "scores": scores}
