"""The `correlation` metric: do the predicted numbers rise and fall with the true ones?"""

from collections.abc import Sequence

import evaluate  # this module is imported when the metric is first used
import numpy as np
from datasets import Features, Value

from ftr_similarity.ranks import pearson, spearman

CITATION = "Spearman: The Proof and Measurement of Association between Two Things (1904)"
SUMMARY = "Spearman's rank correlation, Pearson's correlation, and the mean squared error."


class Correlation(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Gives `spearman` and `pearson`, -1 to 1 (0 where either side does not vary), and `mse`.

    Predictions and references are numbers.
    """

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        features = Features({"predictions": Value("float64"), "references": Value("float64")})
        return evaluate.MetricInfo(
            description=SUMMARY, citation=CITATION, inputs_description=SUMMARY, features=features
        )

    def _compute(
        self, predictions: Sequence[float], references: Sequence[float]
    ) -> dict[str, float]:
        return {
            "spearman": spearman(predictions, references),
            "pearson": pearson(predictions, references),
            "mse": float(np.mean((np.asarray(predictions) - np.asarray(references)) ** 2)),
        }
