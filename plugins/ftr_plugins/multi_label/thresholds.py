"""The probability from which a label applies, calibrated for the best F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ftr.registry.protocols import Prediction, Row

DEFAULT = 0.5


def applying(probabilities: NDArray[Any], thresholds: Sequence[float]) -> list[int]:
    """Return the ids of the labels whose probability reaches their threshold."""
    return [
        number
        for number, (one, threshold) in enumerate(zip(probabilities, thresholds, strict=True))
        if one >= threshold
    ]


def prediction(
    row: Row, ids: Sequence[int], probabilities: NDArray[Any], labels: Sequence[str]
) -> Prediction:
    """Return `id`, the `labels` that apply, their `label_ids`, and the `probabilities` of all."""
    return {
        "id": row["id"],
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
    applies to no row or to all rows, no threshold is better than another: 0.5.
    """
    if not applies.any() or applies.all():
        return DEFAULT
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(applies[order])
    taken = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (taken + applies.sum())
    below = np.append(ranked[1:], 0.0)
    gaps = ranked - below
    f1[gaps == 0] = -1.0  # equal probabilities are taken together or not at all
    best = np.flatnonzero(f1 == f1.max())
    widest = best[np.argmax(gaps[best])]
    return float((ranked[widest] + below[widest]) / 2)
