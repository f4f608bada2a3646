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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ftr.errors import ConfigError, PluginError, in_one_line
from ftr.model.adapters import add_adapters
from ftr.model.components import make_head, make_model
from ftr.model.dropout import register_cpu_attention, use_cheap_dropout
from ftr.registry.protocols import Combines, RowLosses, Votes
from ftr.train.batches import Indices, by_length
from ftr.train.hardware import numerics_for
from ftr.train.memory import Fitting, free_memory, is_out_of_memory
from ftr.train.steps import feature_rows, mean_loss, row_losses, terms

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from ftr.config.schema import RunConfig
    from ftr.data.encode import StoredSplit
    from ftr.registry.protocols import Head, Prediction, Row, State
    from ftr.registry.registry import Registry
    from ftr.train.hardware import Numerics


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A model with what is needed to ask it: head, tokenizer, label names, number format and batch
    size.

    `others` are asked as well, and the head combines what all give; with `votes`, a weight for each
    model, they vote instead. Raises `PluginError` when it cannot.
    """

    model: PreTrainedModel
    head: Head
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    precision: str = "fp32"
    eval_batch_size: int | str = "auto"
    others: tuple[PreTrainedModel, ...] = ()
    fitting: Fitting = field(default_factory=Fitting)
    votes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a head that cannot combine, before anything is computed."""
        if self.votes:
            voter(self.head)
        elif self.others:
            combiner(self.head)

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
        told how many features are done. Where memory runs out the batches become smaller, and stay
        so: see `fitting`.
        """
        found = self._each(split, self._reduce, rank, world, tick)
        grouped: list[list[Any]] = [[] for _ in range(len(split.rows))]
        for feature, owner in enumerate(split.owners.tolist()):
            grouped[owner].append(found[feature])
        return grouped

    def loss(self, split: EncodedSplit, rank: int = 0, world: int = 1) -> float:
        """Return the mean loss of a split that was encoded with targets: no label smoothing, all
        examples weigh the same.

        The mean is over examples (the windows of a question are one each); of a head without
        `row_losses` it is over the terms of each batch's own mean. Raises `PluginError` when head
        and model give no loss.
        """
        found = self._each(split, self._losses, rank, world).values()
        return float(
            sum(loss * weight for loss, weight in found) / sum(weight for _, weight in found)
        )

    def _each(
        self,
        split: EncodedSplit,
        ask: Callable[[Dataset, Indices], list[Any]],
        rank: int,
        world: int,
        tick: Callable[[int], None] | None = None,
    ) -> dict[int, Any]:
        """Return what `ask` gives for each feature of a split."""
        pending, lengths = deque(self._batches(split)[rank::world]), split.lengths
        found: dict[int, Any] = {}
        while pending:
            batch, *rest = self.fitting.cut(pending.popleft(), lengths)
            pending.extendleft(reversed(rest))
            records = self._fitted(ask, split.features, batch)
            if records is None:
                free_memory(self.model.device.type)
                self.fitting.descend(len(batch), int(lengths[batch].max()), self.eval_batch_size)
                pending.appendleft(batch)
                continue
            found.update(zip(batch.tolist(), records, strict=True))
            if tick is not None:
                tick(len(found))
        return _gather(found, world) if world > 1 else found

    def decode(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], state: State
    ) -> list[Prediction]:
        """Turn the records of each row into its prediction."""
        return [
            self.head.decode(row, kept, state, self.labels)
            for row, kept in zip(rows, records, strict=True)
        ]

    def _batches(self, split: EncodedSplit) -> list[Indices]:
        if isinstance(self.eval_batch_size, int):
            return by_length(split.lengths, self.eval_batch_size, 1 << 62)
        return by_length(split.lengths, ROWS_PER_BATCH, TOKENS_PER_BATCH[self.model.device.type])

    def _fitted(
        self, ask: Callable[[Dataset, Indices], list[Any]], features: Dataset, batch: Indices
    ) -> list[Any] | None:
        """Return what is asked of a batch, None when memory ran out; the error, which holds
        tensors, is let go of.
        """
        try:
            return ask(features, batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _reduce(self, features: Dataset, batch: Indices) -> list[Any]:
        items = feature_rows(features, batch)
        inputs = {
            key: value.to(self.model.device)
            for key, value in self.head.collate(items, self.tokenizer).items()
        }
        outputs = [self._ask(model, inputs) for model in (self.model, *self.others)]
        return self.head.reduce(self._joined(outputs), items)

    def _losses(self, features: Dataset, batch: Indices) -> list[tuple[float, float]]:
        """Return the loss of each feature of a batch, and how much it weighs in the mean."""
        items = feature_rows(features, batch)
        inputs = {
            key: value.to(self.model.device)
            for key, value in self.head.collate(items, self.tokenizer).items()
        }
        outputs = self._joined([self._ask(model, inputs) for model in (self.model, *self.others)])
        if isinstance(self.head, RowLosses):
            return [(float(loss), 1.0) for loss in row_losses(self.head, outputs, inputs, 0.0)]
        mean = float(mean_loss(self.head, self.model, outputs, inputs, outputs.get("loss")))
        return [(mean, terms(inputs, len(batch)) / len(batch))] * len(batch)

    def _joined(self, outputs: list[ModelOutput]) -> ModelOutput:
        if self.votes:
            return voter(self.head).vote(outputs, self.votes)
        return combiner(self.head).combine(outputs) if self.others else outputs[0]

    def _ask(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> ModelOutput:
        with evaluating(model), torch.inference_mode(), autocast(model.device.type, self.precision):
            outputs: ModelOutput = model(**inputs)
        return outputs


def combiner(head: Head) -> Combines:
    """Return the head as one that combines outputs.

    Raises `PluginError` when it has no `combine`.
    """
    if isinstance(head, Combines):
        return head
    name = f"{type(head).__module__}:{type(head).__qualname__}"
    raise PluginError(
        f"the head `{name}` has no `combine`, so outputs of several models cannot be averaged: "
        "`soup3` averages weights."
    )


def voter(head: Head) -> Votes:
    """Return the head as one whose models vote. Raises `PluginError` when it has no `vote`."""
    if isinstance(head, Votes):
        return head
    name = f"{type(head).__module__}:{type(head).__qualname__}"
    raise PluginError(
        f"the head `{name}` has no `vote`, so a model trained with `boosting` cannot be asked."
    )


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


def _gather(found: dict[int, Any], world: int) -> dict[int, Any]:
    parts: list[dict[int, Any]] = [{}] * world
    torch.distributed.all_gather_object(parts, found)
    return {feature: record for part in parts for feature, record in part.items()}


MOST = 3
"""Models kept: repeats of a trial differ by seed, and a new head's weights follow from the seed."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A head, its tokenizer, and a model nobody else trains."""

    head: Head
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    source: dict[str, Any]
    """What the model says of where it came from."""


