"""`ftr runs`: list runs and sweeps."""

import argparse
import time
from pathlib import Path
from typing import Any

from ftr.cli.main import Answer
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded
from ftr.runs.directory import all_runs, is_held
from ftr.runs.report import decimals, number, several_result, table
from ftr.study.directory import SweepDirectory, all_sweeps

Record = dict[str, Any]
COLUMNS = ("run", "status", "task", "model", "dataset", "result", "created")
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
"""Errors of reading a damaged record, which must not hide the other runs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument("folder", nargs="?", help=f"folder of run directories (default: {USUAL})")


def execute(args: argparse.Namespace) -> Answer:
    """List runs and sweeps, oldest first.

    A `stopped` one was killed; it can be resumed like an `interrupted` one. One whose record cannot
    be read is `unreadable`.
    """
    folder = expanded(USUAL if args.folder is None else args.folder, "folder")
    if args.folder is not None:
        _check_folder(args.folder, folder)
    rows = [_row(entry) for entry in (*all_runs(folder), *all_sweeps(folder))]
    rows.sort(key=lambda row: str(row["run"]))
    if not rows:
        return Answer([], f"no runs or sweeps under `{args.folder or USUAL}`")
    header = (*COLUMNS[:-1], "trained")
    lines = table([header, *([row[key] for key in COLUMNS] for row in rows)])
    return Answer(rows, "\n".join(lines))


def _check_folder(given: str, folder: Path) -> None:
    if not given.strip():
        raise RequestError("the folder name is empty: give a folder of run directories.")
    if folder.is_dir():
        return
    problem = "is a file" if folder.exists() else "does not exist"
    beside = sorted(entry.name for entry in folder.parent.glob("*") if entry.is_dir())
    raise RequestError(
        f"the folder `{given}` {problem}.{did_you_mean(folder.name, beside)} Give a folder of run "
        "directories."
    )


def _row(directory: Any) -> Record:
    """Return the row of a `RunDirectory` or `SweepDirectory`."""
    row = dict.fromkeys(COLUMNS, "-") | {"run": directory.path.name, "scores": {}}
    try:
        record = directory.read()
        config = record["config"]
        stopped = record["status"] == "running" and not is_held(directory.path)
        found = {
            **row,
            "status": "stopped" if stopped else record["status"],
            "task": config["task"] or config["head"]["name"],
            "model": config["model"]["name"],
            "dataset": config["dataset"]["name"],
            "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
            **(_sweep_result if isinstance(directory, SweepDirectory) else _run_result)(record),
        }
        if not all(isinstance(found[key], str) for key in COLUMNS):
            raise TypeError("a name is not a string")
    except DAMAGED as error:
        return {**row, "status": "unreadable", "error": str(error)}
    return found


def _sweep_result(record: Record) -> Record:
    value, primary = (record.get("best") or {}).get("value"), record["primary"]
    if value is None:
        return {}
    result = f"best validation {primary} {number(value, decimals([value]))}"
    return {"result": result, "scores": {primary: value}}


def _run_result(record: Record) -> Record:
    primary, heldout = record.get("primary", ""), record.get("heldout")
    scores = record.get("scores", {}).get(heldout, {})
    if "several" in record and "summary" in record:
        return {"result": several_result(record), "scores": scores}
    if not scores:
        return {}
    score = number(scores.get(primary), decimals(scores.values()))
    return {"result": f"{heldout} {primary} {score}", "scores": scores}
