"""When a sweep has had enough, and which budget says so."""

from __future__ import annotations

import time

import pytest

from ftr.config.schema import SweepConfig
from ftr.study.search import Budget, Ending

FLAT = [0.5] * 8
RISING = [0.1 * n for n in range(9)]


def budget(*, limit: int | None = None, mode: str = "max", **keys: object) -> Budget:
    return Budget(SweepConfig.model_validate(keys), limit, mode)


def test_trials_end_it_when_all_are_begun_and_those_under_way_go_on() -> None:
    few = budget(limit=3, trials=3)
    assert few.sated([], 2) is None and few.exhausted() is None
    assert (
        few.sated([], 3)
        == few.sated([0.1], 4)
        == Ending("trials", "all 3 trials that were asked for are done", at_once=False)
    )
    assert few.exhausted() is None


def test_a_whole_grid_says_so_and_a_part_of_one_does_not() -> None:
    ending = budget(limit=6, searcher="grid").sated([], 6)
    assert ending is not None and (ending.reason, ending.detail) == (
        "grid",
        "the whole grid was tried",
    )
    part = budget(limit=4, searcher="grid", trials=4).sated([], 4)
    assert part is not None and part.reason == "trials"


def test_time_stops_trials_under_way_too_and_counts_the_parts_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    minute = SweepConfig.model_validate({"time_budget": "1m"})
    resumed = Budget(minute, None, "max", spent_before=50.0, began=now)
    assert resumed.exhausted() is None and resumed.seconds == 50.0
    now += 11
    assert resumed.exhausted() == Ending(
        "time_budget", "`time_budget=60` seconds are over", at_once=True
    )
    assert resumed.sated([], 100) is None


def test_epochs_are_counted_over_all_trials_each_as_far_as_it_came() -> None:
    total = Budget(
        SweepConfig.model_validate({"max_total_epochs": 6}), None, "max", epochs={0: 2.0}
    )
    total.count(1, 1.0)
    total.count(1, 2.0)
    # A trial that was taken up again reports epochs it had before.
    total.count(1, 1.0)
    total.count(2, 1.5)
    assert total.exhausted() is None
    total.count(2, 2.0)
    assert total.exhausted() == Ending(
        "max_total_epochs", "6 epochs trained, `max_total_epochs=6`", at_once=True
    )


@pytest.mark.parametrize("mode", ["max", "min"])
def test_patience_ends_it_when_more_trials_would_bring_too_little(mode: str) -> None:
    patient = budget(min_gain=0.01, mode=mode)
    assert patient.sated(FLAT[:7], 7) is None, "seven scores are too few to tell"
    ending = patient.sated(FLAT, 8)
    assert ending is not None and ending.reason == "min_gain" and not ending.at_once
    assert "`min_gain=0.01`" in ending.detail
    assert patient.sated(RISING, 9) is None
    assert budget(mode=mode).sated(FLAT, 8) is None, "without `min_gain` nothing is too little"


def test_budgets_combine_and_the_first_reached_is_named() -> None:
    both = budget(limit=8, trials=8, min_gain=0.01, time_budget=3600, max_total_epochs=4)
    assert both.sated(RISING, 8) == Ending("trials", "all 8 trials that were asked for are done")
    early = both.sated(FLAT, 7)
    assert early is not None and early.reason == "min_gain"
    both.count(0, 4.0)
    spent = both.exhausted()
    assert spent is not None and spent.reason == "max_total_epochs"
