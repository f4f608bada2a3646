"""How long a training will take: the time left, and the lines about cost that a run prints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftr.config.schema import RunConfig
from ftr.data.rows import HELD_OUT
from ftr.errors import counted
from ftr.progress import clock
from ftr.system import peak_memory
from ftr.train.costs import (
    Tensors,
    checkpoints_at_once,
    disk_free,
    memory_here,
    memory_now,
    size,
    validations,
)
from ftr.train.hardware import Shape
from ftr.train.loader import Steps
from ftr.train.progress import Meter

FIRST_SECONDS, FIRST_STEPS = 10.0, 3
"""The training time, and the steps, after which a run prints how long it will take."""
FORWARD = 1 / 3
"""Share of a step's time that the model takes without gradients, until it is measured."""
LAST_SCORES = 3.0
"""Time of the last scores, which all have intervals, over that of scores in between."""
IN_FP32 = 2.0
"""Time of the last evaluation, in fp32, over that in the precision of the training."""


@dataclass(slots=True)
class Pace:
    """What evaluations took: seconds an example for the model and seconds a row for the scores, as
    of the last one; seconds of the last validation with all that belongs to it, and of all.
    """

    model: float | None = None
    scores: float = 0.0
    validation: float | None = None
    validating: float = 0.0

    def validated(self, seconds: float) -> None:
        """Count a validation."""
        self.validation = seconds
        self.validating += seconds


@dataclass(slots=True, kw_only=True)
class Forecast:
    """Tells how long a training will take, its evaluations included, and prints the two lines on
    cost of a run: disk when it begins, and time and memory after its first steps, once they are
    known.

    `examples` has the examples and rows of each split; `known` are the splits whose outputs the
    last evaluation has already, `after` the number of trainings like this one that follow, and
    `elapsed` the seconds since this one began.
    """

    config: RunConfig
    tensors: Tensors
    meter: Meter
    pace: Pace
    examples: Mapping[str, tuple[int, int]]
    log: Callable[[str], None]
    elapsed: Callable[[], float]
    steps_per_epoch: int
    final: bool = True
    known: Sequence[str] = ()
    in_fp32: bool = True
    after: int = 0
    printed: bool = False
    _began: tuple[int, float] = (0, 0.0)
    """Steps and seconds of earlier attempts."""
    _since: float | None = None
    """When the first step of this attempt began."""
    _peak: int = 0
    _held: int = 0
    _tokens: int = 0
    _largest: int = 0

    def begin(self, output: Path) -> None:
        """Print what the disk needs."""
        self._began = self.meter.step, self.meter.seconds
        self._peak, self._held = peak_memory(), memory_now()
        steps = self.meter.steps
        most = self.tensors.disk(
            checkpoints_at_once(self.config, math.inf, steps), validations(self.config, steps)
        )
        free = disk_free(output)
        line = f"disk: the model is {size(self.tensors.saved)}; up to {size(most)} with checkpoints"
        more = "free" if most <= free else "free, which may not suffice"
        self.log(f"{line}, {size(free)} {more}")

    def step(self, shapes: Sequence[Shape], steps: Steps) -> None:
        """Count a step of passes of these shapes, and print how long the training will take once
        that can be told.
        """
        if self._since is None:
            self._since = time.monotonic() - (self.meter.seconds - self._began[1])
        if self.printed:
            return
        self._tokens += sum(rows * longest for rows, longest in shapes)
        self._largest = max(self._largest, *(rows * longest for rows, longest in shapes))
        count, seconds = self.meter.step - self._began[0], self.meter.seconds - self._began[1]
        if count < FIRST_STEPS or seconds < FIRST_SECONDS or self.meter.step >= self.meter.steps:
            return
        self.printed = True
        self.log(self._line(seconds / max(self._tokens, 1), steps))

    def left(self) -> float | None:
        """Return the seconds until all is done, validations, the last evaluation and the trainings
        that follow included; None before the first steps.
        """
        count, each = self.meter.step - self._began[0], self.meter.step_seconds
        if count < FIRST_STEPS or not each or self._since is None:
            return None
        trained = self.meter.seconds - self._began[1]
        wall = time.monotonic() - self._since
        # Checkpoints, and what else is done between steps.
        beside = max(wall - trained - self.pace.validating, 0.0) / trained
        left = (self.meter.steps - self.meter.step) * each * (1 + beside)
        left += self._validations_left() * self.validation() + self.evaluation()
        return left + self.after * (self.elapsed() + left)

    def shown(self) -> str:
        """Return the time left as text: `about 0:42 left`; nothing before it is known."""
        left = self.left()
        if left is None:
            return ""
        # Fewer validations in a row without progress may come.
        about = "about" if self.config.train.early_stopping_patience is None else "at most"
        return f"{about} {clock(left)} left"

    def validation(self) -> float:
        """Return the seconds of a validation."""
        if "validation" not in self.examples:
            return 0.0
        if self.pace.validation is not None:
            return self.pace.validation
        examples, rows = self.examples["validation"]
        return examples * self._forward() + rows * self.pace.scores

    def evaluation(self) -> float:
        """Return the seconds of the last evaluation, on all held-out rows."""
        if not self.final:
            return 0.0
        seconds = 0.0
        for split in HELD_OUT:
            examples, rows = self.examples.get(split, (0, 0))
            if split not in self.known:
                seconds += examples * self._forward() * (1.0 if self.in_fp32 else IN_FP32)
            seconds += rows * self.pace.scores * LAST_SCORES
        return seconds

    def _forward(self) -> float:
        if self.pace.model is not None:
            return self.pace.model
        return FORWARD / self.meter.rate if self.meter.rate else 0.0

    def _validations_left(self) -> int:
        if "validation" not in self.examples:
            return 0
        every, done = self.config.train.evaluate_every, self.meter.step
        before = done // (self.steps_per_epoch if every == "epoch" else every)
        return max(validations(self.config, self.meter.steps) - before, 0)

    def _line(self, each: float, steps: Steps) -> str:
        """Return the line; `each` is the seconds that a padded token took."""
        epoch = [[rows * longest for rows, longest in steps.shapes(one)] for one in steps.batches]
        mean = sum(map(sum, epoch)) / len(epoch)
        training = self.meter.seconds + (self.meter.steps - self.meter.step) * mean * each
        parts = [f"training {clock(training)} by the first {counted(self.meter.step, 'step')}"]
        count = validations(self.config, self.meter.steps) if self.examples.get("validation") else 0
        validating, last = count * self.validation(), self.evaluation()
        if count:
            parts.append(f"{counted(count, 'validation')} {clock(validating)}")
        if last:
            parts.append(f"last evaluation {clock(last)}")
        whole = training + validating + last
        line = f"time: about {clock(whole)} ({', '.join(parts)})"
        if self.after:
            line += f", {clock((self.after + 1) * whole)} with the {self.after} after it"
        memory = size(self._memory(max(map(max, epoch))))
        return f"{line}; memory: about {memory} of {size(memory_here())}"

    def _memory(self, largest: int) -> float:
        """Return the peak of the training: what is held, and activations as of the largest pass."""
        peak = peak_memory()
        if peak <= self._peak:  # reading the data took more than training does
            return peak
        fixed = self._held + self.tensors.optimizer + self.tensors.averages
        return peak + max(largest / max(self._largest, 1) - 1, 0.0) * max(peak - fixed, 0)
