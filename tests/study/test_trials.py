"""What the journal says about trials."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ftr.errors import DataError
from ftr.study.trials import SweepState, Trial, replay

Events = list[dict[str, Any]]


def events(*given: tuple[Any, ...]) -> Events:
    """Return events of trials from (time, event, trial, fields) or (time, event, fields)."""
    found = []
    for time, event, *rest in given:
        fields = (
            {"trial": rest[0], **(rest[1] if len(rest) > 1 else {})}
            if rest and isinstance(rest[0], int)
            else (rest[0] if rest else {})
        )
        found.append({"event": event, "time": time, **fields})
    return found


def result(
    time: float, trial: int, epoch: float, value: float | None, **more: Any
) -> dict[str, Any]:
    return {
        "event": "result",
        "time": time,
        "trial": trial,
        "epoch": epoch,
        "step": int(epoch * 10),
        "value": value,
        "seconds": 1.0,
        **more,
    }


def suggested(*numbers: int) -> Events:
    return [
        {"event": "trial", "time": 0, "trial": n, "values": {"epochs": n}, "group": n, "repeat": 0}
        for n in numbers
    ]


def one(*more: dict[str, Any], mode: str = "max") -> Trial:
    """Return trial 0, started at 1, after more events."""
    return replay([*suggested(0), *events((1, "start", 0, {"attempt": 1})), *more], mode).trials[0]


def test_a_trial_goes_from_pending_to_its_end() -> None:
    state = SweepState("max")
    seen = []
    story = [
        *events((0, "open", {"format": 1})),
        *suggested(4),
        *events((2, "start", 4, {"attempt": 1, "node": "10.0.0.3", "process": 1234})),
        result(5, 4, 1.0, 0.8, scores={"f1": 0.7, "per label": [1, 2], "loss": 1}),
        *events(
            (
                7,
                "end",
                4,
                {"status": "failed", "cause": "out of memory", "log": "trials/0004/error.log"},
            )
        ),
    ]
    for event in story:
        state.apply(event)
        seen += [trial.status for trial in state.trials.values()]
    assert seen == ["pending", "running", "running", "failed"]
    trial = state.trials[4]
    assert (trial.values, trial.group, trial.repeat, trial.attempts, trial.node, trial.process) == (
        {"epochs": 4},
        4,
        0,
        1,
        "10.0.0.3",
        1234,
    )
    assert (trial.best, trial.best_epoch, trial.scores, trial.epoch, trial.step) == (
        0.8,
        1.0,
        {"f1": 0.7, "loss": 1},
        1.0,
        10,
    )
    assert (trial.cause, trial.log, trial.ended, trial.seconds) == (
        "out of memory",
        "trials/0004/error.log",
        True,
        5.0,
    )
    assert (state.best_value, state.seconds, state.resumes, state.stopped_by) == (0.8, 7.0, 0, None)
    assert replay(story, "max") == state, "live and read again are the same"


def test_a_trial_without_a_number_has_no_best() -> None:
    trial = one(result(2, 0, 1, None), result(3, 0, 2, math.inf), result(4, 0, 3, math.nan))
    assert (trial.best, trial.best_epoch, trial.scores, trial.epoch) == (None, None, {}, 3)
    assert one().epoch == 0.0 and one().step == 0


@pytest.mark.parametrize(("mode", "epoch", "best"), [("max", 2, 0.9), ("min", 3, 0.1)])
def test_the_best_is_that_of_any_epoch_and_the_first_of_equals(
    mode: str, epoch: float, best: float
) -> None:
    values = [0.5, 0.9, 0.1, 0.9, math.nan, 0.1, 0.5]
    trial = one(*(result(at, 0, at, value) for at, value in enumerate(values, start=1)), mode=mode)
    assert (trial.best, trial.best_epoch) == (best, epoch)


def test_an_epoch_evaluated_again_replaces_the_earlier() -> None:
    first = [result(2, 0, 1.0, 0.5), result(3, 0, 2.0, 0.9), result(4, 0, 3.0, 0.7)]
    again = [
        *events((10, "start", 0, {"attempt": 2})),
        result(12, 0, 2.0000000001, 0.6),
        result(13, 0, 2.5, 0.65),
    ]
    trial = one(*first, *again)
    assert [(round(r.epoch, 3), r.value) for r in trial.results] == [
        (1, 0.5),
        (2, 0.6),
        (2.5, 0.65),
        (3, 0.7),
    ]
    assert (trial.best, trial.best_epoch, trial.attempts, trial.status) == (0.7, 3.0, 2, "running")
    assert trial.seconds == 3 + 3, (
        "the time between the death of a process and the next start is not its own"
    )


def test_resuming_sets_back_what_ran_and_leaves_what_ended() -> None:
    story = [
        *suggested(0, 1, 2),
        *events((1, "start", 0, {}), (1, "start", 1, {}), (5, "end", 0, {"status": "done"})),
        *events((6, "stop", {"reason": "interrupted", "detail": "Ctrl-C"})),
    ]
    stopped = replay(story, "max")
    assert (stopped.stopped_by, stopped.detail) == ("interrupted", "Ctrl-C")
    resumed = replay([*story, *events((1000, "resume", {}), (1002, "start", 1, {}))], "max")
    assert [trial.status for trial in resumed.trials.values()] == ["done", "running", "pending"]
    assert (resumed.resumes, resumed.stopped_by, resumed.detail) == (1, None, None)
    assert resumed.trials[1].attempts == 2 and resumed.seconds == 6 + 2


def test_a_failed_trial_that_runs_again_loses_its_cause() -> None:
    failed = events((2, "end", 0, {"status": "failed", "cause": "disk full", "log": "x"}))
    trial = one(*failed, *events((3, "start", 0, {}), (4, "end", 0, {"status": "done"})))
    assert (trial.status, trial.cause, trial.log, trial.attempts) == ("done", None, None, 2)


def test_values_that_change_on_the_way_are_the_last_ones() -> None:
    again = events((2, "trial", 0, {"values": {"epochs": 9}, "group": 0, "repeat": 0}))
    trial = one(result(1, 0, 1.0, 0.5), *again)
    assert trial.values == {"epochs": 9} and trial.best == 0.5 and trial.status == "running"


def test_events_of_later_versions_are_left_out() -> None:
    assert replay(
        [*suggested(0), *events((1, "colour", {"of": "the sky"}))], "max"
    ).trials.keys() == {0}


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"event": "start", "time": 1, "trial": 5}, "KeyError: 5"),
        ({"event": "end", "time": 1, "trial": 0, "status": "asleep"}, "status is `asleep`"),
        ({"event": "result", "time": 1, "trial": 0, "value": 0.5}, "KeyError: 'epoch'"),
        ({"event": "result", "time": "noon", "trial": 0, "epoch": 1, "value": 0.5}, "noon"),
        ({"event": "trial", "time": 1, "trial": 5, "values": 3}, "TypeError"),
        ({"event": "stop", "time": 1}, "KeyError: 'reason'"),
    ],
)
def test_an_event_that_makes_no_sense_is_shown(event: dict[str, Any], named: str) -> None:
    with pytest.raises(
        DataError,
        match=rf"an invalid event \(.*{named}.*\): \{{'event'",
    ):
        replay([*suggested(0), event], "max")
