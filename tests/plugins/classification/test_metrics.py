"""The classification metrics agree with scikit-learn."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from ftr_plugins.classification.metrics import (
    F1,
    Accuracy,
    ConfusionMatrix,
    MacroRecall,
    Precision,
    Recall,
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
@pytest.mark.parametrize("metric", [Precision, Recall, F1])
def test_averages_agree_with_scikit_learn(metric: type[Precision | Recall | F1], case: str) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    predictions, references = CASES[case]
    name = metric.__name__.lower()
    index = ("precision", "recall", "f1").index(name)
    ours = metric().compute(predictions=predictions, references=references)
    for average in ("macro", "micro", "weighted"):
        theirs = precision_recall_fscore_support(
            references, predictions, average=average, zero_division=0
        )[index]
        assert ours[f"{name}_{average}"] == pytest.approx(theirs)
    every = list(range(max(predictions + references) + 1))
    each = precision_recall_fscore_support(
        references, predictions, labels=every, average=None, zero_division=0
    )[index]
    assert ours[f"{name}_per_class"] == pytest.approx(each.tolist())
    assert ours[name] == ours[f"{name}_macro"]


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%")
@pytest.mark.parametrize("case", CASES)
def test_accuracy_macro_recall_and_confusion_matrix_agree_with_scikit_learn(case: str) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

    predictions, references = CASES[case]
    given: dict[str, Sequence[int]] = {"predictions": predictions, "references": references}
    every = list(range(max(predictions + references) + 1))
    assert Accuracy().compute(**given) == {
        "accuracy": pytest.approx(accuracy_score(references, predictions))
    }
    assert MacroRecall().compute(**given) == {
        "macro_recall": pytest.approx(
            recall_score(references, predictions, average="macro", zero_division=0)
        )
    }
    assert ConfusionMatrix().compute(**given) == {
        "confusion_matrix": confusion_matrix(references, predictions, labels=every).tolist()
    }


def test_scores_are_plain_json_values() -> None:
    for metric in (Accuracy, F1, Precision, Recall, MacroRecall, ConfusionMatrix):
        scores = metric().compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2])
        assert json.loads(json.dumps(scores)) == scores


def test_a_metric_can_be_used_again_and_in_batches() -> None:
    metric = Accuracy()
    assert metric.compute(predictions=[0, 1], references=[0, 1]) == {"accuracy": 1.0}
    metric.add_batch(predictions=[0], references=[1])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute() == {"accuracy": 0.5}
