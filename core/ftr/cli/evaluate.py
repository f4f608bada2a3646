"""`ftr evaluate`: score a finished run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftr.cli.main import Answer, add_model_options
from ftr.errors import counted
from ftr.runs.report import INTERVAL, decimals, interval_lines, number
from ftr.tables import table
from ftr.terminal import fitted, quiet_libraries, show

EXAMPLES = (
    "ftr evaluate RUN",
    "ftr evaluate RUN dataset=other.csv --predictions answers.jsonl",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, and other data."""
    parser.add_argument(
        "run", help="a run directory, its name under runs/, or a sweep, which means its best run"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="other data: dataset=FILE, dataset.*, data.*",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="split to score (default: test, else validation)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="choose the threshold on the given validation rows, then score the test rows",
    )
    parser.add_argument(
        "--save-state",
        action="store_true",
        help="with --calibrate: save the new threshold in the model",
    )
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        help="write the predictions to FILE, one JSON object per line",
    )
    add_model_options(parser, precision=False)


def execute(args: argparse.Namespace) -> Answer:
    """Return every score."""
    from ftr.results.listing import about
    from ftr.runs.directory import run_or_winner
    from ftr.runs.evaluate import evaluate

    quiet_libraries()
    result = evaluate(
        args.run,
        args.settings,
        split=args.split,
        predictions=args.predictions,
        calibrate=args.calibrate,
        save_state=args.save_state,
        backend=args.backend,
    )
    for note in result.notes:
        show(note)
    if result.rejected:
        show(f"{result.split}: {counted(result.rejected, 'row')} rejected")
    keys = ("split", "rows", "rejected", "state", "scores", "intervals", "interval")
    lines = [
        f"{result.split}: {counted(result.rows, 'row')}",
        *table([("score", "value", INTERVAL), *_flat(result.scores, result.intervals)]),
        *interval_lines(result.interval, result.split),
        *(f"{key}: {value}" for key, value in result.state.items()),
    ]
    data = {**about(run_or_winner(args.run).path), **{key: getattr(result, key) for key in keys}}
    return Answer(data, fitted("\n".join(lines)))


def _flat(scores: dict[str, Any], intervals: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield scores with all digits, nested ones by dotted name, and their intervals."""
    for key, value in scores.items():
        found = intervals.get(key)
        if isinstance(value, dict):
            for name, text, interval in _flat(value, found or {}):
                yield f"{key}.{name}", text, interval
        else:
            digits = decimals([value, *(found or {}).values()])
            yield key, json.dumps(value), number(found, digits) if found else ""
