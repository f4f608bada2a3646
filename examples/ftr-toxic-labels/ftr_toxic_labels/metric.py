"""The `multi_label` metric: sets of labels against sets of labels."""

from collections import Counter
from collections.abc import Sequence

import evaluate  # this module is imported when the metric is first used
from datasets import Features, List, Value

SUMMARY = (
    "F1 over all labels together (micro), the mean of each label's F1 (macro), and the share of "
    "texts with just the right set."
)


class MultiLabel(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Gives `micro_f1`, `macro_f1`, `exact_match`, and `f1_per_label` in the order of label ids.

    Predictions and references are lists of label ids, which may be empty. The macro mean is over
    the labels that occur among references or predictions, as in scikit-learn. A ratio of 0/0 is
    0.0.
    """

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        features = Features(
            {"predictions": List(Value("int64")), "references": List(Value("int64"))}
        )
        return evaluate.MetricInfo(
            description=SUMMARY, citation="", inputs_description=SUMMARY, features=features
        )

    def _compute(
        self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]
    ) -> dict[str, float | list[float]]:
        pairs = [
            (set(given), set(wanted)) for given, wanted in zip(predictions, references, strict=True)
        ]
        found = Counter(label for given, _ in pairs for label in given)
        true = Counter(label for _, wanted in pairs for label in wanted)
        right = Counter(label for given, wanted in pairs for label in given & wanted)
        used = sorted({*found, *true})
        each = {label: 2 * right[label] / (found[label] + true[label]) for label in used}
        total = found.total() + true.total()
        return {
            "micro_f1": 2 * right.total() / total if total else 0.0,
            "macro_f1": sum(each.values()) / len(each) if each else 0.0,
            "exact_match": sum(given == wanted for given, wanted in pairs) / len(pairs),
            "f1_per_label": [each.get(label, 0.0) for label in range(max(used, default=-1) + 1)],
        }
