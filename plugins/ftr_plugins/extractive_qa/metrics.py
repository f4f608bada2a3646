"""The metrics of `extractive-qa`: exact match and F1 by the published SQuAD rules."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftr_plugins.extractive_qa.text import best_scores, spaced

CITATION = (
    "Rajpurkar, Jia, Liang: Know What You Don't Know: Unanswerable Questions for SQuAD (2018)"
)

Items = Sequence[Mapping[str, Any]]


def squad(predictions: Items, references: Items) -> dict[str, float]:
    """Return `exact`, `f1` (0 to 100), `total`; with `HasAns_` and `NoAns_` before them, the same
    of the questions with or without an answer.

    Equal to the SQuAD authors' evaluation script v2.0. Takes what `evaluate`'s `squad_v2` takes.
    The predicted texts are final: the no-answer threshold is applied before.
    """
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


def squad_characters(predictions: Items, references: Items) -> dict[str, float]:
    """Return the scores of `squad` as `characters_exact`, `characters_f1` and so on, where scripts
    without spaces count by characters.

    See `ftr_plugins.extractive_qa.text.spaced`. Texts of other scripts score as they do there, but
    for punctuation outside ASCII, which is left out.
    """
    answers = [{**one, "prediction_text": spaced(one["prediction_text"])} for one in predictions]
    golds = [
        {"answers": {"text": [spaced(text) for text in one["answers"]["text"]]}}
        for one in references
    ]
    return {f"characters_{key}": value for key, value in squad(answers, golds).items()}


def _means(prefix: str, scores: Sequence[tuple[int, float]]) -> dict[str, float]:
    # 100 * sum / count in row order, as the script does it: another order of operations changes the
    # last digit.
    total = len(scores)
    return {
        f"{prefix}exact": 100.0 * sum(exact for exact, _ in scores) / total,
        f"{prefix}f1": 100.0 * sum(f1 for _, f1 in scores) / total,
        f"{prefix}total": total,
    }
