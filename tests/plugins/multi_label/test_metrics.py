"""The metrics of several labels agree with scikit-learn."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ftr_plugins.multi_label.metrics import average_precision, multi_label

Table = NDArray[Any]


def tables(seed: int) -> tuple[Table, Table, NDArray[Any]]:
    """Return predictions, references and probabilities, some of them equal; the last label has no
    positive row for odd seeds.
    """
    rng = np.random.default_rng(seed)
    rows, labels = int(rng.integers(1, 60)), int(rng.integers(1, 7))
    references = (rng.random((rows, labels)) < 0.4).astype(np.int64)
    if seed % 2:
        references[:, -1] = 0
    probabilities = np.round(np.clip(references * 0.3 + rng.random((rows, labels)), 0, 1), 1)
    return (probabilities > 0.6).astype(np.int64), references, probabilities


@pytest.mark.parametrize("seed", range(30))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn import metrics

    predictions, references, probabilities = tables(seed)
    ours = {
        **multi_label(predictions.tolist(), references.tolist()),
        **average_precision(probabilities.tolist(), references.tolist()),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels without positive rows
        f1 = {
            name: metrics.f1_score(references, predictions, average=average)
            for name, average in (("micro_f1", "micro"), ("macro_f1", "macro"))
        }
        each = metrics.f1_score(references, predictions, average=None)
        average = {
            name: metrics.average_precision_score(references, probabilities, average=average)
            for name, average in (
                ("average_precision", "macro"),
                ("average_precision_macro", "macro"),
                ("average_precision_micro", "micro"),
            )
        }
        precisions = metrics.average_precision_score(references, probabilities, average=None)
    if references.shape[1] == 1:  # scikit-learn takes one column for a binary problem
        each = f1["micro_f1"] = f1["macro_f1"] = metrics.f1_score(
            references[:, 0], predictions[:, 0], zero_division=0
        )
    expected = {
        **f1,
        **average,
        "exact_match": metrics.accuracy_score(references, predictions),
        "f1_per_label": np.atleast_1d(each).tolist(),
        "average_precision_per_label": np.atleast_1d(precisions).tolist(),
    }
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name
    assert json.loads(json.dumps(ours)) == ours


def test_scores_counted_by_hand() -> None:
    scores = multi_label([[1, 0, 1], [0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert scores.pop("f1_per_label") == [1.0, 0.0, 0.0]
    assert scores == pytest.approx(
        {"micro_f1": 2 / (3 + 2), "macro_f1": 1 / 3, "exact_match": 1 / 3}
    )
    # Ranked 1, 0, 1: precision 1 at recall 1/2, then 2/3 at recall 1.
    assert average_precision([[0.9], [0.5], [0.2]], [[1], [0], [1]])[
        "average_precision"
    ] == pytest.approx((1 + 2 / 3) / 2)
