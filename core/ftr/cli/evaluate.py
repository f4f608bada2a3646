"""`ftr evaluate`: scores of a finished run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ftr.cli.answer import Answer, table
from ftr.errors import ConfigError
from ftr.terminal import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run, and other data if wanted."""
    parser.add_argument(
        "run", help="a run directory, its name under runs/, or a sweep (its winner)"
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
        help="which rows (default: test, else validation)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="choose the threshold anew on the validation rows given, then score the test rows",
    )
    parser.add_argument(
        "--save-state",
        action="store_true",
        help="with --calibrate: let the model keep what was chosen",
    )
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        help="write the predictions there, one JSON object a line",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Score, and answer with every score."""
    from ftr.runs.evaluate import evaluate
    from ftr.terminal import quiet_libraries

    if args.save_state and not args.calibrate:
        raise ConfigError("`--save-state` keeps what `--calibrate` chooses: give both.")
    quiet_libraries()
    result = evaluate(
        args.run,
        args.settings,
        split=args.split,
        predictions=args.predictions,
        calibrate=args.calibrate,
        save_state=args.save_state,
    )
    for note in result.notes:
        show(note)
    if result.rejected:
        show(f"{result.split}: {result.rejected} rows rejected")
    data = {
        "split": result.split,
        "rows": result.rows,
        "rejected": result.rejected,
        "state": result.state,
        "scores": result.scores,
    }
    lines = [f"{result.split}: {result.rows} rows", table(("score", "value"), _flat(result.scores))]
    lines += [f"{key}: {value}" for key, value in result.state.items()]
    return Answer(data, "\n".join(lines))


def _flat(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """Return scores as they are, to the last digit; nested ones by dotted name."""
    rows: list[tuple[str, str]] = []
    for key, value in scores.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{name}", text) for name, text in _flat(value)]
        else:
            rows.append((key, json.dumps(value)))
    return rows
