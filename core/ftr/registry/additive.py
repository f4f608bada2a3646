"""`@additive`: a metric that is a function of sums over the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., object])
PerRow = Callable[..., Mapping[str, Any]]
FromSums = Callable[[Mapping[str, Any]], object]
_RULE = "ftr_additive"


@dataclass(frozen=True, slots=True)
class Additive:
    """How a metric follows from sums: see `additive`."""

    per_row: PerRow
    from_sums: FromSums
    perfect: float | None


def additive(
    per_row: PerRow, from_sums: FromSums, *, perfect: float | None = None
) -> Callable[[Function], Function]:
    """Declare that a metric function is a function of sums over the rows.

    Its intervals and comparisons are then exact and fast; a metric without it is called for every
    resample. `per_row` has parameters as a metric has, and returns by name what each row adds: an
    array of shape (rows,) or (rows, n). `from_sums` gets the sum of each, of shape (...,) or
    (..., n), for any number of resamples at once, and returns what the metric returns, with the
    leading axes of the sums: a score is (...,), a score for each class (..., classes). Both agree
    on all rows; what is 0/0 may be NaN, and such resamples are left out.

    `perfect` is the score of rows that are all right, for scores that count rows: their intervals
    do not shrink to a point where every row is right.
    """

    def declare(metric: Function) -> Function:
        setattr(metric, _RULE, Additive(per_row, from_sums, perfect))
        return metric

    return declare


def additive_rule(metric: object) -> Additive | None:
    """Return how a metric follows from sums; None: it was not declared."""
    return getattr(metric, _RULE, None)
