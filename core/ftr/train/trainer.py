"""`transformers.Trainer` with its batches, loss weights, evaluation and checkpoints replaced."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftr.errors import RunError
from ftr.train.batches import MicroBatch
from ftr.train.losses import Objective
from ftr.train.memory import Ladder, outside_of_passes
from ftr.train.optim import SCHEDULE_FREE
from ftr.train.snapshot import TRAINER
from ftr.train.steps import Accumulation, StepLoader, Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.model.parameters import Trains
    from ftr.train.optim import Averages, Rates
    from ftr.train.progress import Meter, ProgressLine, Stop
    from ftr.train.snapshot import Snapshots


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
    """Shows the progress line and hands every log entry on."""

    def __init__(
        self, line: ProgressLine, meter: Meter, record: Callable[[dict[str, Any]], None]
    ) -> None:
        """`record` gets one dict a log, with `step` and `epoch`."""
        self.line, self.meter, self.record = line, meter, record

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the step and redraw the line."""
        self.meter.add(*self.meter.pending)
        self.line.update(self.meter.line())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.meter.mark()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record losses and learning rates."""
        if logs and "loss" in logs:
            self.record({"kind": "train", "step": state.global_step, "epoch": state.epoch, **logs})


class Averaging(TrainerCallback):  # type: ignore[misc]  # as above
    """Takes the weights of every optimizer step into their averages."""

    def __init__(self, averages: Averages) -> None:
        self.averages = averages

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take them in before an evaluation that may follow."""
        self.averages.update()


