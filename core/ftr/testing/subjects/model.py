"""A named pretrained model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ModelError
from ftr.testing.contract import must_work
from ftr.testing.subjects.component import Component

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.registry.protocols import Model
    from ftr.registry.registry import Registry

TEXTS = (
    "a good film",
    "the old mill stands by the river near the village , and nobody knows who built it",
)


class ModelSubject(Component):
    """A model, loaded once for a classification of three classes."""

    def __init__(
        self, registry: Registry, name: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing is loaded yet."""
        super().__init__(registry, "model", name, options)

    @cached_property
    def source(self) -> Model:
        """What the target gives."""
        model: Model = self.make()
        return model

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer. Skips the check where it lies on a hub that cannot be reached."""
        with must_work(
            f"`tokenizer` of {self} returns its tokenizer",
            "let `tokenizer` return what `AutoTokenizer.from_pretrained` gives",
        ):
            try:
                return self.source.tokenizer()
            except ModelError as error:
                if "hub" in str(error):
                    pytest.skip(str(error))
                raise

    @cached_property
    def loaded(self) -> PreTrainedModel:
        """The model, in evaluation mode."""
        return self.load().eval()

    def load(self) -> PreTrainedModel:
        """Load it anew."""
        from transformers import AutoModelForSequenceClassification

        _ = self.tokenizer
        promise = (
            f"`load` of {self} returns `auto_class` with the pretrained weights and the config "
            "values that a head gives"
        )
        with must_work(
            promise,
            "let `load` call `auto_class.from_pretrained` with them; the `load` of "
            "`ftr.plugin.Model` does all of it",
        ):
            return self.source.load(AutoModelForSequenceClassification, num_labels=3)
