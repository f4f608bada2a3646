"""Thresholds and scores, against counting and scikit-learn."""

import random

import numpy as np
import pytest

from ftr_toxic_labels.head import MultiLabelHead
from ftr_toxic_labels.options import MultiLabelOptions
from ftr_toxic_labels.thresholds import best_threshold


def f1(probabilities: list[float], applies: list[bool], threshold: float) -> float:
    given = [one >= threshold for one in probabilities]
    right = sum(one and true for one, true in zip(given, applies, strict=True))
    return 2 * right / (sum(given) + sum(applies))


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better(seed: int) -> None:
    rng = random.Random(seed)
    probabilities = [round(rng.random(), 1) for _ in range(30)]  # many are equal
    applies = [rng.random() < one for one in probabilities]
    threshold = best_threshold(np.array(probabilities), np.array(applies))
    best = max(f1(probabilities, applies, number / 20 + 0.01) for number in range(20))
    assert f1(probabilities, applies, threshold) == pytest.approx(best)


def test_of_equal_thresholds_the_one_in_the_widest_gap_is_taken() -> None:
    probabilities, applies = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    assert best_threshold(probabilities, applies) == pytest.approx(0.5)


@pytest.mark.parametrize("applies", [[False, False], [True, True]])
def test_without_a_difference_the_threshold_is_one_half(applies: list[bool]) -> None:
    assert best_threshold(np.array([0.9, 0.7]), np.array(applies)) == 0.5


def test_each_label_has_a_threshold_of_its_own() -> None:
    rows = [{"id": "a", "text": "x", "labels": [0]}, {"id": "b", "text": "y", "labels": [1]}]
    records = [[np.array([0.3, 0.7], dtype=np.float32)], [np.array([0.1, 0.9], dtype=np.float32)]]
    head = MultiLabelHead()
    state = head.calibrate(rows, records, [])
    assert state == {"thresholds": pytest.approx([0.2, 0.8])}
    predictions = [
        head.decode(row, kept, state, ("insult", "threat"))
        for row, kept in zip(rows, records, strict=True)
    ]
    assert [one["labels"] for one in predictions] == [["insult"], ["threat"]]
    assert predictions[0]["probabilities"] == pytest.approx({"insult": 0.3, "threat": 0.7})


def test_a_given_threshold_is_not_tuned() -> None:
    head = MultiLabelHead(MultiLabelOptions(threshold=0.25))
    rows = [{"id": "a", "text": "x", "labels": [0]}]
    records = [[np.array([0.3, 0.2], dtype=np.float32)]]
    assert head.calibrate(rows, records, []) == {} and head.uncalibrated(rows) is None
    assert head.decode(rows[0], records[0], {}, ("insult", "threat"))["labels"] == ["insult"]


def test_scores_counted_by_hand() -> None:
    from ftr_toxic_labels.metric import MultiLabel

    scores = MultiLabel().compute(predictions=[[0, 2], [], [1]], references=[[0], [], [2]])
    assert scores.pop("f1_per_label") == [1.0, 0.0, 0.0]
    assert scores == pytest.approx(
        {"micro_f1": 2 * 1 / (3 + 2), "macro_f1": (1 + 0 + 0) / 3, "exact_match": 1 / 3}
    )


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    from ftr_toxic_labels.metric import MultiLabel

    rng = random.Random(1)
    tables = [[[rng.random() < 0.4 for _ in range(5)] for _ in range(50)] for _ in range(2)]
    predictions, references = (
        [[number for number, applies in enumerate(row) if applies] for row in table]
        for table in tables
    )
    scores = MultiLabel().compute(predictions=predictions, references=references)
    given, true = (np.array(table, dtype=np.int64) for table in tables)
    assert scores["micro_f1"] == pytest.approx(metrics.f1_score(true, given, average="micro"))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(true, given, average="macro"))
    assert scores["exact_match"] == pytest.approx(metrics.accuracy_score(true, given))
    assert scores["f1_per_label"] == pytest.approx(
        metrics.f1_score(true, given, average=None).tolist()
    )
