"""Trials as the journal records them, and their ranking."""

from __future__ import annotations

import csv
import io
import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from ftr import atomic
from ftr.errors import DataError

Mode = Literal["max", "min"]
Status = Literal["pending", "running", "done", "stopped", "failed"]
ENDS: tuple[Status, ...] = ("done", "stopped", "failed")


def better(value: float, than: float | None, mode: str) -> bool:
    """Whether `value` beats `than` in the direction of `mode`. NaN and infinity beat nothing."""
    if not math.isfinite(value):
        return False
    return than is None or (value > than if mode == "max" else value < than)


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation: `value` is the ranked score (NaN where there was none), `scores` all that are
    numbers.
    """

    epoch: float
    step: int
    value: float
    seconds: float
    scores: Mapping[str, float]


@dataclass(slots=True)
class Trial:
    """One trial.

    `results` are in order of epochs, one for each; `seconds` are those its processes worked on it.
    """

    number: int
    values: dict[str, Any]
    group: int
    repeat: int
    status: Status = "pending"
    attempts: int = 0
    node: str | None = None
    process: int | None = None
    results: list[Result] = field(default_factory=list)
    best_result: Result | None = None
    seconds: float = 0.0
    heard: float | None = None
    """Unix time of the last event while it runs."""
    cause: str | None = None
    log: str | None = None

    @property
    def best(self) -> float | None:
        """The best value so far; None without an evaluation that gave a number."""
        return self.best_result.value if self.best_result else None

    @property
    def best_epoch(self) -> float | None:
        """The epoch of the best value: the first of equals."""
        return self.best_result.epoch if self.best_result else None

    @property
    def scores(self) -> Mapping[str, float]:
        """All scores of the best evaluation."""
        return self.best_result.scores if self.best_result else {}

    @property
    def epoch(self) -> float:
        """The epoch of the last evaluation."""
        return self.results[-1].epoch if self.results else 0.0

    @property
    def step(self) -> int:
        """The optimizer step of the last evaluation."""
        return self.results[-1].step if self.results else 0

    @property
    def ended(self) -> bool:
        """Whether it will not run again."""
        return self.status in ENDS

    def worked(self, now: float) -> float:
        """Return the seconds its processes worked on it until `now`."""
        return self.seconds + (0.0 if self.heard is None else max(now - self.heard, 0.0))

    def add(self, result: Result, mode: str) -> None:
        """Take an evaluation; one at an epoch seen before replaces the earlier."""
        at = bisect_left(self.results, _place(result.epoch), key=lambda known: _place(known.epoch))
        if at < len(self.results) and _place(self.results[at].epoch) == _place(result.epoch):
            self.results[at] = result
        else:
            self.results.insert(at, result)
        self.best_result = None
        for known in self.results:
            if better(known.value, self.best, mode):
                self.best_result = known


@dataclass(slots=True)
class SweepState:
    """All trials by number, and how the sweep stands.

    `seconds` leaves out the time between an end and its resumption.
    """

    mode: str
    trials: dict[int, Trial] = field(default_factory=dict)
    resumes: int = 0
    stopped_by: str | None = None
    detail: str | None = None
    seconds: float = 0.0
    heard: float | None = None
    best_value: float | None = None
    """The best value of any trial so far."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event of the journal.

        Raises `DataError` where it makes no sense; events of unknown kind are left out.
        """
        try:
            self._take(event["event"], event)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the journal holds an event that makes no sense ({type(error).__name__}: "
                f"{error}): {dict(event)}"
            ) from error

    def _take(self, kind: str, event: Mapping[str, Any]) -> None:
        now = float(event["time"])
        if kind == "resume":
            self._resume()
        elif self.heard is not None:
            self.seconds += max(now - self.heard, 0.0)
        self.heard = now
        if kind == "stop":
            self.stopped_by, self.detail = event["reason"], event.get("detail")
        elif kind == "trial":
            self._suggested(event)
        elif kind == "adopt":
            self._adopted(self.trials[event["trial"]], self.trials[event["donor"]], event["values"])
        elif kind in ("start", "result", "end"):
            self._trial(kind, event, self.trials[event["trial"]], now)

    def _resume(self) -> None:
        self.resumes += 1
        self.stopped_by = self.detail = None
        for trial in self.trials.values():
            if trial.status == "running":
                # Its process went with the driver.
                trial.status, trial.heard = "pending", None

    def _suggested(self, event: Mapping[str, Any]) -> None:
        number, values = int(event["trial"]), dict(event["values"])
        known = self.trials.get(number)
        if known is not None:
            # Population based training changes values on the way.
            known.values = values
            return
        self.trials[number] = Trial(
            number, values, int(event.get("group", number)), int(event.get("repeat", 0))
        )

    def _adopted(self, trial: Trial, donor: Trial, values: Mapping[str, Any]) -> None:
        """Let a trial resume from the weights of another: its past becomes that of the donor."""
        trial.values, trial.results, trial.best_result = (
            dict(values),
            list(donor.results),
            donor.best_result,
        )

    def _trial(self, kind: str, event: Mapping[str, Any], trial: Trial, now: float) -> None:
        if kind == "start":
            trial.status, trial.cause, trial.log = "running", None, None
            trial.attempts = int(event.get("attempt", trial.attempts + 1))
            trial.node, trial.process, trial.heard = event.get("node"), event.get("process"), now
            return
        trial.seconds = trial.worked(now)
        if trial.heard is not None:
            trial.heard = now
        if kind == "result":
            result = _result(event)
            trial.add(result, self.mode)
            if better(result.value, self.best_value, self.mode):
                self.best_value = result.value
        else:
            if event["status"] not in ENDS:
                raise ValueError(f"status is `{event['status']}`")
            trial.status, trial.cause, trial.log, trial.heard = (
                event["status"],
                event.get("cause"),
                event.get("log"),
                None,
            )


def replay(events: Iterable[Mapping[str, Any]], mode: str) -> SweepState:
    """Return the state the events of a journal lead to; `mode` is `max` or `min`.

    Raises `DataError` naming the event that makes no sense.
    """
    state = SweepState(mode)
    for event in events:
        state.take(event)
    return state


def _result(event: Mapping[str, Any]) -> Result:
    value = event.get("value")
    scores = {
        key: score
        for key, score in (event.get("scores") or {}).items()
        if isinstance(score, int | float)
    }
    return Result(
        epoch=float(event["epoch"]),
        step=int(event.get("step") or 0),
        value=math.nan if value is None else float(value),
        seconds=float(event.get("seconds") or 0.0),
        scores=scores,
    )


def _place(epoch: float) -> float:
    """Return an epoch as far as evaluations of one trial differ: a millionth."""
    return round(epoch, 6)


CSV, JSON = "leaderboard.csv", "leaderboard.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration in the ranking; the best of its repeats (`trial`) lends epoch, scores,
    status, cause and log.

    `value` is the mean of the best values of the `counted` repeats, `std` their sample standard
    deviation (None for one), `trained_epochs` and `seconds` what all repeats took together.
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
        """Whether `trial` ended well, so that its model can be exported."""
        return self.status in ("done", "stopped")


def rank(trials: Iterable[Trial], mode: str) -> list[Entry]:
    """Return one entry for each configuration, the best first; `mode` is `max` or `min`.

    A trial counts by its best evaluation so far. A configuration counts by the mean of its repeats
    that finished; where none has yet, of those under way; where all failed, of those that had come
    to an evaluation. Equal ones are ranked by the cheaper (fewer epochs trained, then fewer
    optimizer steps) and then by the lower number: a measured time would rank equals anew whenever
    the sweep is run again. Configurations that failed come after all others that have an
    evaluation, and those without any come last, with no rank.
    """
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    order = _Order(mode)
    drawn = [_drawn(group, order) for group in groups.values()]
    drawn.sort(key=lambda pair: order.of_group(*pair))
    return [
        _entry(place, group, counted, order)
        for place, (group, counted) in enumerate(drawn, start=1)
    ]


def winner(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry whose trial finished with an evaluation; None where there is none."""
    return next((entry for entry in entries if entry.value is not None and entry.finished), None)


