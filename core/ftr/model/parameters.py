"""The parts of a model from embeddings to head, and which of them train from which step on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr.config.schema import RunConfig, TrainConfig
from ftr.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


EMBEDDINGS, HEAD = "embeddings", "head"
LAYERS_APART = 4
"""Lists of modules below the largest one's parameters over this are no layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Parameters that are frozen or trained together.

    `depth` is 0 for the embeddings, 1, 2, ... for the layers from the lowest up, and one more for
    the head. What else the backbone has above its layers (a pooler, a last norm) is a part with the
    depth of the highest layer.
    """

    name: str
    depth: int
    parameters: tuple[nn.Parameter, ...]

    @property
    def layer(self) -> int | None:
        """The number of the layer, counted from 0 at the bottom, or None for what is no layer."""
        return int(self.name.removeprefix("layer ")) if self.name.startswith("layer ") else None

    @property
    def size(self) -> int:
        """How many numbers its parameters are."""
        return sum(parameter.numel() for parameter in self.parameters)


def parts_of(model: nn.Module) -> list[Part]:
    """Return the parts of a model from the lowest to the head, without those that have no
    parameters.

    The backbone is the module that `base_model_prefix` names; what of it the checkpoint did not
    have (`new_weights` of the model, such as the pooler that a masked language model lacks) belongs
    to the head. Its layers are the items of its largest `nn.ModuleList` (of an encoder and a
    decoder, of both). What comes before them, and every `nn.Embedding` beside them, are the
    embeddings.
    """
    from torch import nn

    inner: Any = getattr(model, "get_base_model", lambda: model)()
    base = getattr(inner, "base_model", inner)
    new = {
        id(parameter)
        for name, parameter in inner.named_parameters()
        if name in getattr(inner, "new_weights", ())
    }
    layers = layers_of(base)
    layer_of = {
        id(parameter): f"layer {number}"
        for number, layer in enumerate(layers)
        for parameter in layer.parameters()
    }
    tables = {
        id(parameter)
        for module in base.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    depths = {EMBEDDINGS: 0, **{f"layer {number}": number + 1 for number in range(len(layers))}}
    found: dict[str, list[nn.Parameter]] = {name: [] for name in depths}
    within: set[int] = set()
    below = bool(layers)
    for name, parameter in base.named_parameters():
        layer = layer_of.get(id(parameter))
        below = below and layer is None
        if id(parameter) not in new:
            within.add(id(parameter))
            early = below or id(parameter) in tables
            part = layer or (EMBEDDINGS if early else name.partition(".")[0])
            found.setdefault(part, []).append(parameter)
    found[HEAD] = [parameter for parameter in inner.parameters() if id(parameter) not in within]
    depths[HEAD] = len(layers) + 1
    return [
        Part(name, depths.get(name, len(layers)), tuple(values))
        for name, values in found.items()
        if values
    ]


def layers_of(base: nn.Module) -> list[nn.Module]:
    """Return the layers of a backbone, lowest first; none where it has no list of modules."""
    lists = _lists(base)
    sizes = [sum(parameter.numel() for parameter in modules.parameters()) for modules in lists]
    return [
        layer
        for modules, size in zip(lists, sizes, strict=True)
        if size * LAYERS_APART >= max(sizes)
        for layer in modules.children()
    ]


def _lists(module: nn.Module) -> list[nn.Module]:
    from torch import nn

    found: list[nn.Module] = []
    for child in module.children():
        found += [child] if isinstance(child, nn.ModuleList) else _lists(child)
    return found


class TrainableParts:
    """Which parts of a model train, and from which optimizer step on.

    Those that never do have `requires_grad` off from the beginning. The others have it on until
    `at` is called: whoever wraps the model or makes an optimizer for it sees every parameter that
    will ever train.
    """

    def __init__(self, model: nn.Module, config: RunConfig) -> None:
        """Freeze what never trains.

        Raises `ConfigError` when nothing is left, or when the model has no such layers.
        """
        self.train = config.train
        self.adapters = bool(config.train.lora.rank)
        self.parts = _training(parts_of(model)) if self.adapters else parts_of(model)
        self.total = sum(parameter.numel() for parameter in model.parameters())
        frozen = [] if self.adapters else _frozen(self.parts, config)
        self.stages = _stages(frozen, config.train)
        for part in frozen:
            if part.name not in self.stages:
                for parameter in part.parameters:
                    parameter.requires_grad_(False)
        # What trains from the first step on.
        self.first = [part for part in self.parts if part not in frozen]
        if not self.first:
            raise ConfigError(
                f"`train.freeze={config.train.freeze}` leaves nothing to train: head "
                f"`{config.head.name}` adds no weights to model `{config.model.name}`. Freeze less."
            )

    def step_of(self, stage: int, steps_in_epoch: int) -> int:
        """Return the number of optimizer steps done before the parts of `stage` begin to train."""
        # An epoch of ten steps and 0.3 epochs are three steps, not four.
        return math.ceil((self.train.frozen_epochs + stage) * steps_in_epoch - 1e-9)

    def begins(self, step: int, steps_in_epoch: int) -> list[Part]:
        """Return the parts that begin to train when `step` steps are done."""
        return [
            part
            for part in self.parts
            if part.name in self.stages
            and self.step_of(self.stages[part.name], steps_in_epoch) == step
        ]

    def at(self, step: int, steps_in_epoch: int) -> list[Part]:
        """Set `requires_grad` for what trains after `step` steps; return these parts."""
        if not self.stages:
            return self.last
        now = [*self.first]
        for part in self.parts:
            if part.name in self.stages:
                trains = self.step_of(self.stages[part.name], steps_in_epoch) <= step
                for parameter in part.parameters:
                    parameter.requires_grad_(trains)
                now += [part] if trains else []
        return sorted(now, key=self.parts.index)

    @property
    def last(self) -> list[Part]:
        """The parts that ever train."""
        return [part for part in self.parts if part in self.first or part.name in self.stages]

    def line(self, parts: Sequence[Part]) -> str:
        """Return what trains as a log line: `1.2M of 22.7M parameters: layers 4-5 and the head`."""
        size = sum(part.size for part in parts)
        if size == self.total:
            return f"all {short(size)} parameters"
        return (
            f"{short(size)} of {short(self.total)} parameters: "
            f"{'adapters in ' if self.adapters else ''}{_words(parts)}"
        )

    def record(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return the entries of a record: `parameters`, `trainable_parameters`, and `trains`, the
        names of the parts.
        """
        size = sum(part.size for part in parts)
        return {
            "parameters": self.total,
            "trainable_parameters": size,
            "trains": [part.name for part in parts],
        }


