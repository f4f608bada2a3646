"""How good the best of k trials is expected to be, and what more trials would bring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FEWEST = 8
"""Below so many trials the gain of more is anyone's guess."""


def expected_best(values: Sequence[float], mode: str) -> list[float]:
    """Return the expected best of k of the n `values`, for k = 1..n; the first is their mean, the last their best.

    This is the unbiased estimator: the mean of the best over all subsets of k values,
    ``E[max_k] = sum_i x_(i) C(i-1, k-1) / C(n, k)`` with x_(1) <= ... <= x_(n) (Tang et al. 2020, "Showing Your Work Doesn't
    Always Work", ACL). The one of Dodge et al. 2019 ("Show Your Work", EMNLP) draws with replacement, which is biased towards
    worse values. `mode` is `max` or `min`; values that are not finite are left out.

    The estimate holds for trials drawn alike, as random search does; where a searcher learns, or a scheduler stops the weak
    ones early, it describes what was tried rather than what k fresh trials would give.
    """
    ordered = _ordered(values, mode)
    sign = 1.0 if mode == "max" else -1.0
    return [sign * _expected_max(ordered, k) for k in range(1, len(ordered) + 1)]


def expected_gain(values: Sequence[float], mode: str) -> float | None:
    """Return by how much the second half of the n `values` is expected to have raised the best: E[max_n] - E[max_ceil(n/2)].

    It is the gain of doubling a search of half the size, and it bounds what n/2 more trials would bring: the best of a random
    subset is submodular in the subset, so E[max_k] is concave in k, and every further step gains no more than the one before.
    (In expectation, for trials drawn alike: a searcher that has just learned where to look may gain more.)
    Never negative; None with fewer than 8 finite values.
    """
    ordered = _ordered(values, mode)
    if len(ordered) < FEWEST:
        return None
    return max(float(ordered[0]) - _expected_max(ordered, math.ceil(len(ordered) / 2)), 0.0)


def _ordered(values: Sequence[float], mode: str) -> npt.NDArray[np.float64]:
    """Return the finite values, the best first, turned so that more is better."""
    found = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    return np.sort(found if mode == "max" else -found)[::-1]


def _expected_max(ordered: npt.NDArray[np.float64], k: int) -> float:
    """Return the mean maximum over subsets of size k.

    The chance that the j-th best (j = 0, 1, ...) is the maximum is k/n for the first, and from one to the next it is multiplied by
    (n - j - k) / (n - j - 1): factors of at most 1, so nothing overflows, and what underflows weighs nothing.
    """
    n = len(ordered)
    places = np.arange(1, n - k + 1, dtype=np.float64)
    chances = np.cumprod(np.concatenate(([k / n], (n - places - k + 1) / (n - places))))
    # As distance from the best, so that equal values give exactly that value.
    return float(ordered[0] - chances @ (ordered[0] - ordered[: len(chances)]))