_kept: OrderedDict[str, Parts] = OrderedDict()
_opened: dict[tuple[str, str], EncodedSplit] = {}


def build_parts(
    registry: Registry, config: RunConfig, labels: Sequence[str], *, keep: bool
) -> Parts:
    """Return head, tokenizer and a fresh model for `config`.

    With `keep` the model stays in memory as it was built and later calls get a copy: what decides
    it is the model, the head, their options, dropout, labels and the seed.
    """
    if not keep:
        return _built(registry, config, labels)
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
    if key not in _kept:
        _kept[key] = _built(registry, config, labels)
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    parts = _kept[key]
    return Parts(parts.head, parts.tokenizer, copy.deepcopy(parts.model), parts.source)


def open_split(place: StoredSplit, *, keep: bool) -> EncodedSplit:
    """Memory-map an encoded split; with `keep` it stays open for the next training of this
    process.
    """
    if not keep:
        return EncodedSplit(*place.open())
    key = (place.rows, place.features)
    if key not in _opened:
        _opened[key] = EncodedSplit(*place.open())
    return _opened[key]


def freeze_garbage_collector() -> None:
    """Take what is alive now out of the garbage collector's rounds: it is modules and kept parts,
    and stays.

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


def _built(registry: Registry, config: RunConfig, labels: Sequence[str]) -> Parts:
    from transformers import set_seed

    head = make_head(registry, config.head)
    source = make_model(registry, config.model, config.train)
    set_seed(config.weights_seed)
    return Parts(
        head, source.tokenizer(), head.build(source, labels, config.weights_seed), source.describe()
    )


def build_engine(
    registry: Registry,
    config: RunConfig,
    labels: tuple[str, ...],
    numerics: Numerics,
    *,
    keep_model: bool,
) -> Engine:
    """Build head, tokenizer and a model that is yet to be trained; `keep_model` keeps what the next
    training in this process needs too.
    """
    parts = build_parts(registry, config, labels, keep=keep_model)
    model = (
        add_adapters(parts.model, config, parts.source) if config.train.lora.rank else parts.model
    )
    return Engine(
        model=prepare_model(model, numerics),
        head=parts.head,
        tokenizer=parts.tokenizer,
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
    if numerics.device == "cpu":
        use_cheap_dropout(model)
    return model.to(numerics.device)
