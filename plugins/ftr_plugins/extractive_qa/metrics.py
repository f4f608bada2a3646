"""The `squad` metric: exact match and F1 by the published SQuAD rules."""

from collections.abc import Mapping, Sequence
from typing import Any

import evaluate  # this module is imported when the metric is first used
from datasets import Features, List, Value

from ftr_plugins.extractive_qa.text import best_scores, spaced
from ftr_plugins.metrics_base import LocalMetric

CITATION = (
    "Rajpurkar, Jia, Liang: Know What You Don't Know: Unanswerable Questions for SQuAD (2018)"
)
SUMMARY = (
    "Exact match and F1 (0 to 100), equal to those of the SQuAD authors' evaluation script v2.0."
)


class Squad(LocalMetric):
    """Gives `exact`, `f1`, `total`; with `HasAns_` and `NoAns_` before them, the same of the
    questions with or without an answer.

    Takes what `evaluate`'s `squad_v2` takes. The predicted texts are final: the no-answer threshold
    is applied before.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = Features(
            {
                "predictions": {
                    "id": Value("string"),
                    "prediction_text": Value("string"),
                    "no_answer_probability": Value("float32"),
                },
                "references": {
                    "id": Value("string"),
                    "answers": {
                        "text": List(Value("string")),
                        "answer_start": List(Value("int64")),
                    },
                },
            }
        )
        return evaluate.MetricInfo(
            description=SUMMARY, citation=CITATION, inputs_description=SUMMARY, features=features
        )

    def _compute(
        self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        golds = [list(reference["answers"]["text"]) for reference in references]
        scores = [
            best_scores(gold, one["prediction_text"])
            for gold, one in zip(golds, predictions, strict=True)
        ]
        result = _means("", scores)
        for prefix, answerable in (("HasAns_", True), ("NoAns_", False)):
            part = [
                score for score, gold in zip(scores, golds, strict=True) if bool(gold) == answerable
            ]
            if part:
                result |= _means(prefix, part)
        return result


class SquadCharacters(Squad):
    """As `Squad`, but scripts without spaces count by characters: `characters_exact`,
    `characters_f1`, and their parts.

    See `ftr_plugins.extractive_qa.text.spaced`. Texts of other scripts score as they do there, but
    for punctuation outside ASCII, which is left out.
    """

    def _compute(
        self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        answers = [
            {**one, "prediction_text": spaced(one["prediction_text"])} for one in predictions
        ]
        golds = [
            {"answers": {"text": [spaced(text) for text in one["answers"]["text"]]}}
            for one in references
        ]
        return {
            f"characters_{key}": value for key, value in super()._compute(answers, golds).items()
        }


def _means(prefix: str, scores: Sequence[tuple[int, float]]) -> dict[str, float]:
    # 100 * sum / count in row order, as the script does it: another order of operations changes the
    # last digit.
    total = len(scores)
    return {
        f"{prefix}exact": 100.0 * sum(exact for exact, _ in scores) / total,
        f"{prefix}f1": 100.0 * sum(f1 for _, f1 in scores) / total,
        f"{prefix}total": total,
    }
