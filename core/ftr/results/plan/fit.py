"""Seconds of a step or a batch by its shape, from a few that were timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftr.train.hardware import Shape


@dataclass(frozen=True, slots=True)
class Fit:
    """Seconds of passes: `once`, for each pass `token` for each padded token, and `pair` for each
    pair of tokens of a row, as attention has them.
    """

    once: float = 0.0
    token: float = 0.0
    pair: float = 0.0

    def seconds(self, shapes: Sequence[Shape]) -> float:
        """Return the seconds of a step (or batch) of passes of these shapes."""
        return float(np.dot(_features(shapes), [self.once, self.token, self.pair]))


def fit(times: Sequence[float], shapes: Sequence[Sequence[Shape]]) -> Fit:
    """Return the `Fit` that minimizes the squared relative errors with no factor below 0.

    `times` has the seconds of each step, `shapes` its passes. With fewer than four steps the time
    is taken to be in proportion to the tokens.
    """
    if not times:
        return Fit()
    if len(times) < 4:
        tokens = sum(rows * longest for one in shapes for rows, longest in one)
        return Fit(token=sum(times) / tokens)
    from scipy.optimize import nnls

    values = np.asarray(times)
    matrix = np.array([_features(one) for one in shapes])
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale / values[:, None], np.ones(len(values)))
    return Fit(*(found / scale).tolist())


def _features(shapes: Sequence[Shape]) -> list[float]:
    tokens = [rows * longest for rows, longest in shapes]
    pairs = sum(number * longest for number, (_, longest) in zip(tokens, shapes, strict=True))
    return [1.0, float(sum(tokens)), float(pairs)]


def spread(costs: Sequence[float], count: int) -> list[int]:
    """Return the indices of up to `count` items evenly over their costs: the largest first, then
    from the smallest up.
    """
    order = sorted(range(len(costs)), key=lambda index: costs[index])
    if len(order) <= count:
        places = list(range(len(order)))
    else:
        places = [round((2 * i + 1) / (2 * count) * (len(order) - 1)) for i in range(count)]
        places[-1] = len(order) - 1
    return [order[place] for place in dict.fromkeys([places[-1], *places])]
