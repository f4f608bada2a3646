"""What each way to several models asks of its members, and what excludes what."""

from pathlib import Path
from typing import Any

import pytest

from ftr.config.resolve import resolve
from ftr.errors import ConfigError
from ftr.model.components import make_head
from ftr.registry.registry import get_registry
from ftr.study.members import Plan, check_plan, plan_of
from trainings import train


def planned(**keys: Any) -> Plan:
    """Return the plan of settings on the sentiment task."""
    return plan_of(
        resolve(
            {"task": "sentiment", **{key.replace("__", "."): value for key, value in keys.items()}},
            get_registry(),
        ).config
    )


@pytest.mark.parametrize(
    ("keys", "kind", "joined", "varied"),
    [
        ({"seeds": 2, "seed": 7}, "seeds", None, [{"seed": 7}, {"seed": 8}]),
        ({"cv__folds": 2}, "folds", None, [{"fold": 0}, {"fold": 1}]),
        ({"ensemble": "seeds"}, "seeds", "outputs", [{"seed": 0}, {"seed": 1}, {"seed": 2}]),
        ({"ensemble": "seeds", "seeds": 2}, "seeds", "outputs", [{"seed": 0}, {"seed": 1}]),
        ({"ensemble": "folds", "ensemble_size": 2}, "folds", "outputs", [{"fold": 0}, {"fold": 1}]),
        ({"ensemble": "folds"}, "folds", "outputs", [{"fold": number} for number in range(5)]),
        (
            {"ensemble": "bagging", "ensemble_size": 2, "data__seed": 5},
            "bagging",
            "outputs",
            [{"seed": 0, "bootstrap": 5}, {"seed": 1, "bootstrap": 6}],
        ),
        ({"ensemble": "soup", "ensemble_size": 2}, "soup", "weights", [{"seed": 0}, {"seed": 1}]),
        ({"boosting": 2}, "boosting", "votes", [{"seed": 0}, {"seed": 1}]),
    ],
)
def test_members_differ_in_what_is_asked(
    keys: dict[str, Any], kind: str, joined: str | None, varied: list[dict[str, int]]
) -> None:
    plan = planned(**keys)
    assert (plan.kind, plan.joined, [member.varied for member in plan.members]) == (
        kind,
        joined,
        varied,
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"seeds": 2},
        {"ensemble": "folds"},
        {"ensemble": "bagging"},
        {"ensemble": "soup"},
        {"boosting": 2},
    ],
)
def test_a_member_is_a_run_that_can_be_asked_for_alone(keys: dict[str, Any]) -> None:
    for member in planned(**keys).members:
        assert not member.config.several
        for key, value in member.varied.items():
            place = {
                "fold": member.config.cv.fold,
                "bootstrap": member.config.data.bootstrap,
                "seed": member.config.seed,
            }
            assert place[key] == value


def test_members_of_a_soup_begin_with_the_same_new_weights_and_others_do_not() -> None:
    assert {member.config.weights_seed for member in planned(ensemble="soup", seed=3).members} == {
        3
    }
    assert (
        len({member.config.weights_seed for member in planned(ensemble="seeds", seed=3).members})
        == 3
    )


def test_baselines_of_the_same_rows_are_made_once() -> None:
    assert [member.config.baselines for member in planned(seeds=3).members] == [True, False, False]
    assert all(member.config.baselines for member in planned(cv__folds=3).members)
    assert not any(
        member.config.baselines for member in planned(cv__folds=3, baselines=False).members
    )


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"seeds": 3, "cv.folds": 3}, ("`seeds`", "`cv.folds`")),
        ({"boosting": 3, "ensemble": "seeds"}, ("`boosting`", "`ensemble`")),
        ({"ensemble_size": 3}, ("`ensemble_size`", "`ensemble`")),
        (
            {"ensemble": "folds", "cv.folds": 5, "ensemble_size": 3},
            ("`ensemble_size`", "`cv.folds`"),
        ),
        ({"ensemble": "folds", "cv.folds": 5, "cv.fold": 1}, ("`ensemble=folds`", "`cv.fold`")),
        ({"ensemble": "bagging", "data.bootstrap": 1}, ("`ensemble=bagging`", "`data.bootstrap`")),
        ({"cv.fold": 1}, ("`cv.fold=1`", "`cv.folds`")),
    ],
)
def test_contradictions_are_refused_naming_both_keys(
    keys: dict[str, Any], named: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve({"task": "sentiment", **keys}, get_registry())
    assert all(name in str(refused.value) for name in named)


def test_boosting_is_refused_for_a_head_without_classes_before_anything_is_written(
    questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"`boosting=3` .* the head `extractive-qa` \(`head`\) has no class"
    ):
        train({"task": "qa", "boosting": 3}, output=tmp_path / "runs", dataset=questions)
    assert not (tmp_path / "runs").exists()


def test_a_head_that_cannot_combine_is_refused_naming_what_joins_without(tmp_path: Path) -> None:
    config = resolve({"task": "sentiment", "ensemble": "bagging"}, get_registry()).config

    class Alone:
        """A head without `combine`."""

        schema = make_head(get_registry(), config.head).schema

    with pytest.raises(
        ConfigError, match=r"`ensemble=bagging` averages outputs, .* `ensemble=soup`"
    ):
        check_plan(plan_of(config), config, Alone())  # type: ignore[arg-type]


def test_a_soup_without_validation_rows_is_refused_naming_both_keys(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"`ensemble=soup` .* `data.validation_size`"):
        train(
            {"task": "sentiment", "ensemble": "soup", "data.validation_size": 0},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path / "runs",
        )
    assert not (tmp_path / "runs").exists()
