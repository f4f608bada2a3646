"""`transformers.Trainer` with its batches, loss weights, evaluation and checkpoints replaced."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ftr.errors import RunError
from ftr.model.parameters import TrainableParts
from ftr.model.transformers_private import TrainerHooks
from ftr.progress import ProgressLine
from ftr.train.batches import MicroBatch
from ftr.train.checkpoint_manager import TRAINER, CheckpointManager
from ftr.train.forecast import Forecast
from ftr.train.hardware import Ladder, Shape, kept_memory, moved, outside_of_passes
from ftr.train.loader import StepLoader, Steps, read_ahead
from ftr.train.optim import SCHEDULE_FREE, ExponentialMovingAverage, LayerwiseRates
from ftr.train.progress import Interrupt, Meter
from ftr.train.steps import Accumulator, Objective
from ftr.train.stored import StoredOutputs

SYNCHRONOUS = ("cpu",)
"""Devices on which a loss can be read in every step without waiting."""


class StepCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
    """What a `StepTrainer` does between its steps.

    It never saves at the end of an epoch's or the training's last step: the evaluation due there
    would be lost to a training that resumes from it. There it saves after the evaluation.
    """

    def __init__(self, trainer: StepTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Start the clock, freeze what does not train yet, restore what the trainer does not."""
        trainer = self.trainer
        trainer.meter.mark()
        if trainer.trains is not None:
            trainer.trains.at(state.global_step, len(trainer.steps))
        trainer.checkpoints.load_unlogged_loss(trainer)
        trainer.checkpoints.interval.start(state.global_step)

    def on_epoch_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Order the steps, also of an epoch that is resumed in its middle."""
        self.trainer.steps.set_epoch(state.global_step // len(self.trainer.steps))

    def on_step_begin(self, args: Any, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        """Unfreeze the parts that begin to train, and defer signals to the end of the step."""
        trainer, step, in_epoch = self.trainer, state.global_step, len(self.trainer.steps)
        if trainer.trains is not None and trainer.trains.begins(step, in_epoch):
            now = trainer.trains.at(step, in_epoch)
            entry = {"step": step + 1, "epoch": step / in_epoch, **trainer.trains.record(now)}
            trainer.line.log(f"epoch {entry['epoch']:.2f} · training {trainer.trains.line(now)}")
            trainer.record({"kind": "trains", **entry})
        trainer.interrupt.deferring = trainer.checkpoints.interval.every != 0

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the step, update the averages, and save within an epoch."""
        trainer = self.trainer
        meter = trainer.meter
        meter.add(*meter.pending)
        if trainer.forecast is not None:
            trainer.forecast.step(trainer.shapes, trainer.steps)
            trainer.line.update(meter.line(trainer.forecast.shown()), meter.step / meter.steps)
        if trainer.averages is not None:
            trainer.averages.update()
        last = (
            state.global_step % len(trainer.steps) == 0
            or control.should_training_stop
            or control.should_epoch_stop
        )
        control.should_save = not last and self._due(state)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record losses and learning rates."""
        if logs and "loss" in logs:
            place = {"step": state.global_step, "epoch": state.epoch}
            self.trainer.record({"kind": "train", **place, **logs})

    def on_epoch_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save after the evaluation that may follow."""
        control.should_save = self._due(state)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save after a long evaluation; report it, unless a checkpoint is written first."""
        control.should_save = (
            control.should_save or self.trainer.checkpoints.every_evaluation or self._due(state)
        )
        if not control.should_save:
            self.trainer.send_report()

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        """Report the evaluation that this checkpoint follows: the receiver may end the training."""
        self.trainer.send_report()

    def _due(self, state: TrainerState) -> bool:
        return self.trainer.checkpoints.due(state.global_step) or self.trainer.interrupt.requested


Evaluate = Callable[[], dict[str, float]]


class StepTrainer(TrainerHooks, Trainer):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
    """Trains over `Steps`: one item of the loader is one optimizer step, whatever it is cut into.

    The gradient of a step is that of the mean loss over the whole batch, over all workers and
    micro-batches, exactly: see `ftr.train.steps`.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: TrainingArguments,
        steps: Steps,
        evaluate: Evaluate | None,
        meter: Meter,
        checkpoints: CheckpointManager,
        interrupt: Interrupt,
        line: ProgressLine,
        record: Callable[[dict[str, Any]], None],
        objective: Objective,
        ladder: Ladder,
        report: Callable[[dict[str, Any]], None] | None = None,
        trains: TrainableParts | None = None,
        manual_sync: bool = False,
        averages: ExponentialMovingAverage | None = None,
        rates: LayerwiseRates | None = None,
        forecast: Forecast | None = None,
        stored: StoredOutputs | None = None,
    ) -> None:
        """`evaluate` returns the scores to log, and may set a `pending_report` for `report`.

        `record` gets each log entry. `objective`, `ladder`, `manual_sync` and `stored` go to
        `Accumulator`; `averages` replace the weights in `evaluate`; `rates` gives each layer its
        learning rate; `forecast` prints what the training will cost.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=steps,
            eval_dataset=steps if evaluate else None,
            processing_class=steps.tokenizer,
            callbacks=[StepCallback(self)],
        )
        self.remove_callback(PrinterCallback)
        self.steps, self.score, self.meter, self.line = steps, evaluate, meter, line
        self.checkpoints, self.interrupt, self.report = checkpoints, interrupt, report
        self.record, self.trains, self.averages, self.rates = record, trains, averages, rates
        self.forecast = forecast
        self.shapes: list[Shape] = []
        """The passes of the last step."""
        checkpoints.averages = averages
        self.stopped = False
        self.pending_report: dict[str, Any] | None = None
        self.unread: list[tuple[int, Tensor]] = []
        """Steps and their losses, still on the device."""
        self._epoch: Iterator[list[MicroBatch]] | None = None
        self._coming: Iterator[list[MicroBatch]] = iter(())
        self._random_state_due = checkpoints.found is not None
        self.accumulator = Accumulator(
            objective,
            steps,
            ladder,
            self.accelerator,
            self.to_device,
            line.log,
            manual_sync=manual_sync,
            stored=stored,
        )

    def run(self) -> None:
        """Train, from the checkpoint if there is one; after the last step, or where the training is
        `stopped`, only load the weights.

        The model ends with the weights to evaluate.
        """
        found = self.checkpoints.found
        if found is None or (found.step < found.state["max_steps"] and not self.stopped):
            device, workers = self.args.device.type, self.accelerator.num_processes
            with outside_of_passes(workers), kept_memory(device):
                self.train(resume_from_checkpoint=str(found.path) if found else None)
        else:
            self.checkpoints.load_model(self)
            if self.args.optim in SCHEDULE_FREE:
                # These hold the weights to evaluate; `train` would take a step.
                self.create_optimizer_and_scheduler(found.state["max_steps"])
                self.checkpoints.load_optimizer(self)
            self.state = TrainerState.load_from_json(str(found.path / TRAINER))
        self.meter.smooth(self.read_losses())
        self._optimizer_mode("eval")
        if self.averages is not None:
            self.averages.apply()
        self.interrupt.deferring = False
        if self.interrupt.requested:
            raise KeyboardInterrupt

    def get_train_dataloader(self) -> StepLoader:
        """Return the loader of optimizer steps: this worker's share, which accelerate must not cut
        again.
        """
        return StepLoader(self.steps)

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[MicroBatch]], *args: Any, **kwargs: Any
    ) -> tuple[list[Any], Tensor | int | None]:
        """Read the next step's rows, for a GPU while it computes; the first after a checkpoint with
        its random generators, which a `collate` may use.
        """
        self.load_random_state()
        if epoch_iterator is not self._epoch:
            self._epoch = self._coming = epoch_iterator
            if self.args.device.type not in SYNCHRONOUS:
                self._coming = read_ahead(epoch_iterator)
        samples, count = super().get_batch_samples(self._coming, *args, **kwargs)
        return samples, count

    def to_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move a batch to the device."""
        device = self.args.device
        return super().to_device({name: moved(one, device) for name, one in tensors.items()})

    def training_step(
        self,
        model: nn.Module,
        inputs: list[MicroBatch],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run all micro-batches of one step and return the mean loss of the step (this worker's
        part of it).
        """
        model.train()
        self._optimizer_mode("train")
        batch = self.steps.batches[self.state.global_step % len(self.steps)]
        loss = self.accumulator.step(self.model, model, inputs, batch)
        step = self.state.global_step + 1
        self.unread.append((step, loss.detach()))
        every = 1 if loss.device.type in SYNCHRONOUS else max(int(self.state.logging_steps), 1)
        losses = self.read_losses() if step % every == 0 else []
        # The other workers have as many examples of the same batch.
        examples = sum(micro.examples for micro in inputs) * self.accelerator.num_processes
        self.meter.pending = (examples, *losses)
        self.shapes = [(max(micro.examples, 1), micro.longest) for micro in inputs]
        return loss

    def read_losses(self) -> list[float]:
        """Return the losses that were not read yet: a GPU finishes its steps first.

        Called before anything is saved or logged. Raises `RunError` for one that is not finite.
        """
        if not self.unread:
            return []
        steps, losses = zip(*self.unread, strict=True)
        self.unread = []
        values: list[float] = torch.stack(losses).tolist()
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                raise RunError(
                    f"the loss is {value} at step {step}: "
                    "lower `learning_rate`, raise `train.warmup`, or set `train.precision=fp32`."
                )
        return values

    def evaluate(
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """Score the validation split through the head, batch by batch, and log the scores."""
        self.interrupt.deferring = False
        self.meter.smooth(self.read_losses())
        if self.score is None:
            return {}
        self._optimizer_mode("eval")
        with self.averages.applied() if self.averages is not None else contextlib.nullcontext():
            metrics = {f"{metric_key_prefix}_{key}": value for key, value in self.score().items()}
        self._optimizer_mode("train")
        self.control.should_training_stop = self.control.should_training_stop or self.stopped
        self.meter.mark()
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _optimizer_mode(self, mode: str) -> None:
        """Switch a schedule-free optimizer, which averages weights by itself."""
        if self.args.optim in SCHEDULE_FREE and self.optimizer is not None:
            getattr(self.optimizer, mode)()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer, with a learning rate for each layer where there are `rates`."""
        if self.optimizer is None and self.rates is not None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decayed = set(self.get_decay_parameter_names(self.model))
            weights = self.model.named_parameters()
            groups = self.rates.groups({id(one) for name, one in weights if name in decayed})
            self.optimizer_cls_and_kwargs = kind, {**settings, "params": groups}
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def floating_point_ops(self, inputs: object) -> int:
        """Return 0: the estimate of transformers needs one batch of one shape."""
        return 0

    def save_state(self) -> None:
        """Write a checkpoint; an interrupt that came meanwhile ends the training after it."""
        self.meter.smooth(self.read_losses())
        self.interrupt.deferring = True
        with self.line.stage("saving"):
            self.checkpoints.save(self)
        self.interrupt.deferring = False
        self.meter.mark()
        if self.interrupt.requested:
            raise KeyboardInterrupt

    def load_random_state(self) -> None:
        """Set the random generators once, as late as possible."""
        if self._random_state_due:
            self._random_state_due = False
            self.checkpoints.load_rng(self)

    def send_report(self) -> None:
        """Report the last evaluation, once."""
        report, self.pending_report = self.pending_report, None
        if report is not None and self.report is not None:
            self.report(report)
