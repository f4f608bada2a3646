"""Whether an exported model answers as the model of torch does: logits, answers and scores on
labelled rows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ftr.errors import RequestError
from ftr.registry.protocols import Head, Prediction, Row, provides
from ftr.runs.evaluate import rows_for_card, rows_of
from ftr.runs.heldout import held_out
from ftr.train.intervals import interval_facts
from ftr.train.scoring import Scorer, headline

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers.utils import ModelOutput

    from ftr.registry.registry import Registry
    from ftr.runs.directory import RunDirectory
    from ftr.runs.predictor import Predictor

ROWS = 256
BATCH = 16
"""Features a batch, so that batches have many lengths, on every device the same."""
MOVED = 0.1
"""A number counts as another one when it moved by this share of the standard deviation of torch's
numbers.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Rows to compare on, of which split, and what scores them."""

    split: str
    rows: Sequence[Row]
    scorer: Scorer


@dataclass(slots=True)
class Answers:
    """The predictions of a model, and the inputs and outputs of each of its members, batch by
    batch.
    """

    predictions: list[Prediction] = field(default_factory=list)
    members: list[list[tuple[dict[str, Tensor], ModelOutput]]] = field(default_factory=list)


def rows_to_compare(
    predictor: Predictor,
    run: RunDirectory | None,
    settings: Sequence[str],
    count: int,
    registry: Registry,
) -> Labelled:
    """Return `count` rows, spread evenly over the split that the run held out, or over other data
    that `settings` name.

    `run` is None for a model directory alone, which needs `settings`. Raises `RequestError`,
    `DataError`.
    """
    card = predictor.card
    if run is not None and not settings:
        try:
            held = held_out(run.path, registry=registry)
        except RequestError as error:
            raise error.with_message(
                f"{error} `ftr export` needs labelled rows to compare on: these, or others with "
                "`dataset=FILE`."
            ) from error
        split, rows, scorer = held.split, held.rows, held.scorer
    elif settings:
        if run is not None:
            found, _ = rows_of(run, settings, registry, predictor.head, card.labels)
        else:
            found = rows_for_card(predictor.folder, card, settings, registry, predictor.head)
        split = next(name for name in ("test", "validation", "train") if name in found.splits)
        rows, scorer = found.splits[split], Scorer.of(registry, card.metrics)
    else:
        raise RequestError(
            f"`{predictor.folder}` is a model without its run, so there are no rows to compare the "
            "export with torch on: give labelled ones with `dataset=FILE`."
        )
    step = max(1, len(rows) / count)
    chosen = [rows[int(number * step)] for number in range(min(count, len(rows)))]
    if not chosen:
        raise RequestError("there are no rows to compare on: give others with `dataset=FILE`.")
    return Labelled(split=split, rows=chosen, scorer=scorer)


def answer(predictor: Predictor, rows: Sequence[Row]) -> Answers:
    """Predict rows, and keep what goes into and comes out of every member."""
    engine = predictor.engine
    seen = Answers()
    predictor.engine = replace(engine, eval_batch_size=BATCH)
    try:
        with ExitStack() as watched:
            for model in (engine.model, *engine.others):
                seen.members.append([])
                watched.enter_context(_watching(model, seen.members[-1]))
            seen.predictions = list(predictor.stream(rows, restore=False))
    finally:
        predictor.engine = engine
    return seen


@contextmanager
def _watching(
    model: nn.Module, seen: list[tuple[dict[str, Tensor], ModelOutput]]
) -> Iterator[None]:
    def keep(_: nn.Module, args: Any, inputs: dict[str, Tensor], outputs: ModelOutput) -> None:
        seen.append((inputs, outputs))

    handle = model.register_forward_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def logit_difference(torch: Answers, other: Answers) -> tuple[float, float]:
    """Return the largest difference between the outputs of two models, and the largest of torch's
    outputs.
    """
    pairs = [
        (inputs, mine, theirs)
        for one, two in zip(torch.members, other.members, strict=True)
        for (inputs, mine), (_, theirs) in zip(one, two, strict=True)
    ]
    found = [output_difference(*pair) for pair in pairs]
    return max(one for one, _ in found), max(size for _, size in found)


def output_difference(
    inputs: dict[str, Tensor], mine: ModelOutput, theirs: ModelOutput
) -> tuple[float, float]:
    """Return the largest difference of the tensors that both outputs have, padding left out, and
    the largest of the first one's numbers. It is infinite where shapes differ, NaN beside numbers.
    """
    import torch

    mask = inputs.get("attention_mask")
    worst, size = 0.0, 0.0
    for name in theirs:
        first, second = mine[name].float().cpu(), theirs[name].float().cpu()
        if first.shape != second.shape:
            return float("inf"), size
        if mask is not None and first.dim() > 1 and first.shape[:2] == mask.shape[:2]:
            first, second = first[mask.cpu().bool()], second[mask.cpu().bool()]
        if not first.numel():
            continue
        apart = (first - second).abs().max().item()
        worst = max(worst, float("inf") if math.isnan(apart) else apart)
        size = max(size, torch.nan_to_num(first).abs().max().item())
    return worst, size


def changed(
    head: Head,
    rows: Sequence[Row],
    labels: Sequence[str],
    mine: Sequence[Prediction],
    theirs: Sequence[Prediction],
) -> int:
    """Return for how many rows a head decides otherwise: a class, labels, tags, an answer; a number
    where it moved by more than `MOVED`.
    """
    if not provides(head, "outcomes"):
        pairs = zip(map(_decided, mine), map(_decided, theirs), strict=True)
        return sum(one != two for one, two in pairs)
    one, two = (
        [outcome.predicted for outcome in head.outcomes(rows, each, labels)]
        for each in (mine, theirs)
    )
    target = next((column for column in head.schema.columns if column.target), None)
    if target is None or target.type != "number":
        return sum(first != second for first, second in zip(one, two, strict=True))
    first, second = list(map(float, one)), list(map(float, two))
    limit = MOVED * statistics.pstdev(first)
    return sum(not abs(a - b) <= limit for a, b in zip(first, second, strict=True))


def _decided(prediction: Prediction) -> dict[str, Any]:
    return {key: value for key, value in prediction.items() if not _has_float(value)}


def _has_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_float, value))
    return isinstance(value, float)


def scores(
    head: Head, labelled: Labelled, labels: Sequence[str], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Return the scores of predictions that are single numbers, each with its interval."""
    given = (head, labelled.rows, predictions, labels)
    found = labelled.scorer.score(*given)
    facts = interval_facts({labelled.split: labelled.scorer.intervals(*given, found)})
    shown = headline(found, labelled.scorer.primary)
    return {
        "primary": labelled.scorer.primary,
        "scores": shown,
        "intervals": {name: facts["intervals"][labelled.split].get(name) for name in shown},
    }
