"""Reliability, calibration error, Brier score and log likelihood of confidences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftr.registry.protocols import Outcome
from ftr.train.calibration import (
    brier,
    brier_of_classes,
    expected_calibration_error,
    measure,
    negative_log_likelihood,
    reliability,
)


def test_bins_are_of_equal_width_and_an_edge_belongs_to_the_bin_below() -> None:
    bins = reliability([0.0, 0.2, 0.25, 0.4, 1.0], [0, 1, 0, 1, 1], bins=5)
    assert [(one.low, one.high, one.count) for one in bins] == [
        (0.0, 0.2, 2),
        (0.2, 0.4, 2),
        (0.4, 0.6, 0),
        (0.6, 0.8, 0),
        (0.8, 1.0, 1),
    ]
    assert bins[0].confidence == pytest.approx(0.1) and bins[0].accuracy == 0.5
    assert bins[2].confidence is None and bins[2].accuracy is None


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    # Two bins: 0.9 on four predictions of which three are right, 0.6 on one that is wrong.
    found = expected_calibration_error([0.9] * 4 + [0.6], [1, 1, 1, 0, 0], bins=10)
    assert found == pytest.approx((4 * 0.15 + 1 * 0.6) / 5)


@pytest.mark.parametrize("bins", [10, 15])
def test_confidences_that_are_drawn_as_they_say_have_no_error(bins: int) -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.3, 1.0, 50_000)
    found = expected_calibration_error(sure, rng.random(50_000) < sure, bins)
    assert found is not None and found < 0.01


def test_the_scores_of_what_is_known_by_heart() -> None:
    assert brier([1.0, 0.5], [1, 0]) == pytest.approx(0.125)
    assert brier_of_classes([[0.7, 0.3], [0.5, 0.5]], [0, 0]) == pytest.approx((0.18 + 0.5) / 2)
    assert negative_log_likelihood([0.5, 0.75], [1, 0]) == pytest.approx(
        (math.log(2) + math.log(4)) / 2
    )
    sure_and_wrong = negative_log_likelihood([1.0], [0])
    assert sure_and_wrong is not None and 80 < sure_and_wrong < 90


def test_nothing_measures_nothing_and_one_class_or_one_confidence_is_no_special_case() -> None:
    assert expected_calibration_error([], []) is None and brier([], []) is None
    assert negative_log_likelihood([], []) is None and measure([], []) is None
    assert brier_of_classes(np.empty((0, 2)), []) is None
    assert sum(one.count for one in reliability([], [])) == 0
    assert expected_calibration_error([0.7] * 10, [1] * 10) == pytest.approx(0.3)
    assert brier_of_classes([[1.0], [1.0]], [0, 0]) == 0.0


@pytest.mark.parametrize("confidences", [[1.5], [-0.1], [float("nan")], [0.5, 0.5]])
def test_what_is_no_probability_is_refused(confidences: list[float]) -> None:
    with pytest.raises(ValueError, match=r"probability|confidences of"):
        expected_calibration_error(confidences, [1])


def outcome(predicted: str, expected: str, confidence: float | None) -> Outcome:
    return Outcome(
        predicted=predicted,
        expected=expected,
        error=float(predicted != expected),
        confidence=confidence,
    )


def test_classes_are_measured_by_all_their_probabilities_and_sets_by_their_confidence() -> None:
    predictions = [
        {"id": "a", "label": "bad", "probabilities": {"bad": 0.6, "fine": 0.3, "good": 0.1}},
        {"id": "b", "label": "good", "probabilities": {"bad": 0.0, "fine": 0.2, "good": 0.8}},
    ]
    outcomes = [outcome("bad", "fine", 0.6), outcome("good", "good", 0.8)]
    found = measure(outcomes, predictions)
    assert found is not None and (found.n, found.accuracy) == (2, 0.5)
    assert found.confidence == pytest.approx(0.7)
    assert found.brier == pytest.approx((0.36 + 0.49 + 0.01 + 0.04 + 0.04) / 2)
    assert found.nll == pytest.approx(-(math.log(0.3) + math.log(0.8)) / 2)
    sets: list[dict[str, Any]] = [
        {"id": "a", "labels": [], "probabilities": {"bad": 0.6}},
        {"id": "b", "labels": []},
    ]
    found = measure(outcomes, sets)
    assert found is not None and found.brier == pytest.approx((0.36 + 0.04) / 2)


def test_predictions_without_a_confidence_are_not_measured() -> None:
    assert measure([outcome("1", "2", None)], [{"id": "a", "score": 1.0}]) is None
