"""The metrics of `extractive-qa`: exact match and F1 by the published SQuAD rules."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import additive
from ftr_plugins.extractive_qa.text import best_scores, spaced

CITATION = (
    "Rajpurkar, Jia, Liang: Know What You Don't Know: Unanswerable Questions for SQuAD (2018)"
)

Items = Sequence[Mapping[str, Any]]
Sums = Mapping[str, NDArray[Any]]


def _per_question(predictions: Items, references: Items) -> dict[str, NDArray[Any]]:
    """Return exact match and F1 of each question, and a 1 to count it, in `exact`, `f1`, `total`;
    column 0 is of questions with an answer, column 1 of those without.
    """
    golds = _golds(references)
    scores = np.asarray(_scores(predictions, golds), dtype=np.float64)
    answerable = np.asarray([bool(gold) for gold in golds])
    kinds = np.stack([answerable, ~answerable], axis=1)
    return {"exact": scores[:, :1] * kinds, "f1": scores[:, 1:] * kinds, "total": kinds}


def _from_sums(sums: Sums, prefix: str = "") -> dict[str, NDArray[np.float64]]:
    total = sums["total"]
    found = {}
    for score in ("exact", "f1"):
        found[f"{prefix}{score}"] = 100.0 * sums[score].sum(axis=-1) / total.sum(axis=-1)
        for column, part in enumerate(("HasAns_", "NoAns_")):
            found[f"{prefix}{part}{score}"] = 100.0 * sums[score][..., column] / total[..., column]
    return found


def _golds(references: Items) -> list[list[str]]:
    return [list(reference["answers"]["text"]) for reference in references]


def _scores(predictions: Items, golds: Sequence[Sequence[str]]) -> list[tuple[int, float]]:
    return [
        best_scores(gold, one["prediction_text"])
        for gold, one in zip(golds, predictions, strict=True)
    ]


@additive(_per_question, _from_sums, perfect=100.0)
def squad(predictions: Items, references: Items) -> dict[str, float]:
    """Return `exact`, `f1` (0 to 100), `total`; with `HasAns_` and `NoAns_` before them, the same
    of the questions with or without an answer.

    Equal to the SQuAD authors' evaluation script v2.0. Takes what `evaluate`'s `squad_v2` takes.
    The predicted texts are final: the no-answer threshold is applied before.
    """
    golds = _golds(references)
    scores = _scores(predictions, golds)
    result = _means("", scores)
    for prefix, answerable in (("HasAns_", True), ("NoAns_", False)):
        part = [
            score for score, gold in zip(scores, golds, strict=True) if bool(gold) == answerable
        ]
        if part:
            result |= _means(prefix, part)
    return result


def _characters(predictions: Items, references: Items) -> tuple[Items, Items]:
    answers = [{**one, "prediction_text": spaced(one["prediction_text"])} for one in predictions]
    golds = [
        {"answers": {"text": [spaced(text) for text in one["answers"]["text"]]}}
        for one in references
    ]
    return answers, golds


def _per_question_characters(predictions: Items, references: Items) -> dict[str, NDArray[Any]]:
    return _per_question(*_characters(predictions, references))


@additive(_per_question_characters, partial(_from_sums, prefix="characters_"), perfect=100.0)
def squad_characters(predictions: Items, references: Items) -> dict[str, float]:
    """Return the scores of `squad` as `characters_exact`, `characters_f1` and so on, where scripts
    without spaces count by characters.

    See `ftr_plugins.extractive_qa.text.spaced`. Texts of other scripts score as they do there, but
    for punctuation outside ASCII, which is left out.
    """
    scores = squad(*_characters(predictions, references))
    return {f"characters_{key}": value for key, value in scores.items()}


def _means(prefix: str, scores: Sequence[tuple[int, float]]) -> dict[str, float]:
    # 100 * sum / count in row order, as the script does it: another order of operations changes the
    # last digit.
    total = len(scores)
    return {
        f"{prefix}exact": 100.0 * sum(exact for exact, _ in scores) / total,
        f"{prefix}f1": 100.0 * sum(f1 for _, f1 in scores) / total,
        f"{prefix}total": total,
    }
