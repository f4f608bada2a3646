"""The `entity_f1` metric: an entity counts when its type and both its ends are right."""

from collections.abc import Sequence

import evaluate  # this module is imported when the metric is first used
from datasets import Features, List, Value

from ftr_plugins.metrics_base import LocalMetric
from ftr_plugins.token_classification.entities import entity_scores

CITATION = "Tjong Kim Sang, De Meulder: Introduction to the CoNLL-2003 Shared Task (2003)"


class EntityF1(LocalMetric):
    """Gives what `entity_scores` returns."""

    def _info(self) -> evaluate.MetricInfo:
        summary = self.__doc__ or ""
        features = Features(
            {"predictions": List(Value("string")), "references": List(Value("string"))}
        )
        return evaluate.MetricInfo(
            description=summary, citation=CITATION, inputs_description=summary, features=features
        )

    def _compute(
        self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> dict[str, float | dict[str, float]]:
        return entity_scores(predictions, references)
