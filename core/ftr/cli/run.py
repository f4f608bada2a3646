"""`ftr run`: one training."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.cli.help import first_keys
from ftr.cli.main import Answer
from ftr.errors import FtrError, counted
from ftr.terminal import masked, show

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

EXAMPLES = (
    "ftr run task=qa epochs=1",
    "ftr run reviews.csv learning_rate=3e-5 data.limit=2000",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Take settings."""
    parser.epilog = f"{first_keys()}\n\n`ftr help KEY` describes a key, `ftr show` lists them all."
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="settings, or the path of the data (`ftr run reviews.csv`)",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Train, and answer with the scores and the path of the model."""
    from ftr.progress import STAGES

    STAGES.begin()
    from ftr.study.study import run

    return run_answer(run(args.settings))


def run_answer(result: RunResult) -> Answer:
    """Return the answer on a finished run."""
    from ftr.paths import shown_path
    from ftr.progress import STAGES
    from ftr.runs.report import baseline_lines, has_model, score_table, several_lines

    record = result.record
    track_report(result.path, record)
    shown = shown_path(result.path)
    about = {"id": result.path.name, "path": shown, "status": record["status"]}
    if "several" in record:
        model = f"{shown}/model" if has_model(record) else None
        data = {
            **about,
            "model": model,
            "scores": result.scores,
            "summary": record["summary"],
            "record": record,
        }
        return Answer(masked(data), "\n".join([*several_lines(record, shown), STAGES.line()]))
    lines = [
        "",
        *score_table(record),
        *baseline_lines(record),
        "",
        f"trained {counted(record['steps'], 'step')} in {record['timings']['train']:.0f} s "
        f"({record['examples_per_second']:.1f} examples/s), kept the weights after epoch "
        f"{record['best']['epoch']:.2f}",
        f"model:  {shown}/model",
        f"record: {shown}/run.json",
        f"next:   ftr predict {shlex.quote(shown)} FILE",
        f"        ftr evaluate {shlex.quote(shown)}",
        STAGES.line(),
    ]
    return Answer(
        {
            **about,
            "model": f"{shown}/model",
            "scores": result.scores,
            "record": masked(record),
        },
        "\n".join(lines),
    )


def track_report(path: Path, record: Mapping[str, Any]) -> None:
    """Write the report of a tracked run, and send it to the trackers that have all else."""
    names = record["config"].get("tracker")
    if not names:
        return
    from ftr.results.report.write import write_report
    from ftr.runs.trackers import has_all, sync

    try:
        write_report(path)
        if has_all(path, names):
            sync(path)
    except FtrError as error:
        show(f"the report is not at the trackers: {error}")
