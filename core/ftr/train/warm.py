"""What a process that trains many times keeps: head, tokenizer and the model as it was built, ready to be copied."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr.train.components import make_head, make_model
from ftr.train.inference import EncodedSplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.config.models import RunConfig
    from ftr.data.encode import StoredSplit
    from ftr.protocols import Head
    from ftr.registry import Registry

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


def build_parts(registry: Registry, config: RunConfig, labels: Sequence[str], *, keep: bool) -> Parts:
    """Return head, tokenizer and a fresh model for `config`.

    With `keep` the model stays in memory as it was built and later calls get a copy: what decides it is the model, the
    head, their options, dropout, labels and the seed.
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
    """Memory-map an encoded split; with `keep` it stays open for the next training of this process."""
    if not keep:
        return EncodedSplit(*place.open())
    key = (place.rows, place.features)
    if key not in _opened:
        _opened[key] = EncodedSplit(*place.open())
    return _opened[key]


def settle_memory() -> None:
    """Take what is alive now out of the garbage collector's rounds: it is modules and kept parts, and stays.

    Every `Trainer` begins with a full collection, which takes half a second over all of torch and transformers.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def trim_memory() -> None:
    """Give freed memory back to the system: each trial trains in a thread of its own, and what its arena held would stay."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _built(registry: Registry, config: RunConfig, labels: Sequence[str]) -> Parts:
    from transformers import set_seed

    head = make_head(registry, config.head)
    source = make_model(registry, config.model, config.train)
    set_seed(config.weights_seed)
    return Parts(head, source.tokenizer(), head.build(source, labels, config.weights_seed), source.describe())
