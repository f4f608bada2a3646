"""Temperature scaling: probabilities made less, or more, extreme, without another decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import State
from ftr.registry.protocols import CALIBRATION

TEMPERATURE = "temperature"
MOST = 100.0
"""Temperatures are between 1 / 100 and 100."""
TINY, BELOW_ONE = float(np.finfo(np.float32).tiny), 1 - 2.0**-26
"""Between these have probabilities in single precision a logit; 0 is a class without votes."""
NO_ROWS = (
    "no validation rows: `head.calibrate` has nothing to fit, and confidences are those of the "
    "model"
)

Floats = NDArray[np.float64]


def fit_temperature(probabilities: NDArray[Any], true: Sequence[int]) -> float:
    """Return the T whose softmax(log p / T) gives rows their true classes most probably; 1.0 where
    T makes no difference.

    `probabilities` has the shape (rows, classes). Guo et al. 2017, "On Calibration of Modern Neural
    Networks", section 4.2: as p is the softmax of the logits, log p differs from them by a constant
    a row. The least negative log likelihood of n rows that are all predicted right would be at T
    = 0, and make every prediction certain: so the true class counts (n + 1) / (n + 2), and the
    others share the rest, as in Platt 1999, "Probabilistic Outputs for Support Vector Machines",
    section 2.2.
    """
    from scipy.optimize import minimize_scalar

    logs = _logs(probabilities)
    rows, classes = logs.shape
    if not rows or np.ptp(logs, axis=1).max() == 0:
        return 1.0
    rest = 1 / (rows + 2)
    targets = np.full((rows, classes), rest / (classes - 1))
    targets[np.arange(rows), list(true)] = 1 - rest

    def loss(exponent: float) -> float:
        scores = logs * np.exp(-exponent)
        return float((np.logaddexp.reduce(scores, axis=1) - (targets * scores).sum(axis=1)).mean())

    bound = np.log(MOST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def fit_temperature_of_labels(probabilities: NDArray[Any], applies: NDArray[np.bool_]) -> float:
    """Return the T for independent labels: `fit_temperature` with each cell of the tables (rows,
    labels) as a row of two classes.
    """
    yes = _inside(probabilities).ravel()
    return fit_temperature(np.stack([1 - yes, yes], axis=1), applies.ravel().astype(int).tolist())


def scaled(probabilities: NDArray[Any], state: State) -> NDArray[Any]:
    """Return p^(1/T), normalized to a sum of 1, of class probabilities (classes,): the softmax of
    the logits over T. As they are where the state has no temperature.
    """
    temperature = state.get(CALIBRATION, {}).get(TEMPERATURE)
    if temperature is None:
        return probabilities
    scores = _logs(probabilities) / temperature
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def scaled_labels(probabilities: NDArray[Any], state: State) -> NDArray[Any]:
    """Return the sigmoid of logit(p) / T of each label's probability, in the shape that they have.

    As they are where the state has no temperature.
    """
    temperature = state.get(CALIBRATION, {}).get(TEMPERATURE)
    if temperature is None:
        return probabilities
    yes = _inside(probabilities)
    logits = np.log(yes) - np.log1p(-yes)
    return np.asarray(np.exp(-np.logaddexp(0, -logits / temperature)))


def _logs(probabilities: NDArray[Any]) -> Floats:
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), TINY))


def _inside(probabilities: NDArray[Any]) -> Floats:
    return np.clip(np.asarray(probabilities, dtype=np.float64), TINY, BELOW_ONE)
