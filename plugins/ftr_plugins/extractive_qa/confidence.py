"""The probability that an answer is right, from its score and from that of no answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftr.plugin import Prediction

KINDS = ("answer", "no_answer")
PRIOR = (0.0, 1.0, 0.0)
"""Weights with which the confidence is the score."""
NEAREST = 1e-12
"""Scores are taken to be at least so far from 0 and 1."""


def kind(prediction: Prediction) -> str:
    """Return whether a prediction gives an answer or none."""
    return KINDS[0] if prediction["answer"] else KINDS[1]


def fit(predictions: Sequence[Prediction], right: Sequence[bool]) -> dict[str, list[float]]:
    """Return the weights of `confidence`, by kind: those of answers, and those of no answer.

    A logistic regression for each, as in Platt 1999, "Probabilistic Outputs for Support Vector
    Machines", section 2.2: right answers count (n + 1) / (n + 2) and wrong ones 1 / (m + 2), of n
    right and m wrong ones. The sum of losses has half the squared distance from `PRIOR` added, so
    that of few predictions, or of none, the confidence stays near the score.
    """
    weights = {}
    for name in KINDS:
        chosen = [number for number, one in enumerate(predictions) if kind(one) == name]
        weights[name] = _regression(
            np.array([_features(predictions[number]) for number in chosen]).reshape(-1, len(PRIOR)),
            np.array([right[number] for number in chosen], dtype=bool),
        )
    return weights


def confidence(prediction: Prediction, weights: Mapping[str, Sequence[float]]) -> float:
    """Return the sigmoid of the weights times 1, the log-odds of the score, and how far the best
    span and no answer are apart, in logits, in favour of what is given.
    """
    logit = float(np.dot(weights.get(kind(prediction), PRIOR), _features(prediction)))
    return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))


def _features(prediction: Prediction) -> tuple[float, float, float]:
    score = min(max(prediction["score"], NEAREST), 1 - NEAREST)
    # Without any span there is no difference to compare.
    apart = prediction["no_answer_score"] or 0.0
    return 1.0, math.log(score / (1 - score)), -apart if prediction["answer"] else apart


def _regression(features: Any, right: Any) -> list[float]:
    from scipy.optimize import minimize

    count, hits = len(right), int(right.sum())
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (count - hits + 2))
    prior = np.array(PRIOR)

    def loss(weights: Any) -> tuple[float, Any]:
        logits, away = features @ weights, weights - prior
        value = np.logaddexp(0, logits).sum() - (targets * logits).sum() + (away @ away) / 2
        shares = np.exp(-np.logaddexp(0, -logits))
        return float(value), features.T @ (shares - targets) + away

    found: list[float] = minimize(loss, prior, jac=True, method="BFGS").x.tolist()
    return found
