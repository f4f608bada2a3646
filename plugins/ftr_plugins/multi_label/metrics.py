"""The metrics of `multi-label-classification`: see `scores`."""

from collections.abc import Sequence
from typing import Any

import evaluate  # this module is imported when the metric is first used
from datasets import Features, List, Value

from ftr_plugins.metrics_base import LocalMetric
from ftr_plugins.multi_label.scores import average_precisions, set_scores


class _LabelMetric(LocalMetric):
    def _info(self) -> evaluate.MetricInfo:
        summary = self.__doc__ or ""
        features = Features(
            {"predictions": List(Value("int64")), "references": List(Value("int64"))}
        )
        return evaluate.MetricInfo(
            description=summary, citation="", inputs_description=summary, features=features
        )


class MultiLabel(_LabelMetric):
    """Gives `micro_f1`, `macro_f1`, `f1_per_label` and `exact_match`."""

    def _compute(
        self,
        predictions: Sequence[Sequence[int]],
        references: Sequence[Sequence[int]],
        probabilities: Any = None,
    ) -> dict[str, float | list[float]]:
        return set_scores(predictions, references)


class AveragePrecision(_LabelMetric):
    """Gives `average_precision`, and it per average and per label."""

    def _compute(
        self,
        predictions: Sequence[Sequence[int]],
        references: Sequence[Sequence[int]],
        probabilities: Sequence[Sequence[float]] | None = None,
    ) -> dict[str, float | list[float]]:
        if probabilities is None:
            raise ValueError("`average_precision` needs the `probabilities` of every label")
        return average_precisions(probabilities, references)
