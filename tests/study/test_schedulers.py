"""Schedulers by our names, counting epochs, and told on resumption what they knew."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from ftr.config.schema import SweepConfig
from ftr.study.schedulers import Known, make_scheduler, tell_scheduler
from ftr.study.trials import Result, Trial
from sweeps import space_of

NAMES = itertools.count()
SPACE = space_of(epochs="choice(2,4,9)")


def scheduler_of(name: str, mode: str = "max", epochs: float = 9, **keys: object) -> Any:
    return make_scheduler(
        SweepConfig.model_validate({"scheduler": name, **keys}), SPACE, epochs, mode, 0
    )


def trials(count: int, seed: int = 0) -> list[Trial]:
    """Return trials that ended, each better with every epoch, some much better than others."""
    rng, found = random.Random(seed), []
    for number in range(count):
        trial = Trial(number, {"epochs": rng.choice((2, 4, 9))}, number, 0, status="done")
        slope = rng.random()
        for epoch in range(1, trial.values["epochs"] + 1):
            trial.add(Result(float(epoch), epoch, slope * epoch, 1.0, {}), "max")
        found.append(trial)
    return found


def live(scheduler: Any, trial: Trial) -> list[str]:
    """Let a scheduler see a trial as Tune shows it, and return its decisions up to the one that
    ends it.
    """
    known, decisions, seen = Known(f"live-{next(NAMES)}"), list[str](), dict[str, Any]()
    scheduler.on_trial_add(None, known)
    for result in trial.results:
        seen = {"epoch": result.epoch, "value": result.value, "training_iteration": result.step}
        decisions.append(scheduler.on_trial_result(None, known, seen))
        if decisions[-1] == "STOP":
            break
    scheduler.on_trial_complete(None, known, seen)
    return decisions


def probe(scheduler: Any) -> list[list[str]]:
    """Return what a scheduler decides on trials it has not seen."""
    return [live(scheduler, trial) for trial in trials(30, seed=1)]


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_scheduler_that_is_told_decides_as_one_that_was_there(name: str) -> None:
    there, told, ignorant = (scheduler_of(name) for _ in range(3))
    earlier = trials(12)
    for trial in earlier:
        stopped = live(there, trial)
        # What a scheduler stopped has no later results in the journal either.
        trial.results = trial.results[: len(stopped)]
    tell_scheduler(told, name, earlier)
    decisions = probe(told)
    assert decisions == probe(there)
    assert any("STOP" in made for made in decisions) and decisions != probe(ignorant)


@pytest.mark.parametrize("name", ["fifo", "hyperband"])
def test_others_need_not_be_told(name: str) -> None:
    tell_scheduler(scheduler_of(name), name, trials(3))


def test_fifo_lets_every_trial_train_to_its_end() -> None:
    assert {decision for made in probe(scheduler_of("fifo")) for decision in made} == {"CONTINUE"}


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_asha_stops_the_weaker_after_grace_in_the_direction_of_the_score(
    mode: str, sign: float
) -> None:
    scheduler = scheduler_of("asha", mode, grace_period=2, reduction_factor=2)
    for number, value in enumerate([0.9, 0.8, 0.1]):
        trial = Trial(number, {}, number, 0)
        for epoch in range(1, 5):
            trial.add(Result(float(epoch), epoch, sign * value, 1.0, {}), mode)
        expected = ["CONTINUE"] * 4 if value == 0.9 else ["CONTINUE", "STOP"]
        assert live(scheduler, trial) == expected, value


@pytest.mark.parametrize("grace", [1, 2, 12])
def test_the_best_trial_reaches_the_last_of_its_own_epochs(grace: float) -> None:
    scheduler = scheduler_of("asha", grace_period=grace)
    for trial in trials(10):
        live(scheduler, trial)
    best = Trial(99, {"epochs": 9}, 99, 0)
    for epoch in range(1, 10):
        best.add(Result(float(epoch), epoch, 10.0 * epoch, 1.0, {}), "max")
    assert live(scheduler, best) == ["CONTINUE"] * 9


def test_median_stops_what_is_worse_than_most_after_three_trials() -> None:
    scheduler = scheduler_of("median")
    weak = Trial(9, {}, 9, 0)
    for epoch in (1, 2):
        weak.add(Result(float(epoch), epoch, 0.01, 1.0, {}), "max")
    for number, trial in enumerate(trials(3)):
        assert set(live(scheduler, trial)) == {"CONTINUE"}, number
    assert live(scheduler, weak) == ["STOP"]


def test_a_trial_without_a_number_is_no_reason_to_stop_others() -> None:
    for name in ("asha", "median"):
        scheduler = scheduler_of(name)
        blank = Trial(0, {}, 0, 0, status="failed")
        blank.add(Result(1.0, 1, float("nan"), 1.0, {}), "max")
        tell_scheduler(scheduler, name, [blank, Trial(1, {}, 1, 0, status="failed")])
        assert live(scheduler, trials(1)[0])[0] == "CONTINUE"
