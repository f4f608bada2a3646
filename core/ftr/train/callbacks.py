"""What listens to the trainer: the progress line and the record of losses, and the pace of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from ftr.train.averaging import Averages
    from ftr.train.parameters import Trains
    from ftr.train.progress import Meter, ProgressLine
    from ftr.train.trainer import StepTrainer


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not checked: its modules are resolved lazily
    """Shows the progress line and hands every log entry on."""

    def __init__(self, line: ProgressLine, meter: Meter, record: Callable[[dict[str, Any]], None]) -> None:
        """`record` gets one dict a log, with `step` and `epoch`."""
        self.line, self.meter, self.record = line, meter, record

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step and redraw the line."""
        self.meter.add(*self.meter.pending)
        self.line.update(self.meter.line())

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock."""
        self.meter.mark()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Record losses and learning rates."""
        if logs and "loss" in logs:
            self.record({"kind": "train", "step": state.global_step, "epoch": state.epoch, **logs})


class Averaging(TrainerCallback):  # type: ignore[misc]  # as above
    """Takes the weights of every optimizer step into their averages."""

    def __init__(self, averages: Averages) -> None:
        self.averages = averages

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take them in before an evaluation that may follow."""
        self.averages.update()


class Unfreezing(TrainerCallback):  # type: ignore[misc]  # as above
    """Lets frozen parts begin to train at their steps; each change is said, and recorded with the first step that it is about."""

    def __init__(self, trains: Trains, steps_in_epoch: int, say: Callable[[str], None], record: Callable[[dict[str, Any]], None]) -> None:
        """`record` gets `trainable_parameters` and `trains`, with `step` and `epoch`."""
        self.trains, self.steps_in_epoch, self.say, self.record = trains, steps_in_epoch, say, record

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Freeze what does not train yet, now that model and optimizer are put together."""
        self.trains.at(state.global_step, self.steps_in_epoch)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
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

    Never at the end of an epoch's or the training's last step: the evaluation due there would be lost to a training that goes
    on from it. There it is written after the evaluation.
    """

    def __init__(self, trainer: StepTrainer) -> None:
        """Decide for `trainer`."""
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take over what the trainer forgets between two trainings."""
        self.trainer.snapshots.load_logged(self.trainer)
        self.trainer.snapshots.pace.begin(state.global_step)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Order the steps, also of an epoch that a checkpoint was taken in the middle of."""
        self.trainer.steps.set_epoch(state.global_step // len(self.trainer.steps))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let signals wait for the step."""
        self.trainer.stop.patient = self.trainer.snapshots.pace.every != 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save within an epoch."""
        last = state.global_step % len(self.trainer.steps) == 0 or control.should_training_stop or control.should_epoch_stop
        control.should_save = not last and self._due(state)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save after the evaluation that may follow."""
        control.should_save = self._due(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save what took a long evaluation."""
        control.should_save = control.should_save or self.trainer.snapshots.always or self._due(state)

    def _due(self, state: TrainerState) -> bool:
        return self.trainer.snapshots.due(state.global_step) or self.trainer.stop.asked
