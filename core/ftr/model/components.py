"""The head and model of a configuration, created from the registry."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ftr.config.components import create_component
from ftr.config.schema import Component, PretrainedOptions, RunConfig, TrainConfig
from ftr.data.encode import StoredSplit, encode_rows
from ftr.errors import ConfigError, ModelError, did_you_mean
from ftr.model.folder import ModelCard
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings, Head, Model, Row
from ftr.registry.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LENGTH_CAP = 512
"""Longest input in tokens where neither configuration nor model limits it: that of BERT."""


def make_head(registry: Registry, component: Component) -> Head:
    """Return the head with its options. Raises `UnknownComponentError` or `PluginError`."""
    head: Head = create_component(registry, "head", component)
    return head


def make_model(registry: Registry, component: Component, train: TrainConfig | None = None) -> Model:
    """Return the named model, or any checkpoint by directory or hub id, with the dropout of `train`
    when given.
    """
    if registry.has("model", component.name):
        model: Model = create_component(registry, "model", component)
    elif not Path(component.name).is_absolute() and Path(component.name).is_dir():
        # A configuration holds absolute paths: this is a Hub id, and transformers would read the
        # folder.
        raise ModelError(
            f"`model={component.name}` is a model of the Hub, and a folder of this name is here "
            f"(`{Path(component.name).absolute()}`): rename the folder, or start another run with "
            f"`model=./{component.name}`."
        )
    else:
        model = Pretrained(
            component.name,
            PretrainedOptions.model_validate(component.options),
            hint=did_you_mean(component.name, registry.names("model")),
        )
    if train is not None and (train.dropout is not None or train.attention_dropout is not None):
        if not isinstance(model, Pretrained):
            raise ConfigError(
                f"`train.dropout`: model `{component.name}` sets its own dropout. Leave the key "
                "out."
            )
        model.dropout, model.attention_dropout = train.dropout, train.attention_dropout
    return model


def check_kind(head: Head, model: Model, labels: Sequence[str]) -> None:
    """Raise `ModelError` before anything is encoded where transformers has no model of this kind
    for the head.
    """
    if isinstance(model, Pretrained):
        with contextlib.suppress(_Asked):
            head.build(_KindOnly(model), labels, 0)


class _Asked(Exception):  # noqa: N818 - the way out of `build` before any weights are read
    """The model class that the head needs is known."""


class _KindOnly:
    """A model whose `load` checks the kind alone."""

    def __init__(self, model: Pretrained) -> None:
        self.check_kind, self.tokenizer = model.check_kind, model.tokenizer
        self.max_length, self.describe = model.max_length, model.describe
        self.complete = True  # no weights are drawn

    def load(self, auto_class: type[Any], **config: Any) -> NoReturn:
        self.check_kind(auto_class)
        raise _Asked


def encode_settings(
    config: RunConfig, model: Model, labels: Sequence[str], notes: list[str]
) -> EncodeSettings:
    """Return lengths for encoding: `data.max_length`, at most what the model can read (`notes`
    gets a line about it).
    """
    limit = model.max_length()
    asked = config.data.max_length or min(limit or LENGTH_CAP, LENGTH_CAP)
    length = min(asked, limit or asked)
    if length < asked:
        notes.append(
            f"data.max_length {asked} is more than model `{config.model.name}` can read: "
            f"{length} is used"
        )
    stride = config.data.stride if length == asked else min(config.data.stride, length // 4)
    return EncodeSettings(max_length=length, stride=stride, labels=tuple(labels))


def encode_targets(
    registry: Registry,
    config: RunConfig,
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    card: ModelCard,
    rows: Sequence[Row],
) -> StoredSplit:
    """Encode held-out rows as training rows (with targets for the loss), or use the cache."""
    settings = EncodeSettings(
        max_length=card.max_length, stride=card.stride, labels=tuple(card.labels)
    )
    return encode_rows(config, registry, head, tokenizer, settings, rows)