def short(number: int) -> str:
    """Return a count of parameters as people write it: `22.7M`, `98.7k`, `770`."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:{'.3g' if number < 1000 * unit else '.0f'}}{name}"
    return str(number)


def _words(parts: Sequence[Part]) -> str:
    numbers = [part.layer for part in parts if part.layer is not None]
    layers = []
    if numbers:
        more = len(numbers) > 1
        layers = [f"layers {numbers[0]}-{numbers[-1]}" if more else f"layer {numbers[0]}"]
    others = [part for part in parts if part.layer is None]
    below = [f"the {part.name}" for part in others if part.depth == 0]
    above = [f"the {part.name}" for part in others if part.depth]
    *first, last = [*below, *layers, *above]
    return " and ".join([", ".join(first), last] if first else [last])


def _training(parts: Sequence[Part]) -> list[Part]:
    """Return the parts with their trainable parameters: of a model with adapters, these and the
    head.
    """
    found = [
        Part(part.name, part.depth, tuple(one for one in part.parameters if one.requires_grad))
        for part in parts
    ]
    return [part for part in found if part.parameters]


def _frozen(parts: Sequence[Part], config: RunConfig) -> list[Part]:
    freeze = config.train.freeze
    if freeze is None:
        return []
    if freeze == "backbone":
        return [part for part in parts if part.name != HEAD]
    count = sum(part.layer is not None for part in parts)
    lowest = 0 if freeze == "embeddings" else int(freeze)
    if lowest > count:
        raise ConfigError(
            f"`train.freeze={freeze}`: model `{config.model.name}` has {count} layers. "
            f"Give at most {count}, or `backbone` for all that is not the head."
        )
    return [
        part
        for part in parts
        if part.name == EMBEDDINGS or (part.layer is not None and part.layer < lowest)
    ]


def _stages(frozen: Sequence[Part], train: TrainConfig) -> dict[str, int]:
    """Return at which stage of unfreezing each part begins to train; the highest begin, a pooler
    begins with the highest layer.
    """
    if train.unfreeze is None:
        return {}
    depths = sorted({part.depth for part in frozen}, reverse=True)
    return {
        part.name: 0 if train.unfreeze == "all" else depths.index(part.depth) // train.unfreeze
        for part in frozen
    }
