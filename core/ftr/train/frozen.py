"""Outputs of a frozen backbone, computed once for a content and a model, and read by every epoch,
evaluation and trial after that.

A backbone that does not train and draws no dropout gives an example the same output each time. Most
heads read one vector of it: the pooled output, or the hidden state of the first token. Whether that
is enough is tried out: the model must give the same logits from this vector alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.data.encode import cache_folder, code_identity
from ftr.registry.discovery import own_version
from ftr.registry.registry import Registry
from ftr.train.batches import Indices
from ftr.train.costs import size
from ftr.train.hardware import Numerics
from ftr.train.stored import FIRST, POOLED, CannotStoreError, StoredOutputs, backbone_of

if TYPE_CHECKING:
    from datasets import Dataset

    from ftr.train.inference import EncodedSplit, Engine

PROBED = 8
"""Examples on which it is tried out what the head reads."""
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 5e-3}
"""Of logits, between passes of other shapes."""
DROPOUT = "it draws dropout: set `train.dropout=0` and `train.attention_dropout=0`"


def check_applies(config: RunConfig, world: int) -> None:
    """Raise `CannotStoreError` where the settings let a backbone differ from pass to pass."""
    train = config.train
    for wrong, reason in (
        (train.freeze != "backbone" or train.unfreeze is not None, "not all of it is frozen"),
        (not train.cache_outputs, "`train.cache_outputs` is false"),
        (world > 1, "several processes train"),
        (train.activation_checkpointing, "`train.activation_checkpointing` is on"),
        (bool(config.trainer.get("torch_compile")), "`trainer.torch_compile` is on"),
    ):
        if wrong:
            raise CannotStoreError(reason)


def store_outputs(
    engine: Engine,
    config: RunConfig,
    registry: Registry,
    numerics: Numerics,
    splits: dict[str, tuple[str, EncodedSplit]],
) -> StoredOutputs:
    """Return the outputs of a frozen backbone for all examples of `splits` (the file of the
    features, and these), from the cache or computed now.

    Raises `CannotStoreError` where they cannot stand in for the backbone, or the disk has no room,
    and `OSError` where it refuses.
    """
    stored = _probed(engine, splits["train"][1])
    folder = cache_folder(config.data.cache, config.output) / "outputs"
    own = _identity(engine, config, registry, numerics, stored)
    for name in ("train", "validation"):
        if name in splits:
            file, split = splits[name]
            place = folder / atomic.sha256(f"{own}\n{_file_hash(file, *_state(file))}")[:32]
            stored.vectors[id(split.features)] = _read_or_compute(place, engine, stored, split)
    return stored


def _probed(engine: Engine, split: EncodedSplit) -> StoredOutputs:
    """Return the stand-in from whose vectors alone the model gives its own logits.

    Raises `CannotStoreError` where there is none.
    """
    model = engine.model
    backbone = backbone_of(model)
    # The longest too: of one token, the first is the last and the mean.
    rows = np.unique([*range(min(PROBED, len(split.features))), int(split.lengths.argmax())])
    with _noted(backbone) as seen:
        expected = engine.run(split.features, rows)
    if len(seen) != 1 or not isinstance(seen[0].output, ModelOutput):
        raise CannotStoreError("the head does not run it once for a batch")
    output = seen[0].output
    trained = _in_training(engine, backbone, seen[0])
    hidden, again = output.get("last_hidden_state"), trained.get("last_hidden_state")
    dropout = any(isinstance(one, nn.Dropout) and one.p for one in backbone.modules())
    if hidden is None or dropout or not torch.allclose(hidden, again, rtol=0, atol=1e-6):
        raise CannotStoreError(DROPOUT)
    pooler = getattr(backbone, "pooler", None)
    frozen = pooler is None or not any(one.requires_grad for one in pooler.parameters())
    for kind in (POOLED, FIRST):
        if kind == POOLED and (not frozen or output.get("pooler_output") is None):
            continue
        dtype = output["pooler_output"].dtype if kind == POOLED else hidden.dtype
        stored = StoredOutputs(model, kind, type(output), dtype)
        if _same(engine, stored, output, (split.features, rows), expected):
            return stored
    raise CannotStoreError("the head reads the states of all tokens, which would be large")


def _same(
    engine: Engine,
    stored: StoredOutputs,
    output: ModelOutput,
    batch: tuple[Dataset, Indices],
    expected: ModelOutput,
) -> bool:
    """Whether the model gives the `expected` outputs from what is stored of the backbone's."""
    stored.install()
    try:
        stored.choose(stored.vector(output).float().cpu().numpy())
        found = engine.run(*batch)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError):
        return False  # the head asks for what is not there
    finally:
        stored.remove()
    near = TOLERANCE[engine.precision]
    mine, known = (
        {key: one for key, one in output.items() if isinstance(one, Tensor)}
        for output in (found, expected)
    )
    return mine.keys() == known.keys() and all(
        mine[key].shape == one.shape
        and torch.allclose(mine[key].float(), one.float(), rtol=near, atol=near)
        for key, one in known.items()
    )


