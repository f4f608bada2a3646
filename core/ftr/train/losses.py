"""The loss of a micro-batch, and its weight in an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftr.errors import PluginError
from ftr.registry.protocols import RowLosses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn
    from transformers.utils.generic import ModelOutput

    from ftr.registry.protocols import Head
    from ftr.train.batches import MicroBatch


@dataclass(frozen=True, slots=True)
class Objective:
    """What a step minimises: the mean of its terms, or that of its examples' losses, weighted and
    with smoothed targets.

    An example weighs w_i (1 where there are no weights): the loss of a step is sum_i w_i l_i /
    sum_i w_i, as in torch's `CrossEntropyLoss(weight=...)`, over all micro-batches and workers.
    """

    head: Head
    smoothing: float = 0.0

    def weight(self, micro: MicroBatch) -> float:
        """Return how much a micro-batch weighs in its step."""
        if not micro.examples:
            return 0.0
        if micro.weights is not None:
            return float(micro.weights.sum())
        return micro.examples if self.smoothing else loss_terms(micro)

    def part(
        self,
        micro: MicroBatch,
        scale: float,
        model: nn.Module,
        outputs: ModelOutput,
        inputs: Mapping[str, Tensor],
    ) -> Tensor:
        """Return what a micro-batch adds to the loss of its step, `scale` being 1 / the sum of all
        weights of the step.

        `inputs` are the tensors of `micro` on the model's device. Raises `PluginError` when there
        is no loss.
        """
        if micro.weights is None and not self.smoothing:
            loss = mean_loss(self.head, model, outputs, inputs, outputs.get("loss"))
            return (
                loss * (self.weight(micro) * scale) if micro.examples else loss.nan_to_num() * 0.0
            )
        losses = row_losses(self.head, outputs, inputs, self.smoothing)
        if not micro.examples:
            return losses.sum().nan_to_num() * 0.0
        if micro.weights is not None:
            losses = losses * micro.weights.to(device=losses.device, dtype=losses.dtype)
        return losses.sum() * scale


def row_losses(
    head: Head, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
) -> Tensor:
    """Return the loss of each example of a micro-batch, of shape (batch,).

    Raises `PluginError` when the head gives anything else.
    """
    if not isinstance(head, RowLosses):
        raise PluginError(
            f"the head `{type(head).__qualname__}` has no `row_losses`, so its examples cannot be "
            "weighted."
        )
    losses = head.row_losses(outputs, inputs, smoothing)
    batch = len(next(iter(inputs.values())))
    if losses.shape != (batch,):
        raise PluginError(
            f"`row_losses` of the head `{type(head).__qualname__}` returned the shape "
            f"{tuple(losses.shape)} for {batch} examples: return one loss for each, ({batch},)."
        )
    return losses


def mean_loss(
    head: Head,
    model: nn.Module,
    outputs: ModelOutput,
    inputs: Mapping[str, Tensor],
    own: Tensor | None,
) -> Tensor:
    """Return the mean loss of a micro-batch: the head's, else the model's `own`.

    Raises `PluginError` when there is neither.
    """
    loss = head.loss(outputs, inputs)
    if loss is not None:
        return loss
    if own is not None:
        return own
    raise PluginError(
        f"the model `{type(model).__name__}` gives no loss for what `collate` gave "
        f"({', '.join(inputs)}), and `loss` of the head `{type(head).__qualname__}` returned None: "
        "return one there."
    )


def loss_terms(micro: MicroBatch) -> int:
    """Return how many terms the mean loss of a micro-batch has: class ids that are not ignored
    (-100), else examples.
    """
    return terms(micro.inputs, micro.examples) if micro.examples else 0


def terms(inputs: Mapping[str, Tensor], examples: int) -> int:
    """Return how many terms the mean loss of a batch of `examples` has."""
    labels = inputs.get("labels")
    return examples if labels is None or labels.is_floating_point() else int((labels != -100).sum())
