"""The classification metrics agree with scikit-learn."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ftr_plugins.classification.metrics import (
    accuracy,
    confusion_matrix,
    f1,
    macro_recall,
    precision,
    recall,
)

CASES = {
    "three classes": (
        np.random.default_rng(0).integers(0, 3, 200).tolist(),
        np.random.default_rng(1).integers(0, 3, 200).tolist(),
    ),
    "all right": ([0, 1, 1], [0, 1, 1]),
    "all wrong": ([0, 1, 0], [1, 0, 1]),
    "a class never predicted": ([0, 0, 0, 0], [0, 1, 2, 1]),
    "a class that is not in the split": ([0, 3, 3], [0, 3, 0]),
    "a class only predicted": ([2, 0, 1], [0, 0, 1]),
    "one row": ([1], [1]),
}


@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", [precision, recall, f1])
def test_averages_agree_with_scikit_learn(metric: Callable[..., Any], case: str) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    predictions, references = CASES[case]
    name = metric.__name__
    index = ("precision", "recall", "f1").index(name)
    ours = metric(predictions=predictions, references=references)
    for average in ("macro", "micro", "weighted"):
        theirs = precision_recall_fscore_support(
            references, predictions, average=average, zero_division=0
        )[index]
        assert ours[f"{name}_{average}"] == pytest.approx(theirs, abs=1e-9)
    every = list(range(max(predictions + references) + 1))
    each = precision_recall_fscore_support(
        references, predictions, labels=every, average=None, zero_division=0
    )[index]
    assert ours[f"{name}_per_class"] == pytest.approx(each.tolist(), abs=1e-9)
    assert ours[name] == ours[f"{name}_macro"]


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%")
@pytest.mark.parametrize("case", CASES)
def test_accuracy_macro_recall_and_confusion_matrix_agree_with_scikit_learn(case: str) -> None:
    from sklearn import metrics

    predictions, references = CASES[case]
    given: dict[str, Sequence[int]] = {"predictions": predictions, "references": references}
    every = list(range(max(predictions + references) + 1))
    assert accuracy(**given) == pytest.approx(
        metrics.accuracy_score(references, predictions), abs=1e-9
    )
    assert macro_recall(**given) == {
        "macro_recall": pytest.approx(
            metrics.recall_score(references, predictions, average="macro", zero_division=0),
            abs=1e-9,
        )
    }
    assert confusion_matrix(**given) == {
        "confusion_matrix": metrics.confusion_matrix(references, predictions, labels=every).tolist()
    }


def test_scores_are_plain_json_values() -> None:
    for metric in (accuracy, f1, precision, recall, macro_recall, confusion_matrix):
        scores = metric(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2])
        assert json.loads(json.dumps(scores)) == scores
