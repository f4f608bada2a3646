"""Training labels that are probably wrong, by models that were not trained on them."""

from __future__ import annotations

from collections.abc import Mapping
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
    et al. 2021, "Confident Learning", section 3.2. It found at least as many flipped labels as the
    normalized margin and the confident joint of that paper (`benchmarks/label_errors.py`).
    """
    found: Floats = probabilities[np.arange(len(given)), given]
    return found


def suspicious_labels(
    run: str | Path,
    *,
    limit: int = 200,
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
    best, scores = probabilities.argmax(axis=1), self_confidence(probabilities, given)
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
