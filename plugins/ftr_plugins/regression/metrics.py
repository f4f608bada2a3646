"""The metrics of `regression`: correlations and mean errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import additive

Numbers = Sequence[float] | NDArray[np.float64]
Sums = Mapping[str, NDArray[Any]]


def _moments(predictions: Numbers, references: Numbers) -> dict[str, NDArray[np.float64]]:
    """Return the products that covariance and variances are sums of, of deviations from the mean of
    all rows in standard deviations: without it the squares of large numbers swallow what differs,
    and predictions of two models could not be exchanged.
    """
    left, right = (_standardized(values) for values in (predictions, references))
    products = {"xx": left * left, "yy": right * right, "xy": left * right}
    return {"x": left, "y": right, **products, "rows": np.ones(len(left))}


def _pearson(sums: Sums) -> NDArray[np.float64]:
    """Return NaN where numbers are all equal, up to rounding."""
    x, y, rows = sums["x"], sums["y"], sums["rows"]
    left, right = sums["xx"] - x * x / rows, sums["yy"] - y * y / rows
    varies = (left > 1e-12 * sums["xx"]) & (right > 1e-12 * sums["yy"])
    norm = np.sqrt(np.where(varies, left * right, np.nan))
    return np.clip((sums["xy"] - x * y / rows) / norm, -1.0, 1.0)


def _errors(predictions: Numbers, references: Numbers) -> dict[str, NDArray[np.float64]]:
    error = np.abs(np.asarray(predictions, dtype=np.float64) - np.asarray(references))
    return {"error": error, "square": error**2, "rows": np.ones(len(error))}


@additive(_moments, _pearson)
def pearson(predictions: Numbers, references: Numbers) -> float:
    """Return Pearson's correlation, -1 to 1.

    0.0, without a warning, where predictions or references are all equal: no correlation is defined
    there. NaN where a number is not finite.
    """
    if not np.isfinite([*predictions, *references]).all():
        return float("nan")
    left, right = _centred(predictions), _centred(references)
    norm = float(np.sqrt(left @ left) * np.sqrt(right @ right))
    return float(np.clip((left @ right) / norm, -1.0, 1.0)) if norm > 0 else 0.0


def spearman(predictions: Numbers, references: Numbers) -> float:
    """Return Spearman's correlation, -1 to 1: Pearson's of the ranks, where equal numbers share the
    mean of their ranks.

    0.0, without a warning, where predictions or references are all equal.
    """
    if not np.isfinite([*predictions, *references]).all():
        return float("nan")
    return pearson(ranks(predictions), ranks(references))


@additive(_errors, lambda sums: sums["error"] / sums["rows"])
def mae(predictions: Numbers, references: Numbers) -> float:
    """Return the mean absolute error."""
    return float(np.abs(np.asarray(predictions) - np.asarray(references)).mean())


@additive(_errors, lambda sums: sums["square"] / sums["rows"])
def mse(predictions: Numbers, references: Numbers) -> float:
    """Return the mean squared error."""
    return float(((np.asarray(predictions) - np.asarray(references)) ** 2).mean())


def ranks(values: Numbers) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal ones share the mean of the ranks they take
    up.
    """
    _, place, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    shared: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return shared


def _standardized(values: Numbers) -> NDArray[np.float64]:
    """Return the deviations from the mean in standard deviations; zeros where all are equal."""
    centred = _centred(values)
    spread = float(np.sqrt(np.mean(centred * centred)))
    return centred / spread if spread > 0 else centred


def _centred(values: Numbers) -> NDArray[np.float64]:
    """Return the deviations from the mean; zeros where all values are equal, whatever rounding
    makes of their mean.
    """
    table = np.asarray(values, dtype=np.float64)
    centred: NDArray[np.float64] = table - (table[0] if (table == table[0]).all() else table.mean())
    return centred
