"""Boosting: members trained in turn, each on rows weighted by what the ones before got wrong.

SAMME, algorithm 2 of Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost": with K classes and row weights w that sum to 1, a
member with the weighted error e on the training rows gets the vote alpha = log((1 - e) / e) + log(K - 1), and the weights of the
rows it got wrong are multiplied by exp(alpha) for the next.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ftr import atomic
from ftr.config.training import TrainConfig
from ftr.errors import PluginError
from ftr.jobs.prepare import Prepared, encode_splits
from ftr.jobs.several.plan import Member
from ftr.jobs.several.training import WEIGHTS, member_directory
from ftr.train.components import make_head, make_model

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.jobs.several.drive import Several
    from ftr.registry import Registry
    from ftr.runs.directory import RunDirectory

Array = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]


def boost(run: Several) -> None:
    """Train the members that are not done, in turn; what each round came to is in the member's record under `boosted`.

    It ends early, with a note, after a member that gets every row right, and before one that is no better than chance, which is
    left out unless it is the first.
    """
    weights: Array | None = None
    for member in run.plan.members:
        record = run.done.get(member.number)
        if record is None:
            _write_weights(run.directory, member, weights)
            record = run.train_here(member)
        right = _right(run, member)
        if weights is None:
            weights = np.full(len(right), 1 / len(right))
        classes = len(record["labels"])
        error, alpha = vote(right, weights, classes)
        ending = _ending(error, classes)
        kept = ending is None or error == 0 or member.number == 0
        boosted = {"error": error, "alpha": alpha if alpha > 0 else 1.0, "kept": kept, **({"ending": ending} if ending else {})}
        if record.get("boosted") != boosted:
            record = {**record, "boosted": boosted}
            member_directory(run.directory, member).write(record)
        run.done[member.number] = record
        run.say(f"{member}: weighted error on the training rows {error:.4f}, its vote weighs {boosted['alpha']:.4g}")
        if ending is not None:
            run.end_early(f"boosting ended with member {member.number}: {ending}", member.number + (1 if kept else 0))
            return
        weights = reweighted(right, weights, alpha)


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


def _ending(error: float, classes: int) -> str | None:
    if error == 0:
        return "it gets every training row right, and nothing is left to weigh"
    if error >= 1 - 1 / classes:
        return f"its weighted error of {error:.4f} is no better than chance among {classes} classes"
    return None


def _write_weights(directory: RunDirectory, member: Member, weights: Array | None) -> None:
    """Put the weights of the rows, of mean 1, where the training of a member finds them."""
    if weights is None:
        return
    content = io.BytesIO()
    np.save(content, weights * len(weights))
    atomic.write_bytes(member_directory(directory, member).path / WEIGHTS, content.getvalue())


def _right(run: Several, member: Member) -> Right:
    """Return which training rows a member gets right, in their stored order."""
    from ftr.train.ensemble import load_engine
    from ftr.train.export import read_card
    from ftr.train.hardware import choose_numerics
    from ftr.train.inference import EncodedSplit

    prepared = run.data.of(member.config)
    head = make_head(run.registry, member.config.head)
    model = member_directory(run.directory, member).model
    card = read_card(model)
    engine = load_engine([model], head, card, choose_numerics(TrainConfig.model_validate({"precision": "fp32"})))
    rows = EncodedSplit(*prepared.splits["train"].open()).rows.to_list()
    split = _to_answer(run.registry, member.config, prepared, rows)
    predictions = engine.decode(rows, engine.records(split), card.state)
    inputs = head.score_inputs(rows, predictions, card.labels)
    given, true = inputs["predictions"], inputs["references"]
    if len(given) != len(rows):
        raise PluginError(
            f"`boosting` needs one class a row: the head `{member.config.head.name}` gives {len(given)} for {len(rows)} rows."
        )
    return np.asarray([bool(one == other) for one, other in zip(given, true, strict=True)])


def _to_answer(registry: Registry, config: RunConfig, prepared: Prepared, rows: Sequence[Any]) -> Any:
    """Encode training rows as those that are to be answered are."""
    from ftr.train.inference import EncodedSplit

    head, model = make_head(registry, config.head), make_model(registry, config.model, config.train)
    stored = encode_splits(config, registry, head, model, prepared.settings, {"training rows": rows})
    return EncodedSplit(*stored["training rows"].open())
