"""`ftr runs`: the runs made so far."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ftr.cli.answer import Answer
from ftr.cli.table import table
from ftr.errors import RequestError
from ftr.runs.directory import RunDirectory, all_runs
from ftr.runs.table import decimals, number


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the folder."""
    parser.add_argument("folder", nargs="?", default="runs", help="where the run directories are (default: runs)")


def execute(args: argparse.Namespace) -> Answer:
    """List runs, oldest first."""
    rows = [_summary(run) for run in all_runs(Path(args.folder).expanduser())]
    if not rows:
        return Answer([], f"no runs under `{args.folder}`")
    header = ("run", "status", "task", "model", "dataset", "result", "trained")
    cells = [(r["run"], r["status"], r["task"], r["model"], r["dataset"], r["result"], r["created"]) for r in rows]
    return Answer(rows, table(header, cells))


def _summary(run: RunDirectory) -> dict[str, Any]:
    try:
        record = run.read()
    except RequestError:
        return {
            "run": run.path.name,
            "status": "unreadable",
            **dict.fromkeys(("task", "model", "dataset", "result", "created"), "-"),
            "scores": {},
        }
    config = record["config"]
    scores = record.get("scores", {}).get(record.get("heldout"), {})
    primary = record.get("primary", "")
    return {
        "run": run.path.name,
        "status": record["status"],
        "task": config["task"] or config["head"]["name"],
        "model": config["model"]["name"],
        "dataset": config["dataset"]["name"],
        "result": f"{record['heldout']} {primary} {number(scores.get(primary), decimals(scores.values()))}" if scores else "-",
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
        "scores": scores,
    }
