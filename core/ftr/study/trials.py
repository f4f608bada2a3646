"""Trials as the journal records them, and their ranking."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from ftr import atomic
from ftr.errors import DataError
from ftr.study.directory import trial_folder

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
    interval: Mapping[str, float] | None = None


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
    model_removed: bool = False

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
        """Add an evaluation; it replaces an earlier one of the same epoch."""
        # Evaluations of one trial are further apart than a millionth of an epoch.
        by_epoch = {round(known.epoch, 6): known for known in (*self.results, result)}
        self.results = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        self.best_result = None
        for known in self.results:
            if better(known.value, self.best, mode):
                self.best_result = known


@dataclass(slots=True)
class SweepState:
    """All trials by number, and the state of the sweep.

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

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event of the journal; events of unknown kind change nothing.

        Raises `DataError` where it is invalid.
        """
        try:
            self._apply(event["event"], event)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the journal holds an invalid event ({type(error).__name__}: {error}): "
                f"{dict(event)}"
            ) from error

    def _apply(self, kind: str, event: Mapping[str, Any]) -> None:
        now = float(event["time"])
        if kind != "resume" and self.heard is not None:
            self.seconds += max(now - self.heard, 0.0)
        self.heard = now
        match kind:
            case "resume":
                self.resumes += 1
                self.stopped_by = self.detail = None
                for trial in self.trials.values():
                    if trial.status == "running":  # its process ended with the driver
                        trial.status, trial.heard = "pending", None
            case "stop":
                self.stopped_by, self.detail = event["reason"], event.get("detail")
            case "trial":
                number, values = int(event["trial"]), dict(event["values"])
                group, repeat = int(event.get("group", number)), int(event.get("repeat", 0))
                trial = self.trials.setdefault(number, Trial(number, values, group, repeat))
                # Of a trial that is known already only the values change.
                trial.values = values
            case "adopt":
                trial, donor = self.trials[event["trial"]], self.trials[event["donor"]]
                trial.values, trial.results = dict(event["values"]), list(donor.results)
                trial.best_result = donor.best_result
            case "remove_model":
                self.trials[event["trial"]].model_removed = True
            case "start" | "result" | "end":
                self._trial(kind, event, self.trials[event["trial"]], now)

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
            trial.status, trial.heard = event["status"], None
            trial.cause, trial.log = event.get("cause"), event.get("log")


def replay(events: Iterable[Mapping[str, Any]], mode: str) -> SweepState:
    """Return the state the events of a journal lead to; `mode` is `max` or `min`.

    Raises `DataError` naming an invalid event.
    """
    state = SweepState(mode)
    for event in events:
        state.apply(event)
    return state


def _result(event: Mapping[str, Any]) -> Result:
    value, scores = event.get("value"), event.get("scores") or {}
    return Result(
        epoch=float(event["epoch"]),
        step=int(event.get("step") or 0),
        value=math.nan if value is None else float(value),
        seconds=float(event.get("seconds") or 0.0),
        scores={key: score for key, score in scores.items() if isinstance(score, int | float)},
        interval=event.get("interval"),
    )


REMOVED = "removed"
"""Instead of the path of a model: `keep_models` removed it."""
CSV, JSON = "leaderboard.csv", "leaderboard.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration in the ranking; epoch, scores, status, cause and log are those of the best
    of its repeats, `trial`.

    `value` is the mean of the best values of the `counted` repeats, `std` their sample standard
    deviation (None for one), `interval` the 95 % interval of the value of one repeat over the rows
    (None for more), `trained_epochs` and `seconds` what all repeats took together. `model_path` is
    the model of `trial` in the sweep directory, `removed`, or None where there never was one.
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
    interval: Mapping[str, float] | None
    trained_epochs: float
    seconds: float
    status: Status
    cause: str | None
    log: str | None
    model_path: str | None = None

    @property
    def finished(self) -> bool:
        """Whether `trial` ended well, so that its model can be exported."""
        return self.status in ("done", "stopped")


def rank(trials: Iterable[Trial], mode: str) -> list[Entry]:
    """Return one entry for each configuration, the best first; `mode` is `max` or `min`.

    A trial counts by its best evaluation so far. A configuration counts by the mean of its repeats
    that finished; where none has, of those that run; where all failed, of those with an evaluation.
    Of equals the cheaper comes first (fewer epochs trained, then fewer optimizer steps), then the
    lower number: a measured time would rank them differently whenever the sweep is run again.
    Configurations that failed come after the others with an evaluation, and those without any come
    last, with no rank.
    """
    groups: dict[int, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        groups.setdefault(trial.group, []).append(trial)
    sign = -1.0 if mode == "max" else 1.0
    counted = {number: _counted(group, sign) for number, group in groups.items()}

    def order(number: int) -> tuple[float, ...]:
        group, best = groups[number], counted[number]
        failed = bool(best) and best[0].status == "failed"
        value = sign * fmean(_bests(best)) if best else 0.0
        epochs, steps = sum(trial.epoch for trial in group), sum(trial.step for trial in group)
        return (not best, failed, value, epochs, steps, group[0].number)

    return [
        _entry(position, groups[number], counted[number])
        for position, number in enumerate(sorted(groups, key=order), start=1)
    ]


def winner(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry whose trial finished with an evaluation; None where there is none."""
    return next(iter(_exportable(entries)), None)


