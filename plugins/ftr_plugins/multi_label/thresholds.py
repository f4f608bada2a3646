"""The probability from which a label applies, calibrated for the best F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import Prediction, Row

DEFAULT = 0.5


def label_ids(row: Row) -> Sequence[int]:
    """Return the ids of the labels of a row; one without the column has none."""
    found: Sequence[int] = row.get("labels") or ()
    return found


def applying(probabilities: NDArray[Any], thresholds: Sequence[float]) -> list[int]:
    """Return the ids of the labels whose probability reaches their threshold."""
    return [
        number
        for number, (one, threshold) in enumerate(zip(probabilities, thresholds, strict=True))
        if float(one) >= threshold
    ]


def prediction(
    ids: Sequence[int], probabilities: NDArray[Any], labels: Sequence[str]
) -> Prediction:
    """Return the `labels` that apply, their `label_ids`, and the `probabilities` of all."""
    return {
        "labels": [labels[number] for number in ids],
        "label_ids": list(ids),
        "probabilities": {
            label: float(one) for label, one in zip(labels, probabilities, strict=True)
        },
    }


def best_threshold(probabilities: NDArray[np.float64], applies: NDArray[np.bool_]) -> float:
    """Return the threshold with the best F1 of one label; of several the one in the widest gap
    between probabilities.

    Both arrays have the shape (rows,); `applies` says where the label truly applies. A threshold
    lies midway between neighbouring probabilities, or between the lowest and 0. Where the label
    applies to no row, every F1 is 0: the threshold stays 0.5.
    """
    if not applies.any():
        return DEFAULT
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(applies[order])
    taken = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (taken + applies.sum())
    below = np.append(ranked[1:], 0.0)
    gaps = ranked - below
    f1[:-1][gaps[:-1] == 0] = -1.0  # equal probabilities are taken together or not at all
    best = np.flatnonzero(f1 == f1.max())
    widest = best[np.argmax(gaps[best])]
    return float((ranked[widest] + below[widest]) / 2)
