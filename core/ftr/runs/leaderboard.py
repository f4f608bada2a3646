"""The ranking of a sweep: by the best evaluation of each trial, repeats of one configuration by their mean."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ftr import atomic
from ftr.runs.trials import Status, Trial

CSV, JSON = "leaderboard.csv", "leaderboard.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration in the ranking; the best of its repeats (`trial`) lends epoch, scores, status, cause and log.

    `value` is the mean of the best values of the `counted` repeats, `std` their sample standard deviation (None for one),
    `trained_epochs` and `seconds` what all repeats took together.
    """

    rank: int | None
    trial: int
    group: int
    values: Mapping[str, Any]
    value: float | None
    std: float | None
    counted: int
    repeats: int
    trials: tuple[int, ...]
    best_epoch: float | None
    scores: Mapping[str, float]
    trained_epochs: float
    seconds: float
    status: Status
    cause: str | None
    log: str | None

    @property
    def finished(self) -> bool:
        """Whether `trial` ended well, so that its model can be handed on."""
        return self.status in ("done", "stopped")


def rank(trials: Iterable[Trial], mode: str) -> list[Entry]:
    """Return one entry for each configuration, the best first; `mode` is `max` or `min`.

    A trial counts by its best evaluation so far. A configuration counts by the mean of its repeats that finished; where none
    has yet, of those under way; where all failed, of those that had come to an evaluation. Equal ones are ranked by the cheaper
    (fewer epochs trained, then fewer optimizer steps) and then by the lower number: a measured time would rank equals anew
    whenever the sweep is run again. Configurations that failed come after all others that have an evaluation, and those without
    any come last, with no rank.
    """
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    order = _Order(mode)
    drawn = [_drawn(group, order) for group in groups.values()]
    drawn.sort(key=lambda pair: order.of_group(*pair))
    return [_entry(place, group, counted, order) for place, (group, counted) in enumerate(drawn, start=1)]


def winner(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry whose trial finished with an evaluation; None where there is none."""
    return next((entry for entry in entries if entry.value is not None and entry.finished), None)


def write_leaderboard(folder: Path, entries: Sequence[Entry], primary: str) -> None:
    """Write `leaderboard.csv` (RFC 4180, a column for each swept key) and `leaderboard.json` into `folder`.

    Raises `RunError` naming the file when the disk refuses.
    """
    keys = list(dict.fromkeys(key for entry in entries for key in entry.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    own = ("best_epoch", "trained_epochs", "seconds", "counted", "repeats", "status")
    writer.writerow(["rank", "trial", primary, "std", *keys, *own, "cause", "log"])
    for entry in entries:
        row = [entry.rank, entry.trial, entry.value, entry.std, *(entry.values.get(key) for key in keys)]
        writer.writerow([_cell(cell) for cell in [*row, *(getattr(entry, name) for name in own), entry.cause, entry.log]])
    atomic.write_text(folder / CSV, text.getvalue())
    atomic.write_json(folder / JSON, {"primary": primary, "entries": [asdict(entry) for entry in entries]})


@dataclass(frozen=True, slots=True)
class _Order:
    """Sort keys: the smaller comes first."""

    mode: str

    def of_trial(self, trial: Trial) -> tuple[float, ...]:
        return (*self._value(trial.best), trial.epoch, trial.step, trial.number)

    def of_group(self, group: list[Trial], counted: list[Trial]) -> tuple[float, ...]:
        failed = bool(counted) and counted[0].status == "failed"
        cost = (sum(trial.epoch for trial in group), sum(trial.step for trial in group))
        unevaluated, value = self._value(_mean(counted))
        return (unevaluated, failed, value, *cost, group[0].number)

    def _value(self, value: float | None) -> tuple[float, float]:
        if value is None:
            return (1, 0.0)
        return (0, -value if self.mode == "max" else value)


def _drawn(group: list[Trial], order: _Order) -> tuple[list[Trial], list[Trial]]:
    """Return the repeats by number, and those that count, the best first."""
    group = sorted(group, key=lambda trial: trial.number)
    evaluated = sorted((trial for trial in group if trial.best is not None), key=order.of_trial)
    finished = [trial for trial in evaluated if trial.status in ("done", "stopped")]
    under_way = [trial for trial in evaluated if not trial.ended]
    return group, finished or under_way or evaluated


def _mean(counted: Sequence[Trial]) -> float | None:
    bests = [trial.best for trial in counted if trial.best is not None]
    return fmean(bests) if bests else None


def _entry(place: int, group: list[Trial], counted: list[Trial], order: _Order) -> Entry:
    # With no evaluation at all, a repeat that failed has the most to say.
    shown = counted[0] if counted else min(group, key=lambda trial: (trial.status != "failed", trial.number))
    return Entry(
        rank=place if counted else None,
        trial=shown.number,
        group=shown.group,
        values=shown.values,
        value=_mean(counted),
        std=stdev([trial.best for trial in counted if trial.best is not None]) if len(counted) > 1 else None,
        counted=len(counted),
        repeats=len(group),
        trials=tuple(trial.number for trial in group),
        best_epoch=shown.best_epoch,
        scores=shown.scores,
        trained_epochs=sum(trial.epoch for trial in group),
        seconds=sum(trial.seconds for trial in group),
        status=shown.status,
        cause=shown.cause,
        log=shown.log,
    )


def _cell(value: Any) -> Any:
    """Return a cell as `key=value` would have it: empty for nothing, JSON for lists and truth values."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
