"""Optimizer steps: their micro-batches, their loss, and the accumulated gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ftr.config.schema import TrainConfig
from ftr.errors import PluginError
from ftr.model.attention import known_padding
from ftr.registry.protocols import Head, provides
from ftr.train.batches import Indices, MicroBatch
from ftr.train.hardware import (
    Ladder,
    Shape,
    free_memory,
    is_out_of_memory,
    moved,
    rng_state,
    set_rng_state,
)
from ftr.train.loader import Steps
from ftr.train.stored import StoredOutputs


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
        """Return the weight of a micro-batch in its step."""
        if not micro.examples:
            return 0.0
        if micro.weights is not None:
            return float(micro.weights.sum())
        return micro.examples if self.smoothing else loss_terms(micro)

    def part(
        self,
        micro: MicroBatch,
        scale: float | Tensor,
        model: nn.Module,
        outputs: ModelOutput,
        inputs: Mapping[str, Tensor],
    ) -> Tensor:
        """Return what a micro-batch adds to the loss of its step; `scale` is 1 / the sum of all
        weights of the step.

        `inputs` are the tensors of `micro` on the model's device. Raises `PluginError` when there
        is no loss.
        """
        if micro.weights is None and not self.smoothing:
            loss = mean_loss(self.head, model, outputs, inputs)
            if not micro.examples:
                return loss.nan_to_num() * 0.0
            return loss * (self.weight(micro) * scale)
        losses = row_losses(self.head, outputs, inputs, self.smoothing)
        if not micro.examples:
            return losses.sum().nan_to_num() * 0.0
        if micro.weights is not None:
            losses = losses * moved(micro.weights.to(losses.dtype), losses.device)
        return losses.sum() * scale


def row_losses(
    head: Head, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
) -> Tensor:
    """Return the loss of each example of a micro-batch, of shape (batch,).

    Raises `PluginError` when the head gives anything else.
    """
    if not provides(head, "row_losses"):
        raise lacks(head, "row_losses", "so its examples cannot be weighted")
    losses = head.row_losses(outputs, inputs, smoothing)
    batch = len(next(iter(inputs.values())))
    if losses.shape != (batch,):
        raise PluginError(
            f"`row_losses` of the head `{type(head).__qualname__}` returned the shape "
            f"{tuple(losses.shape)} for {batch} examples: return one loss for each, ({batch},)."
        )
    return losses


def lacks(head: Head, method: str, consequence: str) -> PluginError:
    """Return the error of a head without an optional method."""
    name = f"{type(head).__module__}:{type(head).__qualname__}"
    return PluginError(f"the head `{name}` has no `{method}`, {consequence}.")


def mean_loss(
    head: Head, model: nn.Module, outputs: ModelOutput, inputs: Mapping[str, Tensor]
) -> Tensor:
    """Return the mean loss of a micro-batch: the head's, else the model's own.

    Raises `PluginError` when there is neither.
    """
    own: Tensor | None = outputs.get("loss")
    loss = head.loss(outputs, inputs)
    if loss is not None:
        return loss
    if own is not None:
        return own
    raise PluginError(
        f"the model `{type(model).__name__}` returns no loss for what `collate` returned "
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


TOKENS_PER_MICRO_BATCH = {"cpu": 4096, "cuda": 16384, "mps": 4096}
ROWS_PER_MICRO_BATCH = 1024


def top_of_ladder(train: TrainConfig, device: str) -> Ladder:
    """Return the sizes of passes that a training on `device` begins with."""
    rows, tokens = micro_limits(train.micro_batch_size, device)
    auto, again = train.micro_batch_size == "auto", train.activation_checkpointing
    return Ladder(rows, tokens, auto=auto, top=tokens, checkpointing=again)


def micro_limits(asked: int | str, device: str) -> tuple[int, int | None]:
    """Return (examples, padded tokens) of one forward pass for `train.micro_batch_size`."""
    if isinstance(asked, int):
        return asked, None
    return ROWS_PER_MICRO_BATCH, TOKENS_PER_MICRO_BATCH[device]


BUCKET = 1 << 23
"""Elements of gradients that workers sum in one go."""
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Strategies that shard the model: every worker takes part in every pass, so none can repeat one
by itself.
"""


