"""Differences of two models on the same rows: intervals, tests, and where tests do not apply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from ftr.results.paired import called_differences, differences, holm, mcnemar
from ftr.train.intervals import Contributions, Units, contributions
from ftr_plugins.classification import metrics

METRICS = {name: getattr(metrics, name) for name in ("accuracy", "f1", "macro_recall")}


def given(predictions: Sequence[int], references: Sequence[int]) -> Contributions:
    inputs = {"predictions": predictions, "references": references}
    return contributions(METRICS, {name: name for name in METRICS}, inputs, "abc", len(references))


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
    found = differences(given(one, references), given(two, references), Units("rows", 300))
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
    found = differences(given(one, balanced), given(two, balanced), Units("rows", 300))
    assert found["f1",].test == found["macro_recall",].test == "permutation"
    assert found["macro_recall",].first == pytest.approx(found["accuracy",].first)


def test_rows_of_a_group_are_exchanged_together() -> None:
    one, two, references = models(300, 0.9, 0.8)
    titles = Units("title", 30, np.repeat(np.arange(30), 10))
    found = differences(given(one, references), given(two, references), titles)
    assert found["accuracy",].test == "permutation"


def test_a_large_difference_is_significant_and_equal_models_are_not() -> None:
    one, two, references = models(500, 0.9, 0.75)
    units = Units("rows", 500)
    found = differences(given(one, references), given(two, references), units)
    assert all(each.p is not None and each.p < 0.01 for each in found.values())
    same = differences(given(one, references), given(one, references), units)
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
    exact = differences(given(one, references), given(two, references), units)["accuracy",]
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
        found = differences(given(one, references), given(two, references), Units("rows", 200))
        for name in alarms:
            p = found[name,].p
            alarms[name] += p is not None and p < 0.05
    assert all(count <= 9 for count in alarms.values()), alarms  # 15 %; 5 % are expected
