"""The loss of a micro-batch, and how much it weighs among those of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftr.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn
    from transformers.utils.generic import ModelOutput

    from ftr.protocols import Head
    from ftr.train.steps import MicroBatch


def mean_loss(head: Head, model: nn.Module, outputs: ModelOutput, inputs: Mapping[str, Tensor], own: Tensor | None) -> Tensor:
    """Return the mean loss of a micro-batch: the head's, else the model's `own`. Raises `PluginError` when there is neither."""
    loss = head.loss(outputs, inputs)
    if loss is not None:
        return loss
    if own is not None:
        return own
    raise PluginError(
        f"the model `{type(model).__name__}` gives no loss for what `collate` gave ({', '.join(inputs)}), and `loss` of the head "
        f"`{type(head).__qualname__}` returned None: return one there."
    )


def loss_terms(micro: MicroBatch) -> int:
    """Return how many terms the mean loss of a micro-batch has: class ids that are not ignored (-100), else examples."""
    if not micro.examples:
        return 0
    labels = micro.inputs.get("labels")
    return micro.examples if labels is None or labels.is_floating_point() else int((labels != -100).sum())
