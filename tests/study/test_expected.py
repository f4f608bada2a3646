"""The expected best of k trials, against exact arithmetic."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations, pairwise, product
from statistics import fmean

import pytest

from ftr.study.analysis import expected_best, expected_gain


def draws(count: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.8, 0.1) for _ in range(count)]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_it_is_the_mean_of_the_best_over_all_subsets(count: int, mode: str) -> None:
    values = [*draws(count - 1), draws(count)[0]]  # the last equals the first: ties
    best = max if mode == "max" else min
    for k, found in enumerate(expected_best(values, mode), start=1):
        assert found == pytest.approx(
            fmean(best(chosen) for chosen in combinations(values, k)), rel=1e-13
        )


def test_it_agrees_with_exact_fractions_for_thousands_of_trials() -> None:
    values = sorted(draws(3000))
    found = expected_best(values, "max")
    exact = [Fraction(value) for value in values]
    for k in (1, 2, 7, 100, 1500, 2999, 3000):
        ways, total, power = 1, 0, 2**80
        for i in range(k, len(values) + 1):  # C(i-1, k-1), from one i to the next
            ways = ways * (i - 1) // (i - k) if i > k else 1
            total += int(exact[i - 1] * power) * ways
        assert found[k - 1] == pytest.approx(
            float(Fraction(total, math.comb(3000, k) * power)), rel=1e-12
        )


def test_it_is_unbiased_where_drawing_with_replacement_is_not() -> None:
    # All samples of 4 from {0, 1}: the best of 2 is 1 with chance 3/4.
    samples = list(product([0.0, 1.0], repeat=4))
    assert fmean(expected_best(sample, "max")[1] for sample in samples) == pytest.approx(0.75)
    with_replacement = fmean(1 - (sample.count(0.0) / 4) ** 2 for sample in samples)
    assert with_replacement < 0.7


def test_it_rises_from_the_mean_to_the_best_with_ever_smaller_steps() -> None:
    values = draws(200)
    curve = expected_best(values, "max")
    assert (
        curve[0] == pytest.approx(fmean(values)) and curve[-1] == max(values) and len(curve) == 200
    )
    steps = [after - before for before, after in pairwise(curve)]
    assert all(step >= 0 for step in steps) and all(
        after <= before + 1e-15 for before, after in pairwise(steps)
    )
    assert expected_best([-value for value in values], "min") == pytest.approx(
        [-value for value in curve]
    )


def test_ten_thousand_values_neither_overflow_nor_lose_the_range() -> None:
    curve = expected_best(draws(10_000), "max")
    assert all(math.isfinite(value) for value in curve) and all(
        after >= before for before, after in pairwise(curve)
    )


def test_equal_and_missing_values() -> None:
    assert expected_best([0.1] * 50, "max") == [0.1] * 50
    assert expected_best([0.1, math.nan, 0.3, -math.inf], "max") == expected_best([0.1, 0.3], "max")
    assert expected_best([], "max") == []
    assert expected_gain([0.1] * 50, "min") == 0.0


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_gain_of_doubling_is_that_of_the_second_half_and_bounds_that_of_as_many_more(
    mode: str,
) -> None:
    values = draws(31)
    curve = expected_best(values, mode)
    assert expected_gain(values, mode) == pytest.approx(abs(curve[30] - curve[15]))
    # What the next 8 of 16 bring is at most what the last 8 brought.
    assert abs(curve[23] - curve[15]) <= abs(curve[15] - curve[7])
    assert (
        expected_gain(values[:7], mode) is None
        and expected_gain([*values[:7], math.nan], mode) is None
    )
    assert expected_gain(values[:8], mode) is not None


def test_the_gain_shrinks_as_a_search_goes_on() -> None:
    # Drawn evenly from [0, 1), the best of n is n / (n + 1) on average.
    for count in (8, 32, 128):
        gains = [
            expected_gain([random.Random(seed * 1000 + n).random() for n in range(count)], "max")
            for seed in range(200)
        ]
        expected = count / (count + 1) - count / (count + 2)
        assert fmean(gain for gain in gains if gain is not None) == pytest.approx(expected, rel=0.2)