class Unfreezing(TrainerCallback):  # type: ignore[misc]  # as above
    """Lets frozen parts begin to train at their steps; each change is said, and recorded with the
    first step that it is about.
    """

    def __init__(
        self,
        trains: Trains,
        steps_in_epoch: int,
        say: Callable[[str], None],
        record: Callable[[dict[str, Any]], None],
    ) -> None:
        """`record` gets `trainable_parameters` and `trains`, with `step` and `epoch`."""
        self.trains, self.steps_in_epoch, self.say, self.record = (
            trains,
            steps_in_epoch,
            say,
            record,
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze what does not train yet, now that model and optimizer are put together."""
        self.trains.at(state.global_step, self.steps_in_epoch)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Change what trains, where this step is one at which it changes."""
        step = state.global_step
        if not self.trains.begins(step, self.steps_in_epoch):
            return
        now = self.trains.at(step, self.steps_in_epoch)
        epoch = step / self.steps_in_epoch
        self.say(f"epoch {epoch:.2f} · training {self.trains.line(now)}")
        self.record({"kind": "trains", "step": step + 1, "epoch": epoch, **self.trains.record(now)})


class Saving(TrainerCallback):  # type: ignore[misc]  # as above
    """Decides when the trainer writes a checkpoint, and sets the order of each epoch.

    Never at the end of an epoch's or the training's last step: the evaluation due there would be
    lost to a training that goes on from it. There it is written after the evaluation.
    """

    def __init__(self, trainer: StepTrainer) -> None:
        """Decide for `trainer`."""
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take over what the trainer forgets between two trainings."""
        self.trainer.snapshots.load_logged(self.trainer)
        self.trainer.snapshots.pace.begin(state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Order the steps, also of an epoch that a checkpoint was taken in the middle of."""
        self.trainer.steps.set_epoch(state.global_step // len(self.trainer.steps))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let signals wait for the step."""
        self.trainer.stop.patient = self.trainer.snapshots.pace.every != 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save within an epoch."""
        last = (
            state.global_step % len(self.trainer.steps) == 0
            or control.should_training_stop
            or control.should_epoch_stop
        )
        control.should_save = not last and self._due(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save after the evaluation that may follow."""
        control.should_save = self._due(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save what took a long evaluation."""
        control.should_save = (
            control.should_save or self.trainer.snapshots.always or self._due(state)
        )

    def _due(self, state: TrainerState) -> bool:
        return self.trainer.snapshots.due(state.global_step) or self.trainer.stop.asked


Evaluate = Callable[[], dict[str, float]]


class StepTrainer(Trainer):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
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
        tokenizer: PreTrainedTokenizerBase,
        evaluate: Evaluate | None,
        meter: Meter,
        snapshots: Snapshots,
        stop: Stop,
        report: Callable[[dict[str, Any]], None] | None = None,
        callbacks: list[TrainerCallback],
        objective: Objective | None = None,
        ladder: Ladder | None = None,
        say: Callable[[str], None] = print,
        apart: bool = False,
        averages: Averages | None = None,
        rates: Rates | None = None,
    ) -> None:
        """Set up; `evaluate` returns the scores to log at each evaluation, and may leave a
        `pending_report` for `report`.

        `objective`, `ladder`, `say` and `apart` are those of `Accumulation`; `averages` are shown
        to `evaluate` in place of the weights, and `rates` gives each layer its learning rate.
        """
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
        self.averages, self.rates = averages, rates
        self.over = False
        self.pending_report: dict[str, Any] | None = None
        self._rng_due = snapshots.found is not None
        self.accumulation = Accumulation(
            objective or Objective(steps.head),
            steps,
            ladder or Ladder(steps.limit, steps.token_limit),
            self.accelerator,
            self._prepare_inputs,
            say,
            apart=apart,
        )

    def go(self) -> None:
        """Train, from the checkpoint that was found if there is one; one of the last step, or an
        `over` training, leaves nothing to do.

        The model is left with the weights that are evaluated.
        """
        found = self.snapshots.found
        if found is None or (found.step < found.state["max_steps"] and not self.over):
            with outside_of_passes(self.accelerator.num_processes):
                self.train(resume_from_checkpoint=str(found.path) if found else None)
        else:
            self.snapshots.load_model(self)
            if self.args.optim in SCHEDULE_FREE:
                self._prepare_for_training(
                    found.state["max_steps"], self.get_train_dataloader(), str(found.path)
                )
            self.state = TrainerState.load_from_json(str(found.path / TRAINER))
        self._optimizer_mode("eval")
        if self.averages is not None:
            self.averages.settle()
        self.stop.patient = False
        if self.stop.asked:
            raise KeyboardInterrupt

    def get_train_dataloader(self) -> StepLoader:
        """Return the loader of optimizer steps; already this worker's share, so accelerate must not
        cut it again.
        """
        return StepLoader(self.steps)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Tensor | int | None]:
        """Read the next step's rows; the first ones after a checkpoint with its random numbers, for
        a `collate` may draw some.
        """
        self._load_rng_state(None)
        samples, count = super().get_batch_samples(*args, **kwargs)
        return samples, count

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
        loss = self.accumulation.step(self.model, model, inputs)
        value = float(loss)
        self._check_loss(value)
        # The other workers' examples are theirs of the same batch.
        self.meter.pending = (
            sum(micro.examples for micro in inputs) * self.accelerator.num_processes,
            value,
        )
        return loss

    def evaluate(
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """Score the validation split through the head, batch by batch, and log the scores."""
        self.stop.patient = False
        if self.evaluate_now is None:
            return {}
        with self._shown():
            metrics = {
                f"{metric_key_prefix}_{key}": value for key, value in self.evaluate_now().items()
            }
        self.control.should_training_stop = self.control.should_training_stop or self.over
        self.meter.mark()
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Let the model have the weights that are evaluated and kept: an average of those that are
        trained, where there is one.
        """
        self._optimizer_mode("eval")
        with self.averages.shown() if self.averages is not None else contextlib.nullcontext():
            yield
        self._optimizer_mode("train")

    def _optimizer_mode(self, mode: str) -> None:
        """Tell an optimizer that averages weights by itself which ones the model is to have."""
        if self.args.optim in SCHEDULE_FREE and self.optimizer is not None:
            getattr(self.optimizer, mode)()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer, with a learning rate for each layer where there are `rates`."""
        if self.optimizer is None and self.rates is not None:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decayed = set(self.get_decay_parameter_names(self.model))
            groups = self.rates.groups(
                {
                    id(parameter)
                    for name, parameter in self.model.named_parameters()
                    if name in decayed
                }
            )
            self.optimizer_cls_and_kwargs = kind, {**settings, "params": groups}
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def floating_point_ops(self, inputs: object) -> int:
        """Return 0: the estimate of transformers needs one batch of one shape."""
        return 0

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Report an evaluation when the checkpoint that may follow it is written: whoever gets the
        report may end the training.
        """
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

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
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

    def _check_loss(self, value: float) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"the loss is {value} at step {self.state.global_step + 1}: "
                "lower `learning_rate`, raise `train.warmup`, or set `train.precision=fp32`."
            )
