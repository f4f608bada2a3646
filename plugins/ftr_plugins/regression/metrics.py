"""The metrics of `regression`: see `scores`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import evaluate  # this module is imported when the metric is first used
from datasets import Features, Value

from ftr_plugins.metrics_base import LocalMetric
from ftr_plugins.regression import scores


class _NumberMetric(LocalMetric):
    function: ClassVar[Any]

    def _info(self) -> evaluate.MetricInfo:
        summary = self.__doc__ or ""
        features = Features({"predictions": Value("float64"), "references": Value("float64")})
        return evaluate.MetricInfo(
            description=summary, citation="", inputs_description=summary, features=features
        )

    def _compute(
        self, predictions: Sequence[float], references: Sequence[float]
    ) -> dict[str, float]:
        return {type(self).__name__.lower(): self.function(predictions, references)}


class Spearman(_NumberMetric):
    """Gives `spearman`."""

    function = staticmethod(scores.spearman)


class Pearson(_NumberMetric):
    """Gives `pearson`."""

    function = staticmethod(scores.pearson)


class MAE(_NumberMetric):
    """Gives `mae`."""

    function = staticmethod(scores.mae)


class MSE(_NumberMetric):
    """Gives `mse`."""

    function = staticmethod(scores.mse)
