"""Thresholds, losses, remarks and baselines of several labels."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from ftr.registry.protocols import provides
from ftr_plugins.multi_label.head import MultiLabelHead
from ftr_plugins.multi_label.options import MultiLabelOptions
from ftr_plugins.multi_label.thresholds import best_threshold
from trainings import CLASSES, review

LABELS = tuple(CLASSES)


def f1(probabilities: list[float], applies: list[bool], threshold: float) -> float:
    given = [one >= threshold for one in probabilities]
    right = sum(one and true for one, true in zip(given, applies, strict=True))
    return 2 * right / ((sum(given) + sum(applies)) or 1)


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_is_better(seed: int) -> None:
    rng = random.Random(seed)
    probabilities = [round(rng.random(), 1) for _ in range(30)]  # many are equal
    applies = [rng.random() < (2.0 if seed == 7 else one) for one in probabilities]
    threshold = best_threshold(np.array(probabilities), np.array(applies))
    best = max(f1(probabilities, applies, number / 20 + 0.01) for number in range(-1, 20))
    assert f1(probabilities, applies, threshold) == pytest.approx(best)


def test_of_equal_thresholds_the_one_in_the_widest_gap_is_taken() -> None:
    probabilities, applies = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    assert best_threshold(probabilities, applies) == pytest.approx(0.5)


def test_each_label_has_a_threshold_of_its_own_and_one_without_rows_keeps_a_half() -> None:
    labels = ("insult", "threat", "spam")
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "x", "labels": [0]},
        {"id": "b", "text": "y", "labels": [1]},
    ]
    records = [
        [np.array([0.3, 0.7, 0.4], dtype=np.float32)],
        [np.array([0.1, 0.9, 0.6], dtype=np.float32)],
    ]
    head = MultiLabelHead()
    state = head.calibrate(rows, records, labels)
    assert state == {
        "thresholds": pytest.approx({"insult": 0.2, "threat": 0.8, "spam": 0.5}, abs=1e-6)
    }
    predictions = [
        head.decode(row, kept, state, labels) for row, kept in zip(rows, records, strict=True)
    ]
    assert [one["labels"] for one in predictions] == [["insult"], ["threat", "spam"]]
    assert predictions[0]["probabilities"] == pytest.approx(
        {"insult": 0.3, "threat": 0.7, "spam": 0.4}
    )
    (line,) = head.remarks(rows, ["multi_label"], labels)
    assert "`spam`" in line and "0.5" in line and "`threat`" not in line
    assert head.remarks(rows, ["multi_label"], labels[:2]) == []
    assert head.uncalibrated(rows) is not None


def test_the_outcome_of_a_set_counts_wrong_labels_and_is_as_sure_as_all_of_them() -> None:
    labels, head = ("insult", "threat"), MultiLabelHead(MultiLabelOptions(threshold=0.5))
    rows: list[dict[str, Any]] = [{"id": "a", "labels": [0, 1]}, {"id": "b", "labels": []}]
    records = [[np.array([0.75, 0.25])], [np.array([0.5, 0.125])]]
    predictions = [
        head.decode(row, kept, {}, labels) for row, kept in zip(rows, records, strict=True)
    ]
    half, wrong = head.outcomes(rows, predictions, labels)
    assert (half.predicted, half.expected, half.error) == ("insult", "insult, threat", 0.5)
    assert half.confidence == 0.75 * 0.75
    assert (wrong.expected, wrong.error) == ("(no label)", 0.5)
    assert wrong.confidence == 0.5 * 0.875


def test_a_given_threshold_is_not_calibrated_and_is_used_whatever_was() -> None:
    head = MultiLabelHead(MultiLabelOptions(threshold=0.25))
    rows = [{"id": "a", "text": "x", "labels": [0]}]
    records = [[np.array([0.3, 0.2], dtype=np.float32)]]
    labels = ("insult", "threat")
    assert head.calibrate(rows, records, labels) == {} and head.uncalibrated(rows) is None
    state = {"thresholds": {"insult": 0.9, "threat": 0.1}}
    assert head.decode(rows[0], records[0], state, labels)["labels"] == ["insult"]
    (line,) = head.remarks(rows, [], labels)
    assert "0.5" not in line


def test_a_row_without_the_column_has_no_labels() -> None:
    head, labels = MultiLabelHead(), ("insult", "threat")
    row = {"id": "a", "text": "x"}
    prediction = head.decode(row, [np.array([0.9, 0.2], dtype=np.float32)], {}, labels)
    assert head.score_inputs([row], [prediction], labels) == {
        "predictions": [[1, 0]],
        "references": [[0, 0]],
        "probabilities": [pytest.approx([0.9, 0.2])],
    }


def test_smoothing_draws_each_target_towards_one_half() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    head, outputs = MultiLabelHead(), SequenceClassifierOutput(logits=logits)
    probability = logits.sigmoid()
    for smoothing in (0.0, 0.2):
        target = labels * (1 - smoothing) + smoothing / 2
        expected = -(target * probability.log() + (1 - target) * (1 - probability).log()).mean(1)
        found = head.row_losses(outputs, {"labels": labels}, smoothing)
        assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_models_are_combined_by_the_mean_of_their_probabilities() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    head, generator = MultiLabelHead(), torch.Generator().manual_seed(1)
    logits = [8 * torch.randn(4, 3, generator=generator) for _ in range(3)]
    combined = head.combine([SequenceClassifierOutput(logits=one) for one in logits])
    expected = torch.stack([one.double().sigmoid() for one in logits]).mean(dim=0)
    assert np.allclose(np.stack(head.reduce(combined, [])), expected, atol=1e-6)
    assert not provides(head, "vote")


def test_baselines_are_the_most_frequent_set_and_words_by_label() -> None:
    rng = random.Random(0)

    def rows(count: int) -> list[dict[str, Any]]:
        made = []
        for number in range(count):
            chosen = [[0], [0, 1], [2], [0]][number % 4]
            text = " ".join(review(LABELS[one], rng) for one in chosen)
            made.append({"id": str(number), "text": text, "labels": chosen})
        return made

    head, labels, train, held = MultiLabelHead(), (*LABELS, "unused"), rows(200), rows(40)
    blind = [{**row, "labels": []} for row in held]
    found = head.baselines(train, {"test": held}, labels)
    assert found == head.baselines(train, {"test": blind}, labels)
    most = found["majority"]["test"]
    assert {tuple(one["label_ids"]) for one in most} == {(0,)}
    assert most[0]["probabilities"] == {
        LABELS[0]: 0.75,
        LABELS[1]: 0.25,
        LABELS[2]: 0.25,
        "unused": 0,
    }
    words = found["tf-idf"]["test"]
    right = [one["label_ids"] == row["labels"] for one, row in zip(words, held, strict=True)]
    assert sum(right) > 30
    assert {one["probabilities"]["unused"] for one in words} == {0.0}
    assert [one["id"] for one in words] == [row["id"] for row in held]
