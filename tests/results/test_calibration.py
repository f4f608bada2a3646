"""What is left, and how often it is wrong, when a model abstains below a confidence."""

from __future__ import annotations

import random

import pytest

from ftr.results.calibration import (
    Coverage,
    area_under_risk_coverage,
    risk_coverage,
    threshold_for,
)

SURE = [0.9, 0.8, 0.8, 0.6, 0.3]
WRONG = [0.0, 1.0, 0.0, 0.0, 1.0]


def test_a_higher_threshold_leaves_fewer_rows() -> None:
    assert risk_coverage(SURE, WRONG, [0.0, 0.8, 0.85, 0.95]) == [
        Coverage(0.0, 1.0, 5, 0.4),
        Coverage(0.8, 0.6, 3, 1 / 3),
        Coverage(0.85, 0.2, 1, 0.0),
        Coverage(0.95, 0.0, 0, None),
    ]


def test_errors_need_not_be_wrong_or_right() -> None:
    (found,) = risk_coverage([0.5, 0.9], [0.25, 0.75], [0.5])
    assert found.risk == 0.5


def test_the_area_is_the_mean_risk_whatever_the_order_of_equal_confidences() -> None:
    # By hand: 0, then the mean 0.5 of the two at 0.8 twice, 0, 1.
    expected = (0 + 0.5 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5
    pairs = list(zip(SURE, WRONG, strict=True))
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        sure, wrong = zip(*pairs, strict=True)
        assert area_under_risk_coverage(sure, wrong) == pytest.approx(expected)
    assert area_under_risk_coverage([0.5] * 4, [1, 0, 0, 0]) == pytest.approx(0.25)


def test_the_threshold_for_a_risk_leaves_the_most_rows_and_for_a_coverage_the_fewest() -> None:
    found = threshold_for(SURE, WRONG, risk=0.3)
    assert found == Coverage(0.6, 0.8, 4, 0.25)
    assert threshold_for(SURE, WRONG, risk=0.0) == Coverage(0.9, 0.2, 1, 0.0)
    assert threshold_for([0.9, 0.5], [1, 1], risk=0.1) is None
    assert threshold_for(SURE, WRONG, coverage=0.5) == Coverage(0.8, 0.6, 3, 1 / 3)
    assert threshold_for(SURE, WRONG, coverage=1.0) == Coverage(0.3, 1.0, 5, 0.4)
    with pytest.raises(ValueError, match="either"):
        threshold_for(SURE, WRONG)


def test_no_predictions_leave_nothing() -> None:
    assert risk_coverage([], []) == [] and area_under_risk_coverage([], []) is None
    assert threshold_for([], [], coverage=0.5) is None
    with pytest.raises(ValueError, match="no number"):
        risk_coverage([float("nan")], [0.0])
