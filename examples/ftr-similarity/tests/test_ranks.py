"""Ranks and correlations, by hand and against scipy."""

import random

import pytest

from ftr_similarity.ranks import pearson, ranks, spearman


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


def test_numbers_that_do_not_vary_tell_nothing() -> None:
    assert spearman([1, 2, 3], [5, 5, 5]) == pearson([0, 0], [1, 2]) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = random.Random(seed)
    one = [float(rng.randint(0, 9)) for _ in range(40)]  # many are equal
    other = [value + rng.gauss(0, 3) for value in one]
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert pearson(one, other) == pytest.approx(stats.pearsonr(one, other).statistic)


def test_the_metric_gives_all_scores() -> None:
    from ftr_similarity.metric import Correlation

    scores = Correlation().compute(predictions=[1.0, 2.0, 4.0], references=[1.0, 2.0, 3.0])
    assert scores == pytest.approx({"spearman": 1.0, "pearson": 0.98198, "mse": 1 / 3}, abs=1e-5)