class Accumulator:
    """Sums up the gradient of a step: that of the mean loss over the whole batch, over all workers
    and micro-batches, exactly.

    With weights w_i (what micro-batch i weighs, over all workers) the loss is sum_i loss_i * w_i /
    sum_i w_i.

    Several workers: where memory may run out each computes its own gradients, all agree on whether
    they fitted, and sum them after that, so that none waits for one that repeats its passes. Once
    passes of a size have fitted in every worker, steps of that size and below leave the sum to
    `DistributedDataParallel`, which does it while it computes; never with `manual_sync`, which is
    for parameters that it does not know of, such as those that begin to train later.
    """

    def __init__(
        self,
        objective: Objective,
        steps: Steps,
        ladder: Ladder,
        accelerator: Accelerator,
        to_device: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        log: Callable[[str], None],
        *,
        manual_sync: bool = False,
        stored: StoredOutputs | None = None,
    ) -> None:
        """`stored` has outputs that stand in for a frozen backbone."""
        self.stored = stored
        self.objective, self.steps, self.ladder, self.log = objective, steps, ladder, log
        self.accelerator, self.to_device, self.manual_sync = accelerator, to_device, manual_sync
        self.world: int = accelerator.num_processes
        self.device: torch.device = accelerator.device
        self._fitted: set[Shape] = set()

    def step(
        self, model: nn.Module, wrapped: nn.Module, passes: list[MicroBatch], batch: Indices
    ) -> Tensor:
        """Compute the gradient of a step in the parameters of `model` and return this worker's part
        of its loss.

        `batch` has the rows of all workers. `wrapped` is the model as accelerate prepared it. A
        repeated step has the random numbers that it had before. Raises `RunError` when memory runs
        out and no smaller pass is left, or the size of passes was given.
        """
        ddp = self.world > 1 and isinstance(wrapped, nn.parallel.DistributedDataParallel)
        sharded = str(self.accelerator.distributed_type).rpartition(".")[2] in SHARDED
        passes = self._within_limit(passes)
        scale = self._scale(passes)
        shapes = self.steps.shapes_of_all(batch) if ddp and self.ladder.auto else []
        safe = not self.ladder.auto or all(map(self._fits, shapes))
        if sharded or (ddp and safe and not self.manual_sync):
            return self._synced(wrapped, passes, scale, ddp)
        loss, passes = self._repeated(wrapped if self.world == 1 else model, model, passes, scale)
        if ddp:
            sum_gradients([one for one in model.parameters() if one.requires_grad], self.world)
            if self.ladder.auto:
                self._add_fitted(self.steps.shapes_of_all(batch))
        return loss

    def _within_limit(self, passes: list[MicroBatch]) -> list[MicroBatch]:
        """Return the passes of a step that may have been read before memory ran out."""
        limit = self.steps.token_limit
        if limit is None or all(
            rows == 1 or rows * longest <= limit for rows, longest in map(_shape, passes)
        ):
            return passes
        return self.steps.cut_again(passes)

    def _scale(self, passes: Sequence[MicroBatch]) -> float | Tensor:
        """Return the number of workers / the sum of all weights of the step; 0 where that is 0.

        Several GPUs keep it, so that their hosts do not wait for it.
        """
        total = sum(map(self.objective.weight, passes))
        if self.world > 1:
            shared = torch.full((), total, dtype=torch.float32, device=self.device)
            torch.distributed.all_reduce(shared)
            if self.device.type != "cpu":
                return torch.where(shared > 0, self.world / shared, 0.0)
            total = float(shared)
        return self.world / total if total else 0.0

    def _synced(
        self, wrapped: nn.Module, passes: Sequence[MicroBatch], scale: float | Tensor, ddp: bool
    ) -> Tensor:
        """Run all passes with the gradients summed in the last of them, by the wrapper."""
        loss = torch.zeros((), device=self.device)
        try:
            for micro in passes[:-1]:
                with self.accelerator.no_sync(wrapped):
                    loss += self._pass(wrapped, micro, scale)
            return loss + self._pass(wrapped, passes[-1], scale)
        except Exception as error:
            # A worker that resumes from its checkpoint (`compute.retries`) finds a smaller size.
            if not is_out_of_memory(error) or (ddp and self.ladder.auto):
                raise
        raise self.ladder.too_large(max(map(_shape, passes)))

    def _repeated(
        self, runs: nn.Module, model: nn.Module, passes: list[MicroBatch], scale: float | Tensor
    ) -> tuple[Tensor, list[MicroBatch]]:
        """Run all passes on `runs`, in smaller ones where memory runs out; return the loss and the
        passes that fitted.
        """
        before = rng_state(self.device.type) if self.ladder.auto else {}
        repeated = False
        while True:
            loss, failed = self._attempt(runs, passes, scale)
            tokens = self._lowered(failed)
            if tokens is None:
                break
            for parameter in model.parameters():
                parameter.grad = None
            free_memory(self.device.type)
            self.ladder.descend(tokens, model, failed)
            repeated = repeated or failed is not None
            self.steps.token_limit = self.ladder.tokens
            passes = self.steps.cut_again(passes)
            set_rng_state(before, self.device.type)
        if repeated:
            self.log(self.ladder.message)
        return loss, passes

    def _attempt(
        self, model: nn.Module, passes: Sequence[MicroBatch], scale: float | Tensor
    ) -> tuple[Tensor, Shape | None]:
        """Run all passes and return the loss, and the pass in which memory ran out."""
        loss = torch.zeros((), device=self.device)
        for micro in passes:
            try:
                loss += self._pass(model, micro, scale)
            except Exception as error:
                # Do not keep the error: its traceback holds the tensors of the pass.
                if not is_out_of_memory(error):
                    raise
                return loss, _shape(micro)
        return loss, None

    def _pass(self, model: nn.Module, micro: MicroBatch, scale: float | Tensor) -> Tensor:
        tensors = self.to_device(dict(micro.inputs))
        if self.stored is not None:
            self.stored.select(self.steps.features, micro.rows)
        with known_padding(micro.inputs.get("attention_mask")):
            outputs = model(**tensors)
        loss = self.objective.part(micro, scale, model, outputs, tensors)
        self.accelerator.backward(loss)
        return loss.detach()

    def _lowered(self, failed: Shape | None) -> int | None:
        """Return the tokens that all workers go down to, None when memory sufficed in all."""
        if not self.ladder.auto:
            if failed is None:
                return None
            raise self.ladder.too_large(failed)
        mine = math.inf if failed is None else self.ladder.below(failed)
        if self.world > 1:
            lowest = torch.tensor(mine, dtype=torch.float32, device=self.device)
            torch.distributed.all_reduce(lowest, torch.distributed.ReduceOp.MIN)
            mine = float(lowest)
        return None if mine == math.inf else int(mine)

    def _fits(self, shape: Shape) -> bool:
        """Whether a pass as large as this, or larger, has fitted before, in every worker."""
        return any(_within(shape, other) for other in self._fitted)

    def _add_fitted(self, shapes: Sequence[Shape]) -> None:
        for shape in shapes:
            if not self._fits(shape):
                larger = {other for other in self._fitted if not _within(other, shape)}
                self._fitted = larger | {shape}


def sum_gradients(parameters: Sequence[nn.Parameter], world: int) -> None:
    """Replace each gradient by the mean of those of all `world` workers; one that a worker does not
    have counts as 0.
    """
    if not parameters:
        return
    device = parameters[0].device
    present = torch.tensor(
        [parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=device
    )
    torch.distributed.all_reduce(present, torch.distributed.ReduceOp.MAX)
    bucket: list[Tensor] = []
    for parameter, any_has in zip(parameters, present.tolist(), strict=True):
        if not any_has:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (
            bucket[0].dtype != parameter.grad.dtype
            or sum(one.numel() for one in bucket) + parameter.numel() > BUCKET
        ):
            _mean_over_workers(bucket, world)
            bucket = []
        bucket.append(parameter.grad)
    if bucket:
        _mean_over_workers(bucket, world)


def _mean_over_workers(gradients: Sequence[Tensor], world: int) -> None:
    # As `DistributedDataParallel` does it: divided first, then summed.
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients]).div_(world)
    torch.distributed.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def _within(shape: Shape, other: Shape) -> bool:
    return shape[0] <= other[0] and shape[1] <= other[1]


def _shape(micro: MicroBatch) -> Shape:
    return max(micro.examples, 1), micro.longest
