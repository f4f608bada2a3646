"""The classification metrics; predictions and references are class ids from 0 up."""

from collections.abc import Sequence

import evaluate  # this module is imported when the metric is first used
from datasets import Features, Value

from ftr_plugins.classification.counts import averages, confusion
from ftr_plugins.metrics_base import LocalMetric


class _ClassMetric(LocalMetric):
    summary = ""

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("int64"), "references": Value("int64")})
        return evaluate.MetricInfo(
            description=self.summary,
            citation="",
            inputs_description=self.summary,
            features=features,
        )


class Accuracy(_ClassMetric):
    """Gives `accuracy`, 0 to 1."""

    summary = "The share of predictions that equal their reference."

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        right = sum(
            predicted == true for predicted, true in zip(predictions, references, strict=True)
        )
        return {"accuracy": right / len(references)}


class Precision(_ClassMetric):
    """Gives `precision` (macro), and it per average and per class: see `counts.averages`."""

    summary = "Of what was predicted to be of a class, the share that is."

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, float | list[float]]:
        return averages("precision", confusion(references, predictions))


class Recall(_ClassMetric):
    """Gives `recall` (macro), and it per average and per class: see `counts.averages`."""

    summary = "Of what is of a class, the share that was predicted to be."

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, float | list[float]]:
        return averages("recall", confusion(references, predictions))


class F1(_ClassMetric):
    """Gives `f1` (macro), and it per average and per class: see `counts.averages`."""

    summary = "The harmonic mean of precision and recall."

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, float | list[float]]:
        return averages("f1", confusion(references, predictions))


class MacroRecall(_ClassMetric):
    """Gives `macro_recall`, the score TweetEval ranks sentiment by."""

    summary = "The mean of the recall of each class."

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, float | list[float]]:
        return {"macro_recall": averages("recall", confusion(references, predictions))["recall"]}


class ConfusionMatrix(_ClassMetric):
    """Gives `confusion_matrix`: one list per true class of how often each class was predicted."""

    summary = (
        "Counts of true classes (rows) by predicted ones (columns), in the order of class ids."
    )

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, list[list[int]]]:
        return {"confusion_matrix": confusion(references, predictions).tolist()}
