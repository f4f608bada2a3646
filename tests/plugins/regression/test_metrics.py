"""Correlations and errors agree with scipy and scikit-learn."""

from __future__ import annotations

import random
import warnings

import pytest

from ftr_plugins.regression.metrics import mae, mse, pearson, ranks, spearman


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], [1]),
        ([10.0, -2.0, 5.0], [3, 1, 2]),
        ([1.0, 2.0, 2.0, 3.0], [1, 2.5, 2.5, 4]),
        ([7.0, 7.0, 7.0], [2, 2, 2]),
    ],
)
def test_equal_values_share_the_mean_of_their_ranks(
    values: list[float], expected: list[float]
) -> None:
    assert ranks(values).tolist() == expected


def test_correlations_counted_by_hand() -> None:
    # Deviations (-1, 0, 1) and (-2, 0, 2), then with the last two exchanged: 1 - 6 * 2 / (3 * 8) =
    # 0.5.
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [20, 400, 30]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [9, 8, 1]) == pytest.approx(-1.0)
    assert (mae([1, 2], [3, 1]), mse([1, 2], [3, 1])) == (1.5, 2.5)


@pytest.mark.parametrize("constant", [5.0, 0.1, 1e-30, -3.3e20])
def test_equal_numbers_correlate_with_nothing_and_warn_of_nothing(constant: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for count in (1, 3, 7, 1000):
            varied = [float(number) for number in range(count)]
            for one, other in ((varied, [constant] * count), ([constant] * count, varied)):
                assert spearman(one, other) == pearson(one, other) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_those_of_scipy_and_scikit_learn(seed: int) -> None:
    from scipy import stats
    from sklearn import metrics

    rng = random.Random(seed)
    scale, offset = 10.0 ** rng.randint(-6, 6), rng.choice([0.0, 3.0, -100.0])
    one = [offset + scale * rng.randint(0, 9) for _ in range(rng.randint(3, 80))]  # many are equal
    one[0] += scale
    other = [value + scale * rng.gauss(0, 3) for value in one]
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)
    assert pearson(one, other) == pytest.approx(stats.pearsonr(one, other).statistic, abs=1e-9)
    assert mae(one, other) == pytest.approx(metrics.mean_absolute_error(other, one), rel=1e-9)
    assert mse(one, other) == pytest.approx(metrics.mean_squared_error(other, one), rel=1e-9)
