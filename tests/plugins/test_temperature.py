"""Temperatures: the one that was drawn with is found, and no decision changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ftr.train.calibration import expected_calibration_error
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.classification.options import SequenceClassificationOptions
from ftr_plugins.multi_label.head import MultiLabelHead
from ftr_plugins.multi_label.options import MultiLabelOptions
from ftr_plugins.temperature import (
    fit_temperature,
    fit_temperature_of_labels,
    scaled,
    scaled_labels,
)

LABELS = ("bad", "fine", "good")


def at(temperature: float) -> dict[str, Any]:
    return {"calibration": {"temperature": temperature}}


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def drawn(temperature: float, rows: int = 20_000) -> tuple[NDArray[np.float32], list[int]]:
    """Return probabilities that are too sure by `temperature`, and classes as they truly fall."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (rows, 3))
    true = [int(rng.choice(3, p=one / one.sum())) for one in softmax(logits).astype(np.float64)]
    return softmax(logits * temperature), true


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_the_model_is_found(temperature: float) -> None:
    probabilities, true = drawn(temperature)
    assert fit_temperature(probabilities, true) == pytest.approx(temperature, rel=0.04)


def test_scaling_leaves_the_argmax_and_takes_away_the_error() -> None:
    probabilities, true = drawn(3.0)
    state = at(fit_temperature(probabilities, true))
    after = np.array([scaled(one, state) for one in probabilities])
    assert after.sum(axis=1) == pytest.approx(1.0)
    assert (after.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    right = probabilities.argmax(axis=1) == true
    before = expected_calibration_error(probabilities.max(axis=1), right)
    now = expected_calibration_error(after.max(axis=1), right)
    assert before is not None and before > 0.15
    assert now is not None and now < 0.02


@pytest.mark.parametrize("temperature", [0.01, 0.5, 7.0, 100.0])
def test_neighbouring_numbers_and_ties_keep_their_order(temperature: float) -> None:
    one = np.float32(0.4)
    tied = np.array([one, np.nextafter(one, np.float32(1)), one], dtype=np.float32)
    assert scaled(tied, at(temperature)).argmax() == 1
    assert scaled(np.array([0.4, 0.4, 0.2]), at(temperature)).argmax() == 0
    assert np.isfinite(scaled(np.array([1.0, 0.0, 0.0], dtype=np.float32), at(temperature))).all()
    edges = np.array([0.0, 1e-30, 0.5, 1 - 2**-24, 1.0], dtype=np.float32)
    shown = scaled_labels(edges, at(temperature))
    assert (np.diff(shown) >= 0).all() and shown[2] == 0.5
    assert ((shown >= 0) & (shown <= 1)).all()


def test_without_a_temperature_nothing_changes() -> None:
    probabilities = np.array([0.25, 0.75], dtype=np.float32)
    assert scaled(probabilities, {}) is probabilities
    assert scaled_labels(probabilities, {"thresholds": {"a": 0.5}}) is probabilities


def test_rows_that_are_all_right_make_no_prediction_certain() -> None:
    probabilities = np.array([[0.7, 0.3], [0.8, 0.2]] * 50)
    temperature = fit_temperature(probabilities, [0] * 100)
    most = scaled(np.array([0.8, 0.2]), at(temperature))[0]
    assert temperature < 1 and 0.98 < most < 0.9999


@pytest.mark.parametrize(
    "probabilities", [np.full((9, 3), 1 / 3), np.ones((9, 1)), np.empty((0, 3))]
)
def test_constant_probabilities_one_class_and_no_rows_have_the_temperature_1(
    probabilities: NDArray[Any],
) -> None:
    assert fit_temperature(probabilities, [0] * len(probabilities)) == 1.0


def test_a_model_that_is_worse_than_chance_stays_within_bounds() -> None:
    assert fit_temperature(np.array([[0.9, 0.1]] * 20), [1] * 20) == pytest.approx(100, rel=0.01)


def test_one_temperature_is_found_for_all_labels() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(-1, 2, (8000, 4))
    applies = rng.random((8000, 4)) < 1 / (1 + np.exp(-logits))
    given = (1 / (1 + np.exp(-2.5 * logits))).astype(np.float32)
    temperature = fit_temperature_of_labels(given, applies)
    assert temperature == pytest.approx(2.5, rel=0.05)
    back = scaled_labels(given, at(temperature))
    assert back == pytest.approx(1 / (1 + np.exp(-logits)), abs=0.02)


def test_a_head_fits_only_when_asked_and_keeps_its_labels() -> None:
    rows = [{"id": str(n), "text": "x", "label": n % 3} for n in range(30)]
    rng = np.random.default_rng(0)
    records = [[softmax(rng.normal(0, 4, (1, 3)))[0]] for _ in rows]
    plain = SequenceClassificationHead()
    asked = SequenceClassificationHead(SequenceClassificationOptions(calibrate="temperature"))
    assert plain.calibrate(rows, records, LABELS) == {} and plain.uncalibrated(rows) is None
    assert asked.calibrate([], [], LABELS) == {}
    assert "no validation rows" in (asked.uncalibrated(rows) or "")
    state = asked.calibrate(rows, records, LABELS)
    assert state["calibration"]["temperature"] > 1.5
    for row, each in zip(rows, records, strict=True):
        one, other = plain.decode(row, each, {}, LABELS), asked.decode(row, each, state, LABELS)
        assert one["label_id"] == other["label_id"] and one["score"] > other["score"]
        assert sum(other["probabilities"].values()) == pytest.approx(1.0)
        assert other["score"] == other["probabilities"][other["label"]]


def test_a_temperature_and_thresholds_of_labels_coexist() -> None:
    labels = ("insult", "threat")
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"id": str(n), "text": "x", "labels": [k for k in (0, 1) if rng.random() < 0.3]}
        for n in range(60)
    ]
    records = [[rng.random(2).astype(np.float32) ** 3] for _ in rows]
    plain = MultiLabelHead()
    asked = MultiLabelHead(MultiLabelOptions(calibrate="temperature"))
    state = asked.calibrate(rows, records, labels)
    assert state["thresholds"] == plain.calibrate(rows, records, labels)["thresholds"]
    assert state["calibration"]["temperature"] != 1.0
    for row, each in zip(rows, records, strict=True):
        one = plain.decode(row, each, {"thresholds": state["thresholds"]}, labels)
        other = asked.decode(row, each, state, labels)
        assert one["labels"] == other["labels"]
        assert one["probabilities"] != other["probabilities"]


def test_a_given_threshold_is_one_of_the_probabilities_that_are_shown() -> None:
    head = MultiLabelHead(MultiLabelOptions(calibrate="temperature", threshold=0.3))
    records = [np.array([0.1, 0.9], dtype=np.float32)]
    prediction = head.decode({"id": "a"}, records, at(4.0), ("insult", "threat"))
    assert prediction["probabilities"]["insult"] == pytest.approx(0.366, abs=1e-3)
    assert prediction["labels"] == ["insult", "threat"]
    assert head.calibrate([{"id": "a", "labels": [1]}], [records], ("insult", "threat")).keys() == {
        "calibration"
    }
    assert "head.calibrate" in (head.uncalibrated([]) or "")
