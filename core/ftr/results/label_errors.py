"""Training labels that are probably wrong, by models that were not trained on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.errors import RequestError
from ftr.registry.registry import Registry
from ftr.runs.directory import run_or_winner
from ftr.runs.heldout import held_out
from ftr.train.calibration import class_probabilities

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SuspiciousLabel:
    """A row whose label is probably wrong.

    `score` is 0 to 1, the lower the more suspicious; `given` and `suggested` are class names, and
    `probability` is that of `suggested`. `row` holds the columns of the row, class ids among them.
    """

    id: str
    given: str
    suggested: str
    score: float
    probability: float
    row: Mapping[str, Any]


def self_confidence(probabilities: Floats, given: Ids) -> Floats:
    """Return the probability of the given class of each row, (rows,): the less, the worse.

    `probabilities` has the shape (rows, classes) and `given` (rows,). Self-confidence in Northcutt
    et al. 2021, "Confident Learning", section 3.2.
    """
    found: Floats = probabilities[np.arange(len(given)), given]
    return found


def normalized_margin(probabilities: Floats, given: Ids) -> Floats:
    """Return (1 + p of the given class - the greatest p of another) / 2 of each row, (rows,).

    The normalized margin in Northcutt et al. 2021, section 3.2, moved into 0 to 1.
    """
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -np.inf
    margin: Floats = (1 + self_confidence(probabilities, given) - others.max(axis=1)) / 2
    return margin


def confident_learning(probabilities: Floats, given: Ids) -> Floats:
    """Return the self-confidence of each row, halved, and raised by one half unless the row is in
    an off-diagonal cell of the confident joint: those come first.

    Northcutt et al. 2021, section 3.1, equation 2: the threshold of a class is the mean probability
    of that class over the rows that are given it, and a row counts for the most probable class of
    those that reach their threshold.
    """
    classes = probabilities.shape[1]
    thresholds = np.array(
        [
            probabilities[given == number, number].mean() if (given == number).any() else np.inf
            for number in range(classes)
        ]
    )
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    off = (above.max(axis=1) >= 0) & (above.argmax(axis=1) != given)
    return np.asarray((self_confidence(probabilities, given) + ~off) / 2)


METHODS: dict[str, Callable[[Floats, Ids], Floats]] = {
    "self-confidence": self_confidence,
    "normalized-margin": normalized_margin,
    "confident-learning": confident_learning,
}
"""What ranks labels by name, the one used unless another is asked for first."""


def suspicious_labels(
    run: str | Path,
    *,
    limit: int = 200,
    method: str = next(iter(METHODS)),
    registry: Registry | None = None,
) -> list[SuspiciousLabel]:
    """Return the labels of a cross-validation (`cv.folds`) that are most probably wrong, the most
    suspicious first: at most `limit`, all of rows that another class is more probable for.

    Each row is judged by the member that was not trained on it. Raises `RequestError` for a run
    without such predictions, or without one class a row; `DataError` where the data changed.
    """
    directory = run_or_winner(run)
    if directory.read().get("several") != "folds":
        raise RequestError(
            f"run `{directory.path}` has no predictions of its training rows: suspicious labels "
            "need a cross-validation. Train with `cv.folds=5`."
        )
    found = held_out(directory.path, "validation", registry=registry)
    probabilities, column = class_probabilities(found.predictions), found.head.schema.label
    if probabilities is None or column is None:
        raise RequestError(
            f"run `{directory.path}` does not predict one class for each row with the "
            "probabilities of all: suspicious labels need both."
        )
    given = np.array([row[column] for row in found.rows], dtype=np.int64)
    best, scores = probabilities.argmax(axis=1), METHODS[method](probabilities, given)
    order = np.argsort(scores, kind="stable")
    ranked = [number for number in order if best[number] != given[number]]
    return [
        SuspiciousLabel(
            id=str(found.rows[number]["id"]),
            given=found.labels[given[number]],
            suggested=found.labels[best[number]],
            score=float(scores[number]),
            probability=float(probabilities[number, best[number]]),
            row=found.rows[number],
        )
        for number in ranked[:limit]
    ]
