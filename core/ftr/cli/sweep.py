"""`ftr sweep`: many trials, one winner."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from ftr.cli.help import first_keys, key_lines
from ftr.cli.main import Answer
from ftr.cli.run import track_report
from ftr.config.known import SWEEP_GROUP, keys
from ftr.runs.report import INTERVAL, MAX_WIDTH, decimals, number
from ftr.tables import table
from ftr.terminal import masked

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult
    from ftr.study.trials import Entry

EXAMPLES = (
    "ftr sweep task=sentiment trials=8",
    "ftr sweep reviews.csv 'learning_rate=loguniform(3e-5,3e-4)' 'epochs=choice(1,2,3)' trials=20",
)

SHOWN = 10
PLACE = ("rank", "trial", "value", "interval", "values", "status", "cause", "model_path")
"""What `--json` answers of each configuration."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Take settings."""
    own = (key for key in keys().values() if key.group == SWEEP_GROUP)
    parser.epilog = (
        f"{key_lines('keys of a sweep:', own)}\n\n{first_keys()}\n\n"
        "`ftr help KEY` describes a key. In a shell put parentheses in quotes: "
        "'epochs=choice(1,2,3)'."
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="as for `ftr run`; a value may be searched: learning_rate=loguniform(3e-5,3e-4) "
        "epochs=choice(1,2,3) trials=20",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Search, and answer with the ranking and the path of the winner."""
    from ftr.progress import STAGES

    STAGES.begin()
    from ftr.study.sweep import sweep

    return sweep_answer(sweep(args.settings))


def sweep_answer(result: SweepResult) -> Answer:
    """Return the answer of a sweep that ended: the first places, the winner's scores, and the
    paths.
    """
    from ftr.paths import shown_path
    from ftr.progress import STAGES
    from ftr.runs.directory import RunDirectory
    from ftr.runs.report import baseline_lines, ensemble_lines, score_table
    from ftr.study.trials import rank, runner_up

    record, shown = result.record, shown_path(result.path)
    track_report(result.path, record)
    entries = rank(result.state.trials.values(), record["mode"])
    counts = [f"{count} {status}" for status, count in record["counts"].items() if count]
    lines = ["", *_places(entries[:SHOWN], record["primary"]), ""]
    lines.append(f"{', '.join(counts)}; ended because {result.ending.detail}")
    best, scores, second = None, None, None
    if result.best is None:
        lines.append(f"no trial has a score: the causes are in {shown}/leaderboard.csv")
    else:
        winner, best = RunDirectory(result.best).read(), f"{shown}/best"
        scores = winner["scores"]
        second = runner_up(entries, record["primary"], record["mode"], winner)
        lines += noise_lines(second, record["primary"])
        lines += [
            "",
            *score_table(winner),
            *baseline_lines(winner),
            "",
            f"model:   {best}/model",
            f"ranking: {shown}/leaderboard.csv",
            f"next:    ftr predict {shlex.quote(best)} FILE",
            f"         ftr evaluate {shlex.quote(best)}",
        ]
    if record.get("ensemble"):
        lines += ["", *ensemble_lines(record["ensemble"], f"{shown}/ensemble")]
    lines.append(STAGES.line())
    data = {
        "id": result.path.name,
        "path": shown,
        "status": record["status"],
        "best": best,
        "stopped_by": result.ending.reason,
        "leaderboard": [{key: getattr(entry, key) for key in PLACE} for entry in entries],
        "scores": scores,
        "runner_up": second,
        "record": masked(record),
    }
    return Answer(data, "\n".join(lines), 0 if best else 1)


def noise_lines(second: Mapping[str, Any] | None, primary: str) -> list[str]:
    """Return what there is to say where the runner-up is within noise of the winner."""
    if second is None or not second["within_noise"]:
        return []
    digits = decimals([second["behind"], second["reach"]])
    line = (
        f"within noise of the runner-up: trial {second['trial']} is "
        f"{number(second['behind'], digits)} behind by validation {primary}, and the 95 % interval "
        f"of the winner reaches {number(second['reach'], digits)} that way (rows "
        "are not paired)"
    )
    return wrap(line, MAX_WIDTH, subsequent_indent="  ")


def _places(entries: Sequence[Entry], primary: str) -> list[str]:
    keys = list(dict.fromkeys(key for entry in entries for key in entry.values))
    digits = decimals(entry.value for entry in entries)
    rows = [
        (
            str(entry.rank or "-"),
            str(entry.trial),
            *(_short(entry.values.get(key)) for key in keys),
            number(entry.value, digits),
            number(entry.interval, digits) if entry.interval else "",
            _short(entry.best_epoch),
            entry.status,
        )
        for entry in entries
    ]
    return table([("", "trial", *keys, primary, INTERVAL, "epoch", "status"), *rows])


def _short(value: object) -> str:
    """Return a value for a table: numbers with four digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
