"""Predictions from encoded rows, batch by batch; models prepared for this machine and reused."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import ModelOutput

from ftr.config.schema import RunConfig
from ftr.data.encode import StoredSplit
from ftr.errors import ConfigError, in_one_line
from ftr.model.adapters import add_adapters
from ftr.model.attention import use_gpu_attention
from ftr.model.components import make_head, make_model
from ftr.model.dropout import register_cpu_attention, use_cheap_dropout
from ftr.model.transformers_private import has_own_attention
from ftr.registry.protocols import Abilities, Head, Prediction, Row, State, provides
from ftr.registry.registry import Registry
from ftr.train.batches import Indices, by_length
from ftr.train.hardware import (
    EvaluationLimit,
    Numerics,
    free_memory,
    is_out_of_memory,
    numerics_for,
)
from ftr.train.intervals import Losses
from ftr.train.loader import feature_rows
from ftr.train.steps import lacks, mean_loss, row_losses, terms
from ftr.train.stored import StoredOutputs

TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536, "mps": 16384}
ROWS_PER_BATCH = 512


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """The rows of a split and their features; `features["row"]` is the row number each feature
    belongs to.
    """

    rows: Dataset
    features: Dataset

    @property
    def lengths(self) -> Indices:
        """Tokens of each feature."""
        return np.asarray(self.features.data.column("length"), dtype=np.int64)

    @property
    def owners(self) -> Indices:
        """Row number of each feature, never decreasing."""
        return np.asarray(self.features.data.column("row"), dtype=np.int64)


class Answers(NamedTuple):
    """The rows of a split, what `head.reduce` kept of the features of each, its prediction, and the
    state that these were made with.
    """

    rows: list[Row]
    records: list[list[Any]]
    predictions: list[Prediction]
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A model with what its predictions need: head, tokenizer, label names, number format and batch
    size.

    `others` run as well, and the head combines the outputs of all; with `votes`, a weight for each
    model, they vote instead. Raises `PluginError` when the head cannot. `stored` has outputs that
    stand in for the backbone of `model`.
    """

    model: PreTrainedModel
    head: Head
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    precision: str = "fp32"
    eval_batch_size: int | str = "auto"
    others: tuple[PreTrainedModel, ...] = ()
    limit: EvaluationLimit = field(default_factory=EvaluationLimit)
    votes: tuple[float, ...] = ()
    stored: StoredOutputs | None = None

    def __post_init__(self) -> None:
        """Refuse a head that cannot combine, before anything is computed."""
        if self.votes:
            voter(self.head)
        elif self.others:
            combiner(self.head)

    def predict(
        self,
        split: EncodedSplit,
        state: State | None = None,
        rank: int = 0,
        world: int = 1,
        tick: Callable[[int], None] | None = None,
    ) -> Answers:
        """Return the predictions of a split; without `state` the head tunes it on these rows."""
        return self.answers(split, self.records(split, rank, world, tick), state)

    def answers(
        self, split: EncodedSplit, records: list[list[Any]], state: State | None = None
    ) -> Answers:
        """Return the predictions that the `records` of a split make, without the model."""
        rows = split.rows.to_list()
        used = self.head.calibrate(rows, records, self.labels) if state is None else state
        return Answers(rows, records, self.decode(rows, records, used), used)

    def records(
        self,
        split: EncodedSplit,
        rank: int = 0,
        world: int = 1,
        tick: Callable[[int], None] | None = None,
    ) -> list[list[Any]]:
        """Run the model over a split and return, for each row, what `head.reduce` kept of its
        features.

        With several workers each runs every `world`-th batch and all get all records. `tick` is
        called with the number of features done. Where memory runs out, `limit` makes the batches
        smaller for good.
        """
        found = self.each(split, self.reduce_batch, rank, world, tick)
        grouped: list[list[Any]] = [[] for _ in range(len(split.rows))]
        for feature, owner in enumerate(split.owners.tolist()):
            grouped[owner].append(found[feature])
        return grouped

    def loss(self, split: EncodedSplit, rank: int = 0, world: int = 1) -> float:
        """Return the mean loss of a split: see `losses`."""
        total, weight = self.losses(split, rank, world).sum(axis=0)
        return float(total / weight)

    def losses(self, split: EncodedSplit, rank: int = 0, world: int = 1) -> Losses:
        """Return for each row of a split that was encoded with targets its loss times its weight in
        the mean, and its weight; no label smoothing, all examples weigh the same.

        The mean is over examples (the windows of a question are one each); of a head without
        `row_losses` it is over the terms of each batch's own mean. Raises `PluginError` when head
        and model give no loss.
        """
        rows = np.zeros((len(split.rows), 2))
        owners = split.owners
        for feature, (loss, weight) in self.each(split, self._losses, rank, world).items():
            rows[owners[feature]] += (loss * weight, weight)
        return rows

    def each(
        self,
        split: EncodedSplit,
        ask: Callable[[Dataset, Indices], list[Any]],
        rank: int,
        world: int,
        tick: Callable[[int], None] | None = None,
    ) -> dict[int, Any]:
        """Return what `ask` gives for each feature of a split."""
        lengths, device, size = split.lengths, self.model.device.type, self.eval_batch_size
        pending = deque(evaluation_batches(lengths, size, device)[rank::world])
        found: dict[int, Any] = {}
        while pending:
            batch, *rest = self.limit.cut(pending.popleft(), lengths)
            pending.extendleft(reversed(rest))
            records = None
            try:
                records = ask(split.features, batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if records is None:  # and the error, which held tensors, is gone
                free_memory(device)
                self.limit.descend(len(batch), int(lengths[batch].max()), size)
                pending.appendleft(batch)
                continue
            found.update(zip(batch.tolist(), records, strict=True))
            if tick is not None:
                tick(len(found))
        if world > 1:
            parts: list[dict[int, Any]] = [{}] * world
            torch.distributed.all_gather_object(parts, found)
            found = {feature: record for part in parts for feature, record in part.items()}
        return found

    def decode(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], state: State
    ) -> list[Prediction]:
        """Turn the records of each row into its prediction."""
        return [
            self.head.decode(row, found, state, self.labels)
            for row, found in zip(rows, records, strict=True)
        ]

    def _run(
        self, features: Dataset, batch: Indices
    ) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor], ModelOutput]:
        """Return the items of a batch, the inputs they make, and the joined outputs."""
        items = feature_rows(features, batch)
        inputs = {
            key: value.to(self.model.device)
            for key, value in self.head.collate(items, self.tokenizer).items()
        }
        if self.stored is not None:
            self.stored.select(features, batch)
        outputs = [self._ask(model, inputs) for model in (self.model, *self.others)]
        return items, inputs, self._joined(outputs)

    def run(self, features: Dataset, batch: Indices) -> ModelOutput:
        """Return the outputs for a batch of features."""
        return self._run(features, batch)[2]

    def reduce_batch(self, features: Dataset, batch: Indices) -> list[Any]:
        """Run the model over a batch of features, and return what `head.reduce` kept of each."""
        items, _, outputs = self._run(features, batch)
        return self.head.reduce(outputs, items)

    def _losses(self, features: Dataset, batch: Indices) -> list[tuple[float, float]]:
        """Return the loss of each feature of a batch, and its weight in the mean."""
        _, inputs, outputs = self._run(features, batch)
        if provides(self.head, "row_losses"):
            return [(float(loss), 1.0) for loss in row_losses(self.head, outputs, inputs, 0.0)]
        mean = float(mean_loss(self.head, self.model, outputs, inputs))
        return [(mean, terms(inputs, len(batch)) / len(batch))] * len(batch)

    def _joined(self, outputs: list[ModelOutput]) -> ModelOutput:
        if self.votes:
            return voter(self.head).vote(outputs, self.votes)
        return combiner(self.head).combine(outputs) if self.others else outputs[0]

    def _ask(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> ModelOutput:
        with evaluating(model), torch.inference_mode(), autocast(model.device.type, self.precision):
            outputs: ModelOutput = model(**inputs)
        return outputs


def evaluation_batches(lengths: Indices, size: int | str, device: str) -> list[Indices]:
    """Return the batches in which features of these lengths are predicted; `size` is
    `train.eval_batch_size`.
    """
    if isinstance(size, int):
        return by_length(lengths, size, 1 << 62)
    return by_length(lengths, ROWS_PER_BATCH, TOKENS_PER_BATCH[device])


def combiner(head: Head) -> Abilities:
    """Return the head as one that combines outputs; raises `PluginError` when it has no
    `combine`.
    """
    if provides(head, "combine"):
        return head
    raise lacks(
        head, "combine", "so outputs of several models cannot be averaged: `soup3` averages weights"
    )


def voter(head: Head) -> Abilities:
    """Return the head as one whose models vote; raises `PluginError` when it has no `vote`."""
    if provides(head, "vote"):
        return head
    raise lacks(head, "vote", "which a model trained with `boosting` needs")


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put the model into evaluation mode and back into the mode it had."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the autocast context of a number format; fp32 has none."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


MAX_CACHED = 3
"""Models cached in memory: repeats of a trial differ by seed, and a new head's weights follow from
the seed.
"""

Parts = tuple[Head, PreTrainedTokenizerBase, PreTrainedModel, dict[str, Any]]
"""A head, its tokenizer, a model that is not trained yet, and its `describe`."""
_models: OrderedDict[str, Parts] = OrderedDict()
_opened: dict[tuple[str, str], EncodedSplit] = {}


def open_split(stored: StoredSplit, *, keep: bool) -> EncodedSplit:
    """Memory-map an encoded split; with `keep` it stays open for the next training of this
    process.
    """
    key = (stored.rows, stored.features)
    if key in _opened and keep:
        return _opened[key]
    split = EncodedSplit(*stored.open())
    if keep:
        _opened[key] = split
    return split


def freeze_garbage_collector() -> None:
    """Exclude current objects from garbage collection: modules and models that stay in memory.

    Every `Trainer` begins with a full collection, which takes half a second over all of torch and
    transformers.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def trim_memory() -> None:
    """Give freed memory back to the system: each trial trains in a thread of its own, and what its
    arena held would stay.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _parts(registry: Registry, config: RunConfig, labels: Sequence[str]) -> Parts:
    head = make_head(registry, config.head)
    source = make_model(registry, config.model, config.train)
    set_seed(config.weights_seed)
    tokenizer, model = source.tokenizer(), head.build(source, labels, config.weights_seed)
    return head, tokenizer, model, source.describe()


def _cached_parts(registry: Registry, config: RunConfig, labels: Sequence[str]) -> Parts:
    """Return parts with a copy of the model that stays in memory.

    The model, the head, their options, dropout, labels and the seed decide which one it is.
    """
    key = json.dumps(
        [
            config.model.model_dump(mode="json"),
            config.head.model_dump(mode="json"),
            config.train.dropout,
            config.train.attention_dropout,
            list(labels),
            config.weights_seed,
        ]
    )
    if key not in _models:
        _models[key] = _parts(registry, config, labels)
        while len(_models) > MAX_CACHED:
            _models.popitem(last=False)
    _models.move_to_end(key)
    head, tokenizer, model, source = _models[key]
    return head, tokenizer, copy.deepcopy(model), source


def build_engine(
    registry: Registry,
    config: RunConfig,
    labels: tuple[str, ...],
    numerics: Numerics,
    *,
    keep_model: bool,
) -> Engine:
    """Build head, tokenizer and a model that is yet to be trained.

    With `keep_model` the model stays in memory as it was built, and later calls get a copy.
    """
    build = _cached_parts if keep_model else _parts
    head, tokenizer, model, source = build(registry, config, labels)
    if config.train.lora.rank:
        model = add_adapters(model, config, source)
    return Engine(
        model=prepare_model(model, numerics),
        head=head,
        tokenizer=tokenizer,
        labels=labels,
        precision=numerics.precision,
        eval_batch_size=config.train.eval_batch_size,
    )


def prepare_model(model: PreTrainedModel, numerics: Numerics) -> PreTrainedModel:
    """Set attention and dropout of a model for this machine and move it to its device."""
    attention = numerics_for(model, numerics).attention
    try:
        model.set_attn_implementation(register_cpu_attention() if attention == "cpu" else attention)
    except (ValueError, ImportError) as error:
        cause = in_one_line(error).partition(". ")[0].removesuffix(" yet")
        raise ConfigError(
            f"`train.attention={attention}`: {cause}. Use `eager` or `auto`."
        ) from error
    if attention != "eager" and has_own_attention(model):
        raise ConfigError(
            f"`train.attention={attention}`: a `{model.config.model_type}` of transformers has its "
            "own attention alone. Use `eager` or `auto`."
        )
    if numerics.device == "cpu":
        use_cheap_dropout(model)
    if numerics.device == "cuda" and attention == "sdpa":
        use_gpu_attention(model)
    return model.to(numerics.device)
