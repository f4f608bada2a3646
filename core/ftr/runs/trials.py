"""Trials as the journal tells them: what they were given, how far they came, how well they did."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """One evaluation: `value` is the ranked score (NaN where there was none), `scores` all that are numbers."""

    epoch: float
    step: int
    value: float
    seconds: float
    scores: Mapping[str, float]


@dataclass(slots=True)
class Trial:
    """One trial. `results` are in order of epochs, one for each; `seconds` are those its processes worked on it."""

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
    """All trials by number, and how the sweep stands. `seconds` leaves out the time between an end and its resumption."""

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
        """Take one event of the journal. Raises `DataError` where it makes no sense; events of unknown kind are left out."""
        try:
            self._take(event["event"], event)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the journal holds an event that makes no sense ({type(error).__name__}: {error}): {dict(event)}") from error

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
        self.trials[number] = Trial(number, values, int(event.get("group", number)), int(event.get("repeat", 0)))

    def _adopted(self, trial: Trial, donor: Trial, values: Mapping[str, Any]) -> None:
        """Let a trial go on from the weights of another: from here on its past is the donor's."""
        trial.values, trial.results, trial.best_result = dict(values), list(donor.results), donor.best_result

    def _trial(self, kind: str, event: Mapping[str, Any], trial: Trial, now: float) -> None:
        if kind == "start":
            trial.status, trial.cause, trial.log = "running", None, None
            trial.attempts = int(event.get("attempt", trial.attempts + 1))
            trial.node, trial.process, trial.heard = event.get("node"), event.get("process"), now
            return
        if trial.heard is not None:
            trial.seconds += max(now - trial.heard, 0.0)
            trial.heard = now
        if kind == "result":
            result = _result(event)
            trial.add(result, self.mode)
            if better(result.value, self.best_value, self.mode):
                self.best_value = result.value
        else:
            if event["status"] not in ENDS:
                raise ValueError(f"status is `{event['status']}`")
            trial.status, trial.cause, trial.log, trial.heard = event["status"], event.get("cause"), event.get("log"), None


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
    scores = {key: score for key, score in (event.get("scores") or {}).items() if isinstance(score, int | float)}
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
