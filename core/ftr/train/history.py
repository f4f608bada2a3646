"""What a run directory remembers of its attempts: `metrics.jsonl`, cut back to a checkpoint, and who began when."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.train.checkpoint import CHECKPOINTS

if TYPE_CHECKING:
    from ftr.train.checkpoint import Checkpoint

METRICS = "metrics.jsonl"
ATTEMPTS = "attempts.jsonl"
"""Beside the checkpoints, and gone with them: one line for each time the training began or went on."""


def begin_history(run: Path, found: Checkpoint | None) -> bool:
    """Note that a process begins to train `run`, from a checkpoint or from the start; returns whether one had begun before.

    Lines of `metrics.jsonl` that the training will write again are dropped.
    """
    before = attempts(run)
    step = found.step if found else 0
    cut_metrics(run / METRICS, found.step if found else None)
    (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    atomic.append_line(run / CHECKPOINTS / ATTEMPTS, {"time": time.time(), "process": os.getpid(), "step": step})
    atomic.sync(run / CHECKPOINTS / ATTEMPTS)
    return bool(before)


def attempts(run: Path) -> list[dict[str, Any]]:
    """Return time, process and step of each time a run began or went on; empty once it is done."""
    return _lines(run / CHECKPOINTS / ATTEMPTS)


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations on validation rows that `metrics.jsonl` has."""
    return [line for line in _lines(run / METRICS) if line["kind"] == "validation"]


def cut_metrics(path: Path, step: int | None) -> None:
    """Keep the lines up to `step` (None: none at all), without the final scores, which are computed again.

    A line that a crash tore is dropped.
    """
    if path.is_file():
        kept = [] if step is None else [line for line in _lines(path) if line["step"] <= step and line["kind"] != "final"]
        atomic.write_lines(path, kept)


def keep_history(run: Path) -> None:
    """See to it that a machine that loses power keeps the lines of `metrics.jsonl` that a checkpoint relies on."""
    path = run / METRICS
    if path.is_file():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and "step" in value:
                found.append(value)
    return found