def superfluous(trials: Iterable[Trial], mode: str, repeats: int, most: int | None) -> list[Trial]:
    """Return the trials that ended and whose models cannot be among those of the `most` best
    configurations any more, whatever the others will score (None: there are none such).

    A configuration is ranked for good when all its `repeats` ended; of those that finished only the
    best counts as its model, also before that. Trials whose model was removed are left out.
    """
    if most is None:
        return []
    groups: dict[int, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    left = [group for group in groups.values() if not all(one.model_removed for one in group)]
    done = [group for group in left if sum(one.ended for one in group) >= repeats]
    entries = rank((trial for group in done for trial in group), mode)
    needed = {entry.trial for entry in _exportable(entries)[:most]}
    for group in left:
        if sum(one.ended for one in group) < repeats:
            found = _exportable(rank([trial for trial in group if trial.ended], mode))
            needed |= {entry.trial for entry in found}
    return [
        trial
        for group in left
        for trial in group
        if trial.ended and not trial.model_removed and trial.number not in needed
    ]


def _exportable(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.value is not None and entry.finished]


def runner_up(
    entries: Sequence[Entry], primary: str, mode: str, record: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return how far the runner-up is behind the winner, whose `record` has the interval of its
    validation score, and whether that is `within_noise`: the interval of the winner reaches to the
    runner-up. None without a runner-up or an interval.

    Both scored the same rows, but trials keep no predictions: what the two have in common is not
    taken into account, so this may call a difference noise that a paired comparison would find.
    """
    best = winner(entries)
    others = [entry for entry in entries if entry.value is not None and entry is not best]
    interval = record.get("intervals", {}).get("validation", {}).get(primary)
    score = record.get("scores", {}).get("validation", {}).get(primary)
    if best is None or best.value is None or not others or interval is None or score is None:
        return None
    second = others[0]
    behind = abs(best.value - (second.value or 0.0))
    reach = score - interval["low"] if mode == "max" else interval["high"] - score
    return {
        "trial": second.trial,
        "behind": behind,
        "reach": reach,
        "within_noise": behind <= reach,
        "paired": False,
    }


def write_leaderboard(folder: Path, entries: Sequence[Entry], primary: str) -> None:
    """Write `leaderboard.csv` (RFC 4180, a column for each swept key) and `leaderboard.json` into
    `folder`.

    Raises `RunError` naming the file when the disk refuses.
    """
    keys = list(dict.fromkeys(key for entry in entries for key in entry.values))
    last = (
        "best_epoch",
        "trained_epochs",
        "seconds",
        "counted",
        "repeats",
        "status",
        "cause",
        "log",
        "model_path",
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["rank", "trial", primary, "std", "low", "high", *keys, *last])
    for entry in entries:
        ends = entry.interval or {}
        cells = [entry.rank, entry.trial, entry.value, entry.std, ends.get("low"), ends.get("high")]
        cells += [entry.values.get(key) for key in keys]
        cells += [getattr(entry, name) for name in last]
        writer.writerow(map(_cell, cells))
    atomic.write_text(folder / CSV, text.getvalue())
    atomic.write_json(
        folder / JSON, {"primary": primary, "entries": [asdict(entry) for entry in entries]}
    )


def _counted(group: Sequence[Trial], sign: float) -> list[Trial]:
    """Return the repeats that count, the best first."""
    evaluated = [trial for trial in group if trial.best is not None]
    evaluated.sort(key=lambda trial: (sign * (trial.best or 0.0), trial.epoch, trial.step))
    finished = [trial for trial in evaluated if trial.status in ("done", "stopped")]
    return finished or [trial for trial in evaluated if not trial.ended] or evaluated


def _bests(trials: Iterable[Trial]) -> list[float]:
    return [trial.best for trial in trials if trial.best is not None]


def _entry(position: int, group: Sequence[Trial], counted: Sequence[Trial]) -> Entry:
    # With no evaluation at all, a repeat that failed has a cause to show.
    shown = counted[0] if counted else min(group, key=lambda trial: trial.status != "failed")
    bests = _bests(counted)
    return Entry(
        rank=position if counted else None,
        trial=shown.number,
        group=shown.group,
        values=shown.values,
        value=fmean(bests) if bests else None,
        std=stdev(bests) if len(bests) > 1 else None,
        counted=len(counted),
        repeats=len(group),
        trials=tuple(trial.number for trial in group),
        best_epoch=shown.best_epoch,
        scores=shown.scores,
        interval=shown.best_result.interval if shown.best_result and len(bests) == 1 else None,
        trained_epochs=sum(trial.epoch for trial in group),
        seconds=sum(trial.seconds for trial in group),
        status=shown.status,
        cause=shown.cause,
        log=shown.log,
        model_path=_model_path(shown),
    )


def _model_path(trial: Trial) -> str | None:
    if trial.best is None:
        return None
    return REMOVED if trial.model_removed else f"{trial_folder(trial.number)}/model"


def _cell(value: Any) -> Any:
    """Return a cell as `key=value` reads it: empty for None, JSON for lists and booleans."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