def write_leaderboard(folder: Path, entries: Sequence[Entry], primary: str) -> None:
    """Write `leaderboard.csv` (RFC 4180, a column for each swept key) and `leaderboard.json` into
    `folder`.

    Raises `RunError` naming the file when the disk refuses.
    """
    keys = list(dict.fromkeys(key for entry in entries for key in entry.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    own = ("best_epoch", "trained_epochs", "seconds", "counted", "repeats", "status")
    writer.writerow(["rank", "trial", primary, "std", *keys, *own, "cause", "log"])
    for entry in entries:
        row = [
            entry.rank,
            entry.trial,
            entry.value,
            entry.std,
            *(entry.values.get(key) for key in keys),
        ]
        writer.writerow(
            [
                _cell(cell)
                for cell in [*row, *(getattr(entry, name) for name in own), entry.cause, entry.log]
            ]
        )
    atomic.write_text(folder / CSV, text.getvalue())
    atomic.write_json(
        folder / JSON, {"primary": primary, "entries": [asdict(entry) for entry in entries]}
    )


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
    shown = (
        counted[0]
        if counted
        else min(group, key=lambda trial: (trial.status != "failed", trial.number))
    )
    return Entry(
        rank=place if counted else None,
        trial=shown.number,
        group=shown.group,
        values=shown.values,
        value=_mean(counted),
        std=stdev([trial.best for trial in counted if trial.best is not None])
        if len(counted) > 1
        else None,
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
    """Return a cell as `key=value` would have it: empty for nothing, JSON for lists and truth
    values.
    """
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
