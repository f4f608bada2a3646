"""Which parameter mattered, on sweeps where we know."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from ftr.config.space import Dimension, read_dimension
from ftr.study.analysis import importance
from ftr.study.trials import Result, SweepState, Trial

Score = Callable[[dict[str, Any]], float]


def space(**expressions: str) -> dict[str, Dimension]:
    found = {key: read_dimension(key, text, "test") for key, text in expressions.items()}
    return {key: dimension for key, dimension in found.items() if dimension is not None}


SPACE = space(
    learning_rate="loguniform(1e-5,1e-3)",
    batch_size="choice(8,16,32)",
    dropout="uniform(0,0.5)",
    layers="randint(1,7)",
)
DECIDERS: dict[str, Score] = {
    "learning_rate": lambda values: -abs(math.log10(values["learning_rate"]) + 4),
    "batch_size": lambda values: {8: 1.0, 16: 0.5, 32: 0.0}[values["batch_size"]],
    "dropout": lambda values: -values["dropout"] * 4,
    "layers": lambda values: -abs(values["layers"] - 2) / 3,
}


def searched(
    dimensions: dict[str, Dimension], score: Score, count: int, seed: int = 0, noise: float = 0.05
) -> SweepState:
    rng = np.random.default_rng(seed)
    state = SweepState("max")
    for number in range(count):
        values = {key: dimension.sample(rng) for key, dimension in dimensions.items()}
        add(state, number, values, score(values) + noise * float(rng.normal()))
    return state


def add(
    state: SweepState, number: int, values: dict[str, Any], value: float, group: int | None = None
) -> None:
    trial = Trial(number, values, number if group is None else group, 0, status="done")
    trial.add(Result(epoch=1.0, step=1, value=value, seconds=1.0, scores={}), state.mode)
    state.trials[number] = trial


@pytest.mark.parametrize("key", DECIDERS)
@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_parameter_that_decides_comes_first(key: str, mode: str) -> None:
    sign = 1 if mode == "max" else -1
    state = searched(SPACE, lambda values: sign * DECIDERS[key](values), 64)
    shares = importance(state, SPACE, mode)
    assert shares is not None and next(iter(shares)) == key and shares.keys() == SPACE.keys()
    first, second, *_ = shares.values()
    assert sum(shares.values()) == pytest.approx(1) and first > 0.5 and first > 2 * second
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_every_kind_of_dimension_is_understood() -> None:
    dimensions = space(
        a="grid([1,2],[3])",
        b="quniform(0,1,0.25)",
        c="normal(0,1)",
        d="qloguniform(8,64,8)",
        e="lograndint(1,100)",
        f="choice(true,1,null,x)",
    )
    shares = importance(
        searched(dimensions, lambda values: -abs(values["c"]), 60), dimensions, "max"
    )
    assert shares is not None and next(iter(shares)) == "c" and shares.keys() == dimensions.keys()


def test_too_little_to_tell_is_none() -> None:
    two = {key: SPACE[key] for key in ("learning_rate", "dropout")}
    full = searched(two, DECIDERS["dropout"], 8)
    assert importance(full, two, "max") is not None
    del full.trials[3]
    assert importance(full, two, "max") is None, "seven configurations"
    add(full, 3, {"learning_rate": 1e-4, "dropout": 0.1}, math.nan)
    assert importance(full, two, "max") is None, "one of eight without a score"
    assert importance(searched(two, lambda values: 1.0, 20, noise=0.0), two, "max") is None, (
        "the same score everywhere"
    )
    one = {"dropout": SPACE["dropout"]}
    assert importance(searched(one, DECIDERS["dropout"], 20), one, "max") is None, "one parameter"
    assert importance(SweepState("max"), SPACE, "max") is None


def test_a_parameter_that_never_varied_has_no_share() -> None:
    state = searched(SPACE, DECIDERS["dropout"], 30)
    for trial in state.trials.values():
        trial.values["layers"] = 3
    shares = importance(state, SPACE, "max")
    assert shares is not None and shares["layers"] == 0.0 and next(iter(shares)) == "dropout"


def test_repeats_of_a_configuration_count_once() -> None:
    two = {key: SPACE[key] for key in ("learning_rate", "dropout")}
    state = SweepState("max")
    for number in range(21):
        add(
            state,
            number,
            {"learning_rate": 1e-4 + number // 3 * 1e-5, "dropout": 0.1},
            float(number),
            group=number // 3,
        )
    assert importance(state, two, "max") is None, "21 trials of seven configurations"


def test_values_from_beyond_the_space_do_not_stop_it() -> None:
    state = searched(SPACE, DECIDERS["dropout"], 30)
    add(state, 30, {"learning_rate": 1.0, "batch_size": 64, "dropout": 0.9, "layers": 99}, -4.0)
    assert importance(state, SPACE, "max") is not None


def test_optuna_says_nothing_and_is_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    importance(searched(SPACE, DECIDERS["dropout"], 12), SPACE, "max")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")
