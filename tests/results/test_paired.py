"""Differences of two models on the same rows: intervals, tests, and where tests do not apply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from ftr.results.paired import called_differences, differences, holm, mcnemar, permutation_p
from ftr.train.intervals import Contributions, Units, contributions_of_several
from ftr_plugins.classification import metrics
from ftr_plugins.regression.metrics import mae, pearson
from ftr_plugins.token_classification.metrics import entity_f1

METRICS = {name: getattr(metrics, name) for name in ("accuracy", "f1", "macro_recall")}


def pair(
    one: Sequence[int], two: Sequence[int], references: Sequence[int], labels: str = "abc"
) -> tuple[Contributions, Contributions]:
    inputs = [{"predictions": each, "references": references} for each in (one, two)]
    one_side, other_side = contributions_of_several(
        METRICS, {name: name for name in METRICS}, inputs, labels, len(references)
    )
    return one_side, other_side


def models(rows: int, first: float, second: float, seed: int = 0) -> tuple[list[int], ...]:
    """Return the predictions of two models that are right with some probability, and the truth."""
    generator = np.random.default_rng(seed)
    references = generator.integers(3, size=rows)
    other = (references + 1 + generator.integers(2, size=rows)) % 3
    one, two = (
        np.where(generator.random(rows) < right, references, other) for right in (first, second)
    )
    return one.tolist(), two.tolist(), references.tolist()


def test_accuracy_is_tested_by_the_exact_binomial_test() -> None:
    one, two, references = models(300, 0.85, 0.80)
    found = differences(*pair(one, two, references), Units("rows", 300))
    difference = found["accuracy",]
    right = [np.equal(side, references) for side in (one, two)]
    alone = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert difference.test == "McNemar"
    assert difference.exact == pytest.approx(binomtest(alone[0], sum(alone)).pvalue)
    given_outcome = binom.pmf(alone[0], sum(alone), 0.5)
    assert difference.p == pytest.approx(difference.exact - given_outcome)
    assert difference.value == pytest.approx((alone[0] - alone[1]) / 300)
    assert difference.interval is not None
    # The standard error of paired shares (Agresti 2002, section 10.1).
    error = np.sqrt(sum(alone) - (alone[0] - alone[1]) ** 2 / 300) / 300
    assert difference.interval["low"] == pytest.approx(difference.value - 1.96 * error, abs=0.01)
    assert difference.interval["high"] == pytest.approx(difference.value + 1.96 * error, abs=0.01)


def test_other_scores_are_tested_by_permutation_also_where_they_equal_the_accuracy() -> None:
    one, two, _ = models(300, 0.9, 0.7)
    balanced = [0, 1, 2] * 100
    found = differences(*pair(one, two, balanced), Units("rows", 300))
    assert found["f1",].test == found["macro_recall",].test == "permutation"
    assert found["macro_recall",].first == pytest.approx(found["accuracy",].first)


def test_rows_of_a_group_are_exchanged_together() -> None:
    one, two, references = models(300, 0.9, 0.8)
    titles = Units("title", 30, np.repeat(np.arange(30), 10))
    found = differences(*pair(one, two, references), titles)
    assert found["accuracy",].test == "permutation"


def test_a_large_difference_is_significant_and_equal_models_are_not() -> None:
    one, two, references = models(500, 0.9, 0.75)
    units = Units("rows", 500)
    found = differences(*pair(one, two, references), units)
    assert all(each.p is not None and each.p < 0.01 for each in found.values())
    same = differences(*pair(one, one, references), units)
    assert all((each.value, each.p, each.interval) == (0.0, 1.0, None) for each in same.values())


def test_both_ways_of_resampling_agree() -> None:
    one, two, references = models(200, 0.85, 0.75)
    sides = np.array([one, two])
    truth = np.array(references)

    def called(
        rows: NDArray[np.int64], swap: NDArray[np.bool_] | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        picked = sides[:, rows]
        if swap is not None:
            picked = np.where(swap, picked[::-1], picked)
        first, second = ((side == truth[rows]).mean() for side in picked)
        return {"accuracy": float(first)}, {"accuracy": float(second)}

    units = Units("rows", 200)
    exact = differences(*pair(one, two, references), units)["accuracy",]
    found, reached = called_differences(called, units, seconds=600)
    assert reached == "2,000 resamples and 4,999 permutations"
    other = found["accuracy",]
    assert exact.interval is not None
    assert other.interval is not None
    for end in ("low", "high"):
        assert other.interval[end] == pytest.approx(exact.interval[end], abs=0.01)
    assert other.p == pytest.approx(exact.p, abs=0.03)


def test_without_a_row_that_changed_there_is_no_evidence() -> None:
    right = np.array([True, False, True])
    assert mcnemar(right, right) == (1.0, 1.0)
    half = np.array([False, True, True])
    assert mcnemar(right, half) == (1.0, 1.0)


def test_holm_multiplies_the_smallest_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, None]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
        None,
    ]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_equal_models_differ_at_the_five_percent_level_no_more_often_than_that() -> None:
    """A small version of benchmarks/coverage.py."""
    alarms = {"accuracy": 0, "f1": 0}
    for seed in range(60):
        one, two, references = models(200, 0.8, 0.8, seed)
        found = differences(*pair(one, two, references), Units("rows", 200))
        for name in alarms:
            p = found[name,].p
            alarms[name] += p is not None and p < 0.05
    assert all(count <= 9 for count in alarms.values()), alarms  # 15 %; 5 % are expected


def test_a_class_that_one_model_alone_predicts_changes_no_p_value() -> None:
    one, two, references = models(300, 0.9, 0.8)
    rows = Units("rows", 300)
    known = differences(*pair(one, two, references), rows)
    stray = [3, *two[1:]]
    found = differences(*pair(one, stray, references, "abcd"), rows)
    p = found["macro_recall",].p
    assert p is not None and p == pytest.approx(known["macro_recall",].p, abs=0.02)
    turned = differences(*pair(stray, one, references, "abcd"), rows)
    assert turned["macro_recall",].p == pytest.approx(p, abs=0.02)
    apart = [pair(each, each, references)[0] for each in (one, two)]
    with pytest.raises(ValueError, match="contributions_of_several"):
        differences(apart[0], apart[1], rows)


def test_an_entity_type_that_one_model_alone_finds_changes_no_p_value() -> None:
    generator = np.random.default_rng(1)
    gold = [["B-PER" if odd else "B-LOC"] for odd in generator.integers(2, size=200)]

    def found(share: float, stray: bool) -> list[list[str]]:
        some = [["O"] if generator.random() < share else tags for tags in gold]
        return [["B-MISC"] if stray and not place else tags for place, tags in enumerate(some)]

    one, two = found(0.02, False), found(0.15, True)
    inputs = [{"predictions": each, "references": gold} for each in (one, two)]
    metric = {"entity_f1": entity_f1}
    tables = contributions_of_several(metric, {"entity_f1": "entity_f1"}, inputs, "", 200)
    assert differences(tables[0], tables[1], Units("rows", 200))["entity_f1",].p == pytest.approx(
        1 / 5000
    )


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_the_scale_of_predictions_changes_no_p_value_of_a_correlation(factor: float) -> None:
    generator = np.random.default_rng(2)
    true = generator.normal(size=200)
    one, two = (true + noise * generator.normal(size=200) for noise in (0.5, 0.8))
    inputs = [
        {"predictions": each.tolist(), "references": true.tolist()} for each in (one, two * factor)
    ]
    tables = contributions_of_several({"pearson": pearson}, {"pearson": "pearson"}, inputs, "", 200)
    found = differences(tables[0], tables[1], Units("rows", 200))["pearson",]
    assert found.first == pytest.approx(pearson(one, true)) and found.p is not None
    assert found.p < 0.01


def test_a_large_scale_of_a_score_changes_no_p_value() -> None:
    true = np.arange(8) * 1e6
    error = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0])
    inputs = [
        {"predictions": (true + each).tolist(), "references": true.tolist()}
        for each in (error, error * 0)
    ]
    tables = contributions_of_several({"mae": mae}, {"mae": "mae"}, inputs, "", 8)
    found = differences(tables[0], tables[1], Units("rows", 8))["mae",]
    assert found.p == pytest.approx(2 / 64, abs=0.01)


def test_what_is_not_defined_has_no_p_value() -> None:
    nan = float("nan")
    assert permutation_p(nan, 1.0, np.ones(5000)) is None
    assert permutation_p(1.0, 2.0, np.full(5000, nan)) is None
