"""Confidences of predictions: whether they can be trusted, and what abstaining below one gives.

The measures come from `ftr.train.calibration`, which the record of a run needs as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftr.train.calibration import (
    BINS,
    Calibration,
    ReliabilityBin,
    brier,
    brier_of_classes,
    class_probabilities,
    expected_calibration_error,
    measure,
    negative_log_likelihood,
    reliability,
)

__all__ = [
    "BINS",
    "Calibration",
    "Coverage",
    "ReliabilityBin",
    "area_under_risk_coverage",
    "brier",
    "brier_of_classes",
    "class_probabilities",
    "expected_calibration_error",
    "measure",
    "negative_log_likelihood",
    "reliability",
    "risk_coverage",
    "threshold_for",
]

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is left when rows with a confidence below `threshold` are abstained from.

    `coverage` is the share of the rows that is left, `count` their number, and `risk` the mean of
    their errors: None where none is left.
    """

    threshold: float
    coverage: float
    count: int
    risk: float | None


def risk_coverage(
    confidences: ArrayLike, errors: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> list[Coverage]:
    """Return coverage and risk at each threshold; of no predictions nothing.

    `errors` are those of outcomes: with 0 for right and 1 for wrong, the risk is the share of wrong
    answers among those given (El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective
    Classification").
    """
    sure, wrong = _checked(confidences, errors)
    if not len(sure):
        return []
    found = []
    for threshold in thresholds:
        kept = sure >= threshold
        count = int(kept.sum())
        risk = float(wrong[kept].mean()) if count else None
        found.append(Coverage(float(threshold), count / len(sure), count, risk))
    return found


def area_under_risk_coverage(confidences: ArrayLike, errors: ArrayLike) -> float | None:
    """Return the mean over k of the risk of the k most confident predictions; None of none.

    AURC of Geifman, Uziel and El-Yaniv 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers"; the lower, the better confidences tell wrong from right. Predictions of equal
    confidence count with their mean error, so that their order makes no difference.
    """
    sure, wrong = _checked(confidences, errors)
    if not len(sure):
        return None
    _, owners, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    means = np.bincount(owners, weights=wrong) / counts
    ranked = np.repeat(means, counts)
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1)).mean())


def threshold_for(
    confidences: ArrayLike,
    errors: ArrayLike,
    *,
    risk: float | None = None,
    coverage: float | None = None,
) -> Coverage | None:
    """Return the point with the most rows whose risk is at most `risk`, or with the fewest rows
    whose coverage is at least `coverage`; None where there is none.

    Thresholds are the confidences themselves. The risk of rows that a threshold was chosen on is
    optimistic. Raises `ValueError` unless exactly one of both is given.
    """
    if (risk is None) == (coverage is None):
        raise ValueError("give either `risk` or `coverage`")
    sure, wrong = _checked(confidences, errors)
    if not len(sure):
        return None
    order = np.argsort(-sure, kind="stable")
    last = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))
    counts = last + 1
    risks, covered = np.cumsum(wrong[order])[last] / counts, counts / len(sure)
    fits = np.flatnonzero(risks <= risk if risk is not None else covered >= (coverage or 0.0))
    if not len(fits):
        return None
    at = fits[-1] if risk is not None else fits[0]
    return Coverage(
        float(sure[order][last[at]]), float(covered[at]), int(counts[at]), float(risks[at])
    )


def _checked(
    confidences: ArrayLike, errors: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sure, wrong = np.asarray(confidences, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if sure.shape != wrong.shape or sure.ndim != 1:
        raise ValueError(f"{sure.shape} confidences of {wrong.shape} errors")
    if math.isnan(float(sure.sum() + wrong.sum())):
        raise ValueError("a confidence or an error is no number")
    return sure, wrong
