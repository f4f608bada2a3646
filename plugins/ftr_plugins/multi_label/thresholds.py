"""The probability from which a label applies, calibrated for the best F1."""

import numpy as np
from numpy.typing import NDArray

DEFAULT = 0.5


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
