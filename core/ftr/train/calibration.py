"""How well confidences match how often predictions are right: bins, errors and scores.

A confidence is the probability, 0 to 1, that a prediction is right. All arrays have the shape
(rows,), unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftr.registry.protocols import (
    CALIBRATION,
    Head,
    Outcome,
    Prediction,
    Row,
    State,
    provides,
)

Floats = NDArray[np.float64]

BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""
LEAST = float(np.finfo(np.float32).tiny)
"""Probabilities below are taken for it: the logarithm of 0 is no number."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The predictions with a confidence in (`low`, `high`], of the first bin [0, `high`].

    `confidence` is their mean confidence and `accuracy` the share that is right; both are None in
    an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability(confidences: ArrayLike, right: ArrayLike, bins: int = BINS) -> list[ReliabilityBin]:
    """Return `bins` bins of equal width over [0, 1], empty ones included.

    The reliability diagram of Guo et al. 2017, "On Calibration of Modern Neural Networks",
    section 2. Raises `ValueError` for a confidence that is no probability, and for lengths that
    differ.
    """
    sure, hits = _checked(confidences, right)
    # (low, high]: a confidence on an edge belongs to the bin below it.
    owners = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        inside = owners == number
        count = int(inside.sum())
        found.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                count=count,
                confidence=float(sure[inside].mean()) if count else None,
                accuracy=float(hits[inside].mean()) if count else None,
            )
        )
    return found


def expected_calibration_error(
    confidences: ArrayLike, right: ArrayLike, bins: int = BINS
) -> float | None:
    """Return the mean over the predictions of |accuracy - confidence| of their bin; None of none.

    ECE of Guo et al. 2017, equation 3: sum over bins of count / n * |accuracy - confidence|.
    """
    found = reliability(confidences, right, bins)
    total = sum(one.count for one in found)
    if not total:
        return None
    gaps = (
        one.count * abs(one.accuracy - one.confidence)
        for one in found
        if one.accuracy is not None and one.confidence is not None
    )
    return sum(gaps) / total


def brier(confidences: ArrayLike, right: ArrayLike) -> float | None:
    """Return the mean of (confidence - right)², 0 to 1; None of no predictions.

    Brier 1950 for one event: that the prediction is right.
    """
    sure, hits = _checked(confidences, right)
    return float(((sure - hits) ** 2).mean()) if len(sure) else None


def brier_of_classes(probabilities: ArrayLike, true: ArrayLike) -> float | None:
    """Return the mean over rows of the sum over classes of (p - true)², 0 to 2; None of no rows.

    `probabilities` has the shape (rows, classes), `true` the class id of each row. Brier 1950,
    "Verification of forecasts expressed in terms of probability", equation 2; of two classes it is
    twice `brier`.
    """
    table, ids = np.asarray(probabilities, dtype=np.float64), np.asarray(true, dtype=int)
    if not len(ids):
        return None
    return float(((table - np.eye(table.shape[1])[ids]) ** 2).sum(axis=1).mean())


def negative_log_likelihood(confidences: ArrayLike, right: ArrayLike) -> float | None:
    """Return the mean of -log of the confidence where right, of 1 - confidence where wrong, in
    nats; None of no predictions.
    """
    sure, hits = _checked(confidences, right)
    return _mean_log(np.where(hits > 0, sure, 1 - sure))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measures of the confidences of `n` predictions.

    `ece` is `expected_calibration_error` with `BINS` bins. `brier` and `nll` are over all classes
    where predictions have one class and the `probabilities` of all, else of the confidences.
    """

    n: int
    accuracy: float
    confidence: float
    ece: float
    brier: float
    nll: float


def measure(outcomes: Sequence[Outcome], predictions: Sequence[Prediction]) -> Calibration | None:
    """Return the measures of predictions; None where there are none, or where not all have a
    confidence that is a probability.
    """
    known = [one.confidence for one in outcomes]
    sure = [one for one in known if one is not None and 0 <= one <= 1]
    if not sure or len(sure) != len(known):
        return None
    hits = [one.right for one in outcomes]
    table = class_probabilities(predictions)
    names = [] if table is None else list(predictions[0]["probabilities"])
    if table is None or not {one.expected for one in outcomes} <= set(names):
        squares, logs = brier(sure, hits), negative_log_likelihood(sure, hits)
    else:
        true = [names.index(one.expected) for one in outcomes]
        squares = brier_of_classes(table, true)
        logs = _mean_log(table[np.arange(len(true)), true])
    return Calibration(
        n=len(sure),
        accuracy=float(np.mean(hits)),
        confidence=float(np.mean(sure)),
        ece=expected_calibration_error(sure, hits) or 0.0,
        brier=squares or 0.0,
        nll=logs or 0.0,
    )


def before_and_after(
    head: Head,
    rows: Sequence[Row],
    records: Sequence[Sequence[Any]],
    predictions: Sequence[Prediction],
    state: State,
    labels: Sequence[str],
) -> dict[str, dict[str, float]] | None:
    """Return the measures of `predictions` (`after`), and those without the calibration in `state`
    (`before`), for the record; None where nothing is calibrated.
    """
    if CALIBRATION not in state or not provides(head, "outcomes"):
        return None
    plain = {key: value for key, value in state.items() if key != CALIBRATION}
    without = [
        head.decode(row, each, plain, labels) for row, each in zip(rows, records, strict=True)
    ]
    found = {
        name: measure(head.outcomes(rows, each, labels), each)
        for name, each in (("before", without), ("after", predictions))
    }
    return {name: asdict(one) for name, one in found.items() if one is not None} or None


def calibration_line(split: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """Return a line on a split of a record's `calibration`."""
    shown = [
        f"{name.upper() if name != 'brier' else 'Brier'} "
        + " → ".join(f"{found[side][name]:.4f}" for side in ("before", "after") if side in found)
        for name in ("ece", "brier", "nll")
    ]
    fitted = ", fitted on these rows" if split == "validation" else ""
    return f"calibration on {split}{fitted}: {', '.join(shown)}"


def class_probabilities(predictions: Sequence[Prediction]) -> Floats | None:
    """Return the `probabilities`, (rows, classes), of predictions of one class a row, else None."""
    each: list[Any] = [one.get("probabilities") if "label" in one else None for one in predictions]
    if not each or not all(isinstance(one, Mapping) and one for one in each):
        return None
    return np.array([list(one.values()) for one in each], dtype=np.float64)


def _checked(confidences: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    sure, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if sure.shape != hits.shape or sure.ndim != 1:
        raise ValueError(f"{sure.shape} confidences of {hits.shape} predictions")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("a confidence is a probability, 0 to 1")
    return sure, hits


def _mean_log(probabilities: Floats) -> float | None:
    if not len(probabilities):
        return None
    return -math.fsum(np.log(np.maximum(probabilities, LEAST))) / len(probabilities)
