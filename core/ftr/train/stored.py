"""Outputs of a backbone that are stored, and stand in for it in a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from ftr.train.batches import Indices

if TYPE_CHECKING:
    from datasets import Dataset

POOLED, FIRST = "pooler_output", "first token"


class CannotStoreError(Exception):
    """Why the outputs of a backbone are not stored; the backbone runs in every pass."""


@dataclass(eq=False)
class StoredOutputs:
    """Stands in for the backbone of a model: returns what it gave the examples that `select` names.

    `kind` says which vector of an example is stored, `vectors` has those of each split, of shape
    (examples, hidden size), by the id of its features. Without a selection the backbone runs.
    """

    model: PreTrainedModel
    kind: str
    output: type[ModelOutput]
    dtype: torch.dtype
    vectors: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    _chosen: Tensor | None = None

    @property
    def backbone(self) -> nn.Module:
        """The module that is replaced."""
        return backbone_of(self.model)

    def install(self) -> None:
        """Take the place of the backbone. Its weights stay, so the model is saved as a whole."""
        backbone = self.backbone
        run: Callable[..., Any] = backbone.forward

        def forward(*arguments: Any, **options: Any) -> Any:
            chosen, self._chosen = self._chosen, None
            return run(*arguments, **options) if chosen is None else self.outputs(chosen)

        backbone.forward = forward

    def remove(self) -> None:
        """Let the backbone run again."""
        self.backbone.__dict__.pop("forward", None)

    def select(self, features: Dataset, rows: Indices | None) -> None:
        """Name the examples of the next pass, in its order: `rows` of `features`."""
        known = self.vectors.get(id(features))
        self._chosen = None
        if known is not None and rows is not None:
            self.choose(known[rows])

    def choose(self, vectors: npt.NDArray[np.float32]) -> None:
        """Give the vectors of the next pass, in its order."""
        found = torch.from_numpy(np.ascontiguousarray(vectors))
        self._chosen = found.to(self.model.device, self.dtype)

    def outputs(self, vectors: Tensor) -> ModelOutput:
        """Return what the head reads, from the vectors of a batch, of shape (batch, hidden)."""
        hidden = vectors[:, None]
        if self.kind == POOLED:
            nothing = torch.full_like(hidden, torch.nan)
            return self.output(last_hidden_state=nothing, pooler_output=vectors)
        pooler = getattr(self.backbone, "pooler", None)
        pooled = {} if pooler is None else {"pooler_output": pooler(hidden)}
        return self.output(last_hidden_state=hidden, **pooled)

    def vector(self, output: ModelOutput) -> Tensor:
        """Return the vectors to store of what the backbone gave a batch."""
        pooled = self.kind == POOLED
        found: Tensor = output["pooler_output"] if pooled else output["last_hidden_state"][:, 0]
        return found


def backbone_of(model: PreTrainedModel) -> nn.Module:
    """Return the backbone of a model. Raises `CannotStoreError` where it is the model itself."""
    base: nn.Module = model.base_model
    if base is model:
        raise CannotStoreError("the model has no backbone apart from its head")
    pooler = getattr(base, "pooler", None)
    trains = {id(one) for one in base.parameters() if one.requires_grad}
    if trains - {id(one) for one in pooler.parameters()} if pooler is not None else trains:
        raise CannotStoreError("a part of it trains")
    return base
