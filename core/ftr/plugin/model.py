"""The base class of a pretrained model that a plugin changes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.registry import protocols


class Model:
    """A pretrained model: a checkpoint, and what is done to it. `ftr.registry.protocols.Model`.

    class Shallow(Model):
        checkpoint = "minilm"

        def load(self, auto_class, **config):
            return super().load(auto_class, num_hidden_layers=4, **config)

    `checkpoint` is a registered model, a Hub id (`owner/name`) or a directory.
    """

    checkpoint: ClassVar[str]

    def __init__(self, options: BaseModel | None = None) -> None:
        """Take the options of the model."""
        self.options = options

    @cached_property
    def base(self) -> protocols.Model:
        """The checkpoint as ftr loads it."""
        from ftr.config.schema import Component
        from ftr.model.components import make_model
        from ftr.registry.registry import get_registry

        return make_model(get_registry(), Component(name=self.checkpoint))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer, with a pad token."""
        return self.base.tokenizer()

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` with the pretrained weights and `config` values set."""
        return self.base.load(auto_class, **config)

    def max_length(self) -> int | None:
        """Return the longest input in tokens, None where there is no limit."""
        return self.base.max_length()

    def describe(self) -> dict[str, Any]:
        """Return where the weights came from, for the record of a run."""
        return self.base.describe()
