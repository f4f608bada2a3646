"""Seconds by shape: the fit finds the factors behind exact times, and none is below 0."""

from __future__ import annotations

import pytest

from ftr.results.plan.fit import Fit, fit, spread

SHAPES = [[(32, 8)], [(32, 24)], [(32, 60)], [(16, 200), (16, 180)], [(8, 400), (8, 390)]]


def test_factors_are_found_again() -> None:
    truth = Fit(once=0.02, token=4e-5, pair=3e-8)

    found = fit([truth.seconds(one) for one in SHAPES], SHAPES)

    assert found.seconds([(24, 100)]) == pytest.approx(truth.seconds([(24, 100)]), rel=1e-6)


def test_no_factor_is_negative_where_longer_batches_were_faster() -> None:
    found = fit([0.5, 0.4, 0.3, 0.2, 0.1], SHAPES)

    assert min(found.once, found.token, found.pair) >= 0
    assert found.seconds([(1, 1)]) > 0


def test_few_times_are_in_proportion_to_tokens() -> None:
    found = fit([1.0, 3.0], [[(10, 10)], [(10, 30)]])

    assert found == Fit(token=0.01)


def test_nothing_timed_takes_no_time() -> None:
    assert fit([], []).seconds([(32, 100)]) == 0.0


def test_items_are_chosen_over_the_whole_range_and_the_largest_comes_first() -> None:
    costs = [float(number) for number in range(100)]

    chosen = spread(costs, 7)

    assert chosen[0] == 99
    assert len(chosen) == 7
    assert chosen[1:] == sorted(chosen[1:])
    assert chosen[1] < 15
    assert spread([3.0, 1.0, 2.0], 7) == [0, 1, 2]
