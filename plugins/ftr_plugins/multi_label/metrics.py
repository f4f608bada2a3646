"""The metrics of `multi-label-classification`.

Predictions and references are tables of 0 and 1, (rows, labels), as in scikit-learn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import additive
from ftr_plugins.classification.metrics import ratio

Table = Sequence[Sequence[int]]


def _counts(predictions: Table, references: Table) -> dict[str, NDArray[np.bool_]]:
    """Return for each row and label whether the label is given, applies, and both; and whether all
    are right.
    """
    given, true = np.asarray(predictions, dtype=bool), np.asarray(references, dtype=bool)
    return {
        "right": given & true,
        "found": given,
        "wanted": true,
        "exact": (given == true).all(axis=1),
        "rows": np.ones(len(given), dtype=bool),
    }


def _scores(sums: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    right, given = sums["right"], sums["found"] + sums["wanted"]
    each = ratio(2 * right, given)
    return {
        "micro_f1": ratio(2 * right.sum(axis=-1), given.sum(axis=-1)),
        "macro_f1": each.mean(axis=-1),
        "f1_per_label": each,
        "exact_match": sums["exact"] / sums["rows"],
    }


@additive(_counts, _scores, perfect=1.0)
def multi_label(predictions: Table, references: Table) -> dict[str, float | list[float]]:
    """Return `micro_f1` (all labels together), `macro_f1` (the mean over the labels),
    `f1_per_label` and `exact_match` (the share of rows with just the right set), 0 to 1.

    The F1 of a label that neither references nor predictions have is 0.0, and counts in the mean:
    scikit-learn's `f1_score` with its default `zero_division`.
    """
    sums = {
        name: np.asarray(column.sum(axis=0))
        for name, column in _counts(predictions, references).items()
    }
    return {name: value.tolist() for name, value in _scores(sums).items()}


def average_precision(
    probabilities: Sequence[Sequence[float]], references: Sequence[Sequence[int]]
) -> dict[str, float | list[float]]:
    """Return `average_precision` and `average_precision_macro` (both the mean over the labels),
    `_micro` (all cells of the table together) and `_per_label`, 0 to 1.

    That of a label without positive rows is 0.0, and counts in the mean, as in scikit-learn's
    `average_precision_score`.
    """
    scores, true = np.asarray(probabilities, dtype=np.float64), np.asarray(references, dtype=bool)
    each = [_average_precision(*columns) for columns in zip(scores.T, true.T, strict=True)]
    macro = float(np.mean(each))
    return {
        "average_precision": macro,
        "average_precision_macro": macro,
        "average_precision_micro": _average_precision(scores.ravel(), true.ravel()),
        "average_precision_per_label": each,
    }


def _average_precision(scores: NDArray[np.float64], applies: NDArray[np.bool_]) -> float:
    """Return the sum of precisions, each times the recall that its threshold adds; the thresholds
    are the distinct scores.
    """
    if not applies.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    last_of_equal = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(applies[order])[last_of_equal]
    return float(np.diff(hits, prepend=0) / hits[-1] @ (hits / (last_of_equal + 1)))
