"""`ftr runs`: the runs and sweeps made so far."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ftr.cli.answer import Answer
from ftr.cli.table import table
from ftr.errors import RequestError
from ftr.paths import expanded
from ftr.runs.directory import RunDirectory, all_runs
from ftr.runs.lock import is_held
from ftr.runs.several_card import several_result
from ftr.runs.sweep import SweepDirectory, all_sweeps
from ftr.runs.table import decimals, number


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the folder."""
    parser.add_argument("folder", nargs="?", default="runs", help="where the run directories are (default: runs)")


def execute(args: argparse.Namespace) -> Answer:
    """List runs and sweeps, oldest first; `stopped` ones were killed, and can be resumed as `interrupted` ones can."""
    folder = expanded(args.folder, "folder")
    rows = sorted([*map(_summary, all_runs(folder)), *map(_sweep, all_sweeps(folder))], key=lambda row: row["run"])
    if not rows:
        return Answer([], f"no runs or sweeps under `{args.folder}`")
    header = ("run", "status", "task", "model", "dataset", "result", "trained")
    cells = [(r["run"], r["status"], r["task"], r["model"], r["dataset"], r["result"], r["created"]) for r in rows]
    return Answer(rows, table(header, cells))


def _sweep(sweep: SweepDirectory) -> dict[str, Any]:
    try:
        record = sweep.read()
    except RequestError:
        return _unreadable(sweep.path)
    status = "stopped" if record["status"] == "running" and not is_held(sweep.path) else record["status"]
    best = record.get("best") or {}
    value = best.get("value")
    return {
        "run": sweep.path.name,
        "status": status,
        "task": record["config"]["task"] or record["config"]["head"]["name"],
        "model": record["config"]["model"]["name"],
        "dataset": record["config"]["dataset"]["name"],
        "result": "-" if value is None else f"best validation {record['primary']} {number(value, decimals([value]))}",
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
        "scores": {} if value is None else {record["primary"]: value},
    }


def _unreadable(path: Path) -> dict[str, Any]:
    return {
        "run": path.name,
        "status": "unreadable",
        **dict.fromkeys(("task", "model", "dataset", "result", "created"), "-"),
        "scores": {},
    }


def _summary(run: RunDirectory) -> dict[str, Any]:
    try:
        record = run.read()
    except RequestError:
        return _unreadable(run.path)
    config = record["config"]
    scores = record.get("scores", {}).get(record.get("heldout"), {})
    primary = record.get("primary", "")
    result = f"{record['heldout']} {primary} {number(scores.get(primary), decimals(scores.values()))}" if scores else "-"
    if "several" in record and "summary" in record:
        result = several_result(record)
    return {
        "run": run.path.name,
        "status": "stopped" if record["status"] == "running" and not is_held(run.path) else record["status"],
        "task": config["task"] or config["head"]["name"],
        "model": config["model"]["name"],
        "dataset": config["dataset"]["name"],
        "result": result,
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
        "scores": scores,
    }
