"""Correlation of two lists of numbers, and their ranks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float] | NDArray[np.float64]


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal ones share the mean of the ranks they take
    up.
    """
    _, place, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    shared: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return shared


def pearson(one: Numbers, other: Numbers) -> float:
    """Return Pearson's correlation, -1 to 1; 0.0 where one of the lists does not vary, for it then
    tells nothing of the other.
    """
    left, right = _centred(one), _centred(other)
    norm = float(np.sqrt((left @ left) * (right @ right)))
    return float(np.clip((left @ right) / norm, -1.0, 1.0)) if norm > 0 else 0.0


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation: Pearson's of the ranks."""
    return pearson(ranks(one), ranks(other))


def _centred(values: Numbers) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    centred: NDArray[np.float64] = table - table.mean()
    return centred
