"""The probability that an answer is right, fitted on validation rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftr.train.calibration import expected_calibration_error
from ftr_plugins.extractive_qa.confidence import confidence, fit


def given(score: float, apart: float, answer: str = "mill") -> dict[str, Any]:
    """Return a prediction whose best span and no answer are `apart` in favour of what it gives."""
    return {
        "id": "q",
        "answer": answer,
        "score": score,
        "no_answer_score": -apart if answer else apart,
    }


def test_what_was_drawn_is_found_for_answers_and_for_none_apart() -> None:
    rng = np.random.default_rng(0)
    predictions, right, true = [], [], []
    for number in range(8000):
        answer, score, apart = "mill" if number % 2 else "", rng.uniform(0.05, 0.95), rng.normal()
        odds = 0.5 * math.log(score / (1 - score)) + apart - (1.0 if answer else -0.5)
        true.append(1 / (1 + math.exp(-odds)))
        predictions.append(given(score, apart, answer))
        right.append(bool(rng.random() < true[-1]))
    weights = fit(predictions, right)
    assert weights["answer"] == pytest.approx([-1.0, 0.5, 1.0], abs=0.15)
    assert weights["no_answer"] == pytest.approx([0.5, 0.5, 1.0], abs=0.15)
    found = [confidence(one, weights) for one in predictions]
    assert found == pytest.approx(true, abs=0.06)
    before = expected_calibration_error([one["score"] for one in predictions], right)
    after = expected_calibration_error(found, right)
    assert before is not None and before > 0.1
    assert after is not None and after < 0.02


def test_without_a_single_answer_to_learn_from_the_confidence_is_the_score() -> None:
    weights = fit([given(0.9, 1.0)] * 5, [True] * 5)
    assert confidence(given(0.3, 2.0, ""), weights) == pytest.approx(0.3)
    assert confidence(given(0.3, 2.0), fit([], [])) == pytest.approx(0.3)


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_right_or_all_wrong_make_nothing_certain(right: bool) -> None:
    predictions = [given(0.99, 9.0), given(0.6, 1.0)] * 50
    found = confidence(predictions[0], fit(predictions, [right] * 100))
    assert 0.9 < found < 1 - 1e-4 if right else 1e-4 < found < 0.1


def test_equal_scores_give_the_share_that_is_right() -> None:
    predictions = [given(0.9, 3.0)] * 200
    weights = fit(predictions, [number % 4 == 0 for number in range(200)])
    assert confidence(predictions[0], weights) == pytest.approx(0.25, abs=0.02)


def test_scores_at_the_edge_and_rows_without_any_span_have_a_confidence() -> None:
    weights = {"answer": [0.0, 1.0, 0.5], "no_answer": [0.0, 1.0, 0.5]}
    assert confidence(given(1.0, 800.0), weights) == 1.0
    assert 0 <= confidence(given(0.0, -5000.0), weights) < 1e-12
    nothing = {"id": "q", "answer": "", "score": 1.0, "no_answer_score": None}
    assert confidence(nothing, weights) == pytest.approx(1.0)
