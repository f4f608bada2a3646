"""Collect a report: each part from what there is, and for a part that cannot be had the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftr.errors import FtrError, in_one_line
from ftr.registry.discovery import own_version
from ftr.results.report import calibration, data, predictions, scores, slices, sweep, training
from ftr.results.report.blocks import Note, Report, Section
from ftr.results.report.slices import ColumnError
from ftr.results.report.source import DAMAGED, MissingError, Record, Source, day
from ftr.results.report.sweep import SweepSource
from ftr.runs.directory import RunDirectory, is_held
from ftr.runs.heldout import held_out
from ftr.runs.report import number
from ftr.study.directory import SweepDirectory, open_directory
from ftr.terminal import mask, masked

RUN: Mapping[str, Callable[[Source], Section]] = {
    "scores": scores.scores,
    "members and spread": scores.members,
    "learning curve": training.curve,
    "classes": predictions.classes,
    "calibration": calibration.calibration,
    "abstaining": calibration.abstaining,
    "scores by slices": slices.slices,
    "most confident errors": predictions.errors,
    "data": data.rows,
    "duplicates": data.duplicates,
    "suspicious labels": calibration.suspicious,
    "what was trained on what": training.trained,
    "cost": training.cost,
}
"""The parts of a report on a run, in their order."""
SWEEP: Mapping[str, Callable[[SweepSource], Section]] = {
    "leaderboard": sweep.leaderboard,
    "all trials": sweep.trials,
    "importance of parameters": sweep.parameters,
    "expected best": sweep.expected,
}
STATES = {
    "running": "This run is still going on: the report shows what there is so far.",
    "stopped": "The process of this run ended before the run did (it was killed, or the machine "
    "was switched off). `ftr resume` completes it.",
    "interrupted": "This run was interrupted. `ftr resume` completes it.",
    "failed": "This run failed.",
}


def collect(given: str | Path, slices: Sequence[str] = (), split: str | None = None) -> Report:
    """Return the report of a run or sweep.

    Slices by the columns named are among its slices; `split` is the held-out split whose rows are
    looked at, `test` if there is one. Raises `RequestError` for a directory that is neither, and
    for a split or column that the run does not have.
    """
    directory = open_directory(given)
    if isinstance(directory, SweepDirectory):
        return _of_sweep(directory, slices, split)
    record = masked(directory.read())
    report = _opened(directory, record)
    _add_run(report, directory, record, slices, split)
    return report


def _opened(directory: RunDirectory, record: Record) -> Report:
    config, status = record["config"], record["status"]
    if status == "running" and not is_held(directory.path):
        status = "stopped"
    report = Report(
        title=f"{config.get('task') or config['head']['name']}: {config['model']['name']}",
        subtitle=f"{directory.path.name} · {day(record['created'])} · {status}",
        footer=f"Made by ftr {own_version()} from {directory.path}. Rows of the data are quoted.",
    )
    if status in STATES:
        cause = f" {record['error']}" if record.get("error") else ""
        report.warnings.append(STATES[status] + mask(cause))
    return report


def _of_sweep(directory: SweepDirectory, slices: Sequence[str], split: str | None) -> Report:
    record = masked(directory.read())
    report = _opened(directory, record)
    source = SweepSource(directory, record)
    _add(report, SWEEP, source)
    report.headlines += _figures(sweep.headlines, source)
    best = RunDirectory(directory.best)
    if best.record.is_file():
        report.sections.append(
            Section(
                title="The best run",
                blocks=[
                    Note(
                        text=f"All that follows is about trial {record.get('winner')}, the best on "
                        "validation rows, which is the run in `best/`."
                    )
                ],
            )
        )
        _add_run(report, best, masked(best.read()), slices, split)
    else:
        report.missing["the best run"] = "the sweep has none yet: no trial finished with a score"
    return report


def _add_run(
    report: Report,
    directory: RunDirectory,
    record: Record,
    slices: Sequence[str],
    split: str | None,
) -> None:
    source = Source(directory=directory, record=record, slices=slices)
    done = record["status"] == "done"
    try:
        if done:
            source.held = held_out(directory.path, split or record.get("heldout"))
        else:
            source.unread = "the run is not done, and only then its predictions are complete"
    except FtrError as error:
        if split is not None and split not in record.get("data", {}).get("splits", {}):
            raise
        source.unread = str(error).rstrip(".")
    except DAMAGED as error:
        source.unread = f"`{directory.record}` is damaged ({in_one_line(error)})"
    if source.unread and done:
        report.warnings.append(
            "The rows cannot be set beside their predictions, so the parts on single predictions "
            f"are left out: {mask(source.unread)}."
        )
    if source.held is not None and source.held.run.path != directory.path:
        report.warnings.append(
            f"Parts on single predictions are about member {record['best_member']}, the best on "
            "validation rows, whose model is that of the run."
        )
    if slices and source.held is None:
        report.missing["slices asked for"] = source.unread
    report.headlines += _figures(scores.headlines, source)
    _add(report, RUN, source)


def _figures(builder: Callable[[Any], list[Any]], source: Any) -> list[Any]:
    try:
        return builder(source)
    except (FtrError, *DAMAGED):
        return []  # a part further down says what is damaged


def _add(report: Report, parts: Mapping[str, Callable[[Any], Section]], source: Any) -> None:
    for name, build in parts.items():
        try:
            report.sections.append(build(source))
        except MissingError as missing:
            report.missing[name] = mask(str(missing))
        except ColumnError:
            raise
        except FtrError as error:
            report.missing[name] = mask(str(error))
        except DAMAGED as error:
            report.missing[name] = (
                f"`{source.directory.record.name}` has not what this part needs: it is damaged, or "
                f"of another version of ftr ({in_one_line(error)})"
            )


def primary_score(report: Report) -> str:
    """Return the first figure of a report in one line."""
    first = report.headlines[0] if report.headlines else None
    return f"{first.name} {first.value} ({first.detail})" if first else number(None)
