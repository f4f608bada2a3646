"""The metrics of `multi-label-classification`.

Predictions and references are tables of 0 and 1, (rows, labels), as in scikit-learn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ftr_plugins.classification.metrics import ratio


def multi_label(
    predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]
) -> dict[str, float | list[float]]:
    """Return `micro_f1` (all labels together), `macro_f1` (the mean over the labels),
    `f1_per_label` and `exact_match` (the share of rows with just the right set), 0 to 1.

    The F1 of a label that neither references nor predictions have is 0.0, and counts in the mean:
    scikit-learn's `f1_score` with its default `zero_division`.
    """
    given, true = np.asarray(predictions, dtype=bool), np.asarray(references, dtype=bool)
    right, found, wanted = ((given & true).sum(axis=0), given.sum(axis=0), true.sum(axis=0))
    each = ratio(2 * right, found + wanted)
    micro = ratio(
        2 * right.sum(keepdims=True), found.sum(keepdims=True) + wanted.sum(keepdims=True)
    )
    return {
        "micro_f1": float(micro[0]),
        "macro_f1": float(each.mean()),
        "f1_per_label": each.tolist(),
        "exact_match": float((given == true).all(axis=1).mean()),
    }


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
