"""Which values trials get: the same calls in the same order give the same values, and every value
is one of the space.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest

from ftr.config.space import grid_points
from ftr.errors import ConfigError
from ftr.study.search import Proposer, TuneProposer, Values, make_proposer
from sweeps import hidden, space_of

NAMES = ("random", "optuna", "hyperopt")
SPACE = space_of(
    learning_rate="loguniform(1e-5,1e-1)",
    batch_size="choice(8,16,32)",
    epochs="randint(1,5)",
    **{
        "train.warmup": "quniform(0,0.2,0.05)",
        "train.weight_decay": "normal(0.1,0.02)",
        "train.lr_scheduler": "choice(linear,cosine)",
    },
)
PEAK = space_of(learning_rate="loguniform(1e-5,1e-1)", batch_size="choice(8,16,32)")
BY_CHANCE = -5 / 3
"""The mean score of values drawn at random: one order of magnitude away, and the wrong batch size
two times of three.
"""
WARM_UP = 12
"""Configurations after which both searchers have begun to learn: they draw the first ten and
five.
"""


def peak(values: Values) -> float:
    """Return a score that is highest, 0, at `learning_rate` 1e-3 and `batch_size` 16."""
    return -abs(math.log10(float(str(values["learning_rate"]))) + 3) - (values["batch_size"] != 16)


def proposals(proposer: Proposer, count: int, sign: float = 1.0) -> list[Values]:
    """Let a proposer search for the peak, and return what it proposed."""
    found = []
    for number in range(count):
        values = proposer.propose(number)
        assert values is not None
        found.append(values)
        proposer.tell(number, sign * peak(values))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_same_calls_give_the_same_values_and_another_seed_gives_others(name: str) -> None:
    first, again, other = (
        proposals(make_proposer(name, SPACE, "max", seed), WARM_UP) for seed in (3, 3, 4)
    )
    assert first == again != other
    assert len({str(values) for values in first}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_one_of_the_space(name: str) -> None:
    for values in proposals(make_proposer(name, SPACE, "max", 0), 2 * WARM_UP):
        assert list(values) == list(SPACE)
        assert 1e-5 <= float(str(values["learning_rate"])) <= 1e-1
        assert values["batch_size"] in (8, 16, 32) and type(values["batch_size"]) is int
        assert values["epochs"] in (1, 2, 3, 4) and type(values["epochs"]) is int
        assert values["train.warmup"] in (0.0, 0.05, 0.1, 0.15, 0.2)
        assert 0.04 <= float(str(values["train.weight_decay"])) <= 0.16
        assert values["train.lr_scheduler"] in ("linear", "cosine")


def test_random_does_not_depend_on_the_order_of_calls() -> None:
    proposer = make_proposer("random", SPACE, "max", 0)
    backwards = {number: proposer.propose(number) for number in reversed(range(5))}
    assert [backwards[number] for number in range(5)] == proposals(
        make_proposer("random", SPACE, "max", 0), 5
    )


@pytest.mark.parametrize("name", ["optuna", "hyperopt"])
@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_searchers_learn_in_the_direction_of_the_score(name: str, mode: str, sign: float) -> None:
    found = [
        peak(values) for values in proposals(make_proposer(name, PEAK, mode, 0), 4 * WARM_UP, sign)
    ]
    learned = found[WARM_UP:]
    assert sum(learned) / len(learned) > BY_CHANCE + 0.3


@pytest.mark.parametrize("name", ["optuna", "hyperopt"])
def test_a_configuration_without_a_score_is_no_news_and_a_score_counts_once(name: str) -> None:
    proposer = make_proposer(name, PEAK, "max", 0)
    for number, score in enumerate([None, math.nan, math.inf, 0.5, 0.6]):
        assert proposer.propose(number) is not None
        proposer.tell(number, score)
        proposer.tell(number, 0.9)
    assert isinstance(proposer, TuneProposer) and proposer.scored == {0, 1, 2, 3, 4}
    assert all(proposer.propose(number) is not None for number in range(5, 5 + WARM_UP))


@pytest.mark.parametrize("name", ["optuna", "hyperopt"])
def test_several_configurations_may_be_under_way(name: str) -> None:
    def searched() -> list[Values | None]:
        proposer = make_proposer(name, PEAK, "max", 0)
        found = [proposer.propose(number) for number in range(4)]
        for number in (2, 0, 3):
            proposer.tell(number, float(number))
        return [*found, *(proposer.propose(number) for number in range(4, 4 + WARM_UP))]

    assert searched() == searched()


def test_a_grid_gives_each_point_once_and_then_nothing() -> None:
    space = space_of(epochs="grid(1,2)", batch_size="choice(8,16,32)", seed="randint(0,2)")
    proposer = make_proposer("grid", space, "max", 0)
    found = [proposer.propose(number) for number in range(12)]
    assert found == list(grid_points(space)) and Counter(map(str, found)).most_common(1)[0][1] == 1
    assert proposer.propose(12) is None


@pytest.mark.parametrize(
    ("name", "mend"), [("optuna", "pip install 'ftr'"), ("hyperopt", "pip install 'ftr[hyperopt]'")]
)
def test_a_searcher_that_is_not_installed_is_named_with_the_mend(
    name: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden(monkeypatch, name)
    with pytest.raises(ConfigError) as caught:
        make_proposer(name, SPACE, "max", 0)
    assert f"`searcher={name}` needs the package `{name}`" in str(caught.value) and mend in str(
        caught.value
    )
