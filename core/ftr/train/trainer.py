"""`transformers.Trainer` with the parts replaced that waste a machine: batches, loss weights, evaluation, checkpoints."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftr.errors import RunError
from ftr.train.callbacks import Saving
from ftr.train.losses import loss_terms, mean_loss
from ftr.train.snapshot import TRAINER
from ftr.train.steps import MicroBatch, StepLoader, Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.train.progress import Meter
    from ftr.train.snapshot import Snapshots
    from ftr.train.stop import Stop

Evaluate = Callable[[], dict[str, float]]


class StepTrainer(Trainer):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
    """Trains over `Steps`: one item of the loader is one optimizer step, whatever it is cut into.

    The gradient of a step is that of the mean loss over the whole batch, over all workers and micro-batches, exactly:
    each micro-batch weighs in with the number of terms its own mean was taken over.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: TrainingArguments,
        steps: Steps,
        tokenizer: PreTrainedTokenizerBase,
        evaluate: Evaluate | None,
        meter: Meter,
        snapshots: Snapshots,
        stop: Stop,
        report: Callable[[dict[str, Any]], None] | None = None,
        callbacks: list[TrainerCallback],
    ) -> None:
        """Set up; `evaluate` returns the scores to log at each evaluation, and may leave a `pending_report` for `report`."""
        super().__init__(
            model=model,
            args=args,
            train_dataset=steps,
            eval_dataset=steps if evaluate else None,
            processing_class=tokenizer,
            callbacks=[*callbacks, Saving(self)],
        )
        self.steps, self.evaluate_now, self.meter = steps, evaluate, meter
        self.snapshots, self.stop, self.report = snapshots, stop, report
        self.pending_report: dict[str, Any] | None = None
        self._rng_due = snapshots.found is not None

    def go(self) -> None:
        """Train, from the checkpoint that was found if there is one; one of the last step leaves nothing to train."""
        found = self.snapshots.found
        if found is None:
            self.train()
        elif found.step < found.state["max_steps"]:
            self.train(resume_from_checkpoint=str(found.path))
        else:
            self.snapshots.load_model(self)
            self.state = TrainerState.load_from_json(str(found.path / TRAINER))
        self.stop.patient = False
        if self.stop.asked:
            raise KeyboardInterrupt

    def get_train_dataloader(self) -> StepLoader:
        """Return the loader of optimizer steps; already this worker's share, so accelerate must not cut it again."""
        return StepLoader(self.steps)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Tensor | int | None]:
        """Read the next step's rows; the first ones after a checkpoint with its random numbers, for a `collate` may draw some."""
        self._load_rng_state(None)
        samples, count = super().get_batch_samples(*args, **kwargs)
        return samples, count

    def training_step(
        self,
        model: nn.Module,
        inputs: list[MicroBatch],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run all micro-batches of one step and return the mean loss of the step (this worker's part of it).

        With weights w_i (terms in the mean of micro-batch i, over all workers) the loss is sum_i loss_i * w_i / sum_i w_i.
        DDP averages gradients over workers, so each worker's part is scaled up by their number.
        """
        model.train()
        world = self.accelerator.num_processes
        weights = [loss_terms(micro) for micro in inputs]
        total = self._sum_over_workers(sum(weights), world)
        loss_sum = torch.zeros((), device=self.args.device)
        for number, (micro, weight) in enumerate(zip(inputs, weights, strict=True), start=1):
            last = number == len(inputs)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                tensors = self._prepare_inputs(dict(micro.inputs))
                loss = self._mean_loss(model, tensors)
                loss = loss * (weight * world / total) if weight else loss.nan_to_num() * 0.0
                self.accelerator.backward(loss)
            loss_sum += loss.detach()
        value = float(loss_sum)
        self._check_loss(value)
        # The other workers' examples are theirs of the same batch.
        self.meter.pending = (sum(micro.examples for micro in inputs) * world, value)
        return loss_sum

    def _mean_loss(self, model: nn.Module, tensors: dict[str, Tensor]) -> Tensor:
        if self.label_smoother is None:
            # `compute_loss` would refuse a model without a loss of its own, which the head may have.
            outputs = model(**tensors)
            return mean_loss(self.steps.head, self.model, outputs, tensors, outputs.get("loss"))
        loss, outputs = self.compute_loss(model, dict(tensors), return_outputs=True)
        return mean_loss(self.steps.head, self.model, outputs, tensors, loss)

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Score the validation split through the head, batch by batch, and log the scores."""
        self.stop.patient = False
        if self.evaluate_now is None:
            return {}
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in self.evaluate_now().items()}
        self.meter.mark()
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: object) -> int:
        """Return 0: the estimate of transformers needs one batch of one shape."""
        return 0

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Report an evaluation when the checkpoint that may follow it is written: whoever gets the report may end the training."""
        super()._maybe_log_save_evaluate(*args, **kwargs)
        report, self.pending_report = self.pending_report, None
        if report is not None and self.report is not None:
            self.report(report)

    # What follows replaces the trainer's own files, which are pickled, by those of `Snapshots`.

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        self.stop.patient = True
        self.snapshots.save(self)
        self.stop.patient = False
        self.meter.mark()
        if self.stop.asked:
            raise KeyboardInterrupt

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.snapshots.load_model(self)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.snapshots.load_optimizer(self)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Do nothing: it came with the optimizer."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._rng_due:
            self._rng_due = False
            self.snapshots.load_rng(self)

    def _sum_over_workers(self, value: float, world: int) -> float:
        if world == 1:
            return value
        return float(self.accelerator.reduce(torch.tensor(value, dtype=torch.float32, device=self.args.device), "sum"))

    def _check_loss(self, value: float) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"the loss is {value} at step {self.state.global_step + 1}: "
                "lower `learning_rate`, raise `train.warmup`, or set `train.precision=fp32`."
            )