class Pass(NamedTuple):
    """What a backbone was given, and what it returned."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    output: Any


@contextmanager
def _noted(backbone: nn.Module) -> Iterator[list[Pass]]:
    """Yield a list that gets the passes of the backbone."""
    seen: list[Pass] = []
    handle = backbone.register_forward_hook(
        lambda module, *given: seen.append(Pass(*given)), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()


def _in_training(engine: Engine, backbone: nn.Module, given: Pass) -> ModelOutput:
    """Return what the backbone returns where it is in training mode."""
    from ftr.train.inference import autocast

    was_training = backbone.training
    backbone.train()
    try:
        with torch.inference_mode(), autocast(engine.model.device.type, engine.precision):
            output: ModelOutput = backbone(*given.arguments, **given.options)
    finally:
        backbone.train(was_training)
    return output


def _read_or_compute(
    place: Path, engine: Engine, stored: StoredOutputs, split: EncodedSplit
) -> npt.NDArray[np.float32]:
    """Memory-map the vectors of a split; the first process that needs them computes them, while
    others wait.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = place / "outputs.npy"
    with atomic.folder_locked(place):
        known = _mapped(path, len(split.features))
        if known is not None:
            return known
        atomic.clear_leftovers(place, held=True)
        with atomic.workroom(path) as fresh:
            _compute(fresh / path.name, engine, stored, split)
            atomic.to_disk(fresh)
            (fresh / path.name).replace(path)
            atomic.sync(place)
        known = _mapped(path, len(split.features))
    if known is None:
        raise CannotStoreError(f"`{path}` cannot be read back")
    return known


def _mapped(path: Path, count: int) -> npt.NDArray[np.float32] | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing, or cut off
        return None
    fits = found.ndim == 2 and len(found) == count and found.dtype == np.float32
    return found if fits else None


def _compute(path: Path, engine: Engine, stored: StoredOutputs, split: EncodedSplit) -> None:
    """Run the backbone over a split, batch by batch, into a file."""
    made: npt.NDArray[np.float32] | None = None
    with _noted(stored.backbone) as seen:

        def ask(features: Dataset, batch: Indices) -> list[None]:
            nonlocal made
            seen.clear()
            engine.run(features, batch)
            vectors = stored.vector(seen[0].output).float().cpu().numpy()
            if made is None:
                made = _room(path, len(features), vectors.shape[1])
            made[batch] = vectors
            return [None] * len(batch)

        engine.each(split, ask, rank=0, world=1)
    if isinstance(made, np.memmap):
        made.flush()


def _room(path: Path, count: int, width: int) -> npt.NDArray[np.float32]:
    needed, free = count * width * 4, shutil.disk_usage(path.parent).free
    if needed > free / 2:
        raise CannotStoreError(
            f"its outputs take {size(needed)} and `{path.parent.parent}` has {size(free)} free"
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, width))


def _identity(
    engine: Engine,
    config: RunConfig,
    registry: Registry,
    numerics: Numerics,
    stored: StoredOutputs,
) -> str:
    """Name all that the outputs depend on besides the examples."""
    plugin = registry.find("head", config.head.name).plugin
    backbone = stored.backbone
    described = getattr(backbone, "config", None)
    return json.dumps(
        [
            stored.kind,
            _weights_hash(backbone),
            f"{type(backbone).__module__}:{type(backbone).__qualname__}",
            described.to_dict() if described is not None else None,
            code_identity(type(engine.head), config.head.options, plugin.version, plugin),
            [numerics.precision, numerics.attention, numerics.device],
            [torch.__version__, transformers.__version__, own_version()],
        ],
        sort_keys=True,
        default=str,
    )


def _weights_hash(backbone: nn.Module) -> str:
    """Return a hash of all that is frozen in a backbone."""
    digest = hashlib.sha256()
    trains = {name for name, one in backbone.named_parameters() if one.requires_grad}
    for name, tensor in backbone.state_dict().items():
        if name not in trains:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _state(file: str) -> tuple[int, int]:
    status = Path(file).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _file_hash(file: str, length: int, changed: int) -> str:
    """Return the sha256 of a file of that size and time of change."""
    return atomic.sha256(Path(file))
