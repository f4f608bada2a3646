"""The `entity_f1` metric: an entity counts when its type and both its ends are right."""

from collections import Counter
from collections.abc import Sequence

import evaluate  # this module is imported when the metric is first used
from datasets import Features, List, Value

from ftr_ner.bio import entities

CITATION = "Tjong Kim Sang, De Meulder: Introduction to the CoNLL-2003 Shared Task (2003)"
SUMMARY = (
    "Precision, recall and F1 of whole entities, equal to those of the CoNLL script `conlleval` (0 "
    "to 1)."
)


class EntityF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Gives `entity_f1`, `entity_precision` and `entity_recall` over all entities, `f1_TYPE` of
    each type, and `tag_accuracy`.

    Predictions and references are lists of tags, one for each word; a word without its counterpart
    is a wrong tag. A ratio of 0/0 is 0.0.
    """

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        features = Features(
            {"predictions": List(Value("string")), "references": List(Value("string"))}
        )
        return evaluate.MetricInfo(
            description=SUMMARY, citation=CITATION, inputs_description=SUMMARY, features=features
        )

    def _compute(
        self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        found, true, right = Counter[str](), Counter[str](), Counter[str]()
        same = words = 0
        for predicted, gold in zip(predictions, references, strict=True):
            given, wanted = set(entities(predicted)), set(entities(gold))
            found.update(entity.type for entity in given)
            true.update(entity.type for entity in wanted)
            right.update(entity.type for entity in given & wanted)
            same += sum(one == other for one, other in zip(predicted, gold, strict=False))
            words += max(len(predicted), len(gold))
        scores = {
            "entity_f1": _ratio(2 * right.total(), found.total() + true.total()),
            "entity_precision": _ratio(right.total(), found.total()),
            "entity_recall": _ratio(right.total(), true.total()),
            "tag_accuracy": _ratio(same, words),
        }
        types = sorted({*found, *true})
        return scores | {
            f"f1_{name}": _ratio(2 * right[name], found[name] + true[name]) for name in types
        }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
