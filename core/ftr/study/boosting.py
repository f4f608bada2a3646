"""Boosting: the weights of rows and of votes.

SAMME, algorithm 2 of Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost": with K classes and
row weights w that sum to 1, a member with the weighted error e on the training rows gets the vote
alpha = log((1 - e) / e) + log(K - 1), and the weights of the rows it got wrong are multiplied by
exp(alpha) for the next.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.errors import PluginError
from ftr.model.components import make_model
from ftr.runs.prepare import Prepared, encode_splits
from ftr.study.ensemble import Finished

Array = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]


def vote(right: Right, weights: Array, classes: int) -> tuple[float, float]:
    """Return the weighted error of a member and the weight of its vote.

    Of a member without errors, whose vote would be infinite, half a row is taken to be wrong.
    """
    error = float(weights[~right].sum() / weights.sum())
    counted = max(error, 0.5 / len(right))
    alpha = math.log((1 - counted) / counted) + math.log(classes - 1) if counted < 1 else -math.inf
    return error, alpha


def reweighted(right: Right, weights: Array, alpha: float) -> Array:
    """Return the weights for the next member; they sum to 1."""
    changed = np.where(right, weights, weights * math.exp(alpha))
    return np.asarray(changed / changed.sum(), dtype=np.float64)


def ending_of(error: float, classes: int) -> str | None:
    """Return why boosting ends with a member of this weighted error, or None."""
    if error == 0:
        return "it gets every training row right, and nothing is left to weigh"
    if error >= 1 - 1 / classes:
        return f"its weighted error of {error:.4f} is no better than chance among {classes} classes"
    return None


def write_weights(path: Path, weights: Array) -> None:
    """Write the weights of the rows, with mean 1, for the training of a member."""
    content = io.BytesIO()
    np.save(content, weights * len(weights))
    atomic.write_bytes(path, content.getvalue())


def right_rows(run: Finished, config: RunConfig, prepared: Prepared) -> Right:
    """Return which training rows a member gets right, in their stored order."""
    from ftr.train.inference import EncodedSplit

    head, card = run.head, run.card
    rows = EncodedSplit(*prepared.splits["train"].open()).rows.to_list()
    # Encoded like rows that are predicted, which may differ from rows that are trained on.
    model = make_model(run.registry, config.model, config.train)
    stored = encode_splits(
        config, run.registry, head, model, prepared.settings, {"training rows": rows}
    )
    engine = run.engine()
    records = engine.records(EncodedSplit(*stored["training rows"].open()))
    inputs = head.score_inputs(rows, engine.decode(rows, records, card.state), card.labels)
    given, true = inputs["predictions"], inputs["references"]
    if len(given) != len(rows):
        raise PluginError(
            f"`boosting` needs one class a row: the head `{config.head.name}` gives "
            f"{len(given)} for {len(rows)} rows."
        )
    return np.asarray([bool(one == other) for one, other in zip(given, true, strict=True)])
