"""`ftr run`: one training."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ftr.cli.main import Answer
from ftr.terminal import masked

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


def configure(parser: argparse.ArgumentParser) -> None:
    """Take settings."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="settings, or the path of the data (`ftr run reviews.csv`); `ftr show` lists them all",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Train, and answer with the scores and the path of the model."""
    from ftr.study.study import run

    return run_answer(run(args.settings))


def run_answer(result: RunResult) -> Answer:
    """Return the answer on a finished run."""
    from ftr.runs.prepare import shown_path
    from ftr.runs.report import has_model, score_table, several_lines

    record = result.record
    shown = shown_path(result.path)
    about = {"id": result.path.name, "path": shown, "status": record["status"]}
    if "several" in record:
        model = f"{shown}/model" if has_model(record) else None
        data = {
            **about,
            "run": shown,
            "model": model,
            "scores": result.scores,
            "summary": record["summary"],
            "record": record,
        }
        return Answer(masked(data), "\n".join(several_lines(record, shown)))
    lines = [
        "",
        *score_table(record),
        "",
        f"trained {record['steps']} steps in {record['timings']['train']:.0f} s "
        f"({record['examples_per_second']:.1f} examples/s), kept the weights after epoch "
        f"{record['best']['epoch']:.2f}",
        f"model:  {shown}/model",
        f"record: {shown}/run.json",
        f"next:   ftr predict {shlex.quote(shown)} FILE",
        f"        ftr evaluate {shlex.quote(shown)}",
    ]
    return Answer(
        {
            **about,
            "run": shown,
            "model": f"{shown}/model",
            "scores": result.scores,
            "record": masked(record),
        },
        "\n".join(lines),
    )
