"""What a training costs: memory and disk by arithmetic, what this machine has of both, and the two
lines about it that a run prints.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftr import system
from ftr.config.schema import RunConfig
from ftr.errors import counted
from ftr.system import peak_memory, process_status
from ftr.train.hardware import Shape
from ftr.train.progress import Meter, clock

if TYPE_CHECKING:
    from torch import nn

    from ftr.train.loader import Steps

_GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_OPTIMIZER_BYTES: dict[str, float] = {
    "sgd": 0,
    "adafactor": 0.1,
    "adagrad": 4,
    "rmsprop": 4,
    "adamw_torch_4bit": 1,
    "ademamix": 12,
    "lion_32bit": 4,
    "paged_lion_32bit": 4,
    "rmsprop_bnb": 4,
    "rmsprop_bnb_32bit": 4,
}
"""Bytes of state for each number that trains, where they are not the 8 of Adam's two moments, or 2
with `8bit` in the name. That of Adafactor is a row and a column for each matrix.
"""


def size(number: float) -> str:
    """Return a number of bytes as people write it: `1.74 GB`, `91 MB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.{2 if name == 'GB' and number < 1e10 else 0}f} {name}"
    return f"{number:.0f} bytes"


def memory_here() -> int:
    """Return the bytes of memory that processes on this machine may have: what it has, or the
    limit of the container or of `ulimit -v`.
    """
    limits = [system.memory(), *([allowed] if (allowed := system.memory_limit()) else [])]
    for path in _GROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # `max`, or no such file
            limits.append(int(path.read_text(encoding="utf-8")))
    return min(limits)


def memory_free() -> int | None:
    """Return the bytes of memory that are free now; None where Linux is not there to tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, memory_here())
    return None


def disk_free(folder: str | Path) -> int:
    """Return the free bytes of the disk that a folder is on, or will be."""
    path = Path(folder).expanduser().absolute()
    there = next(one for one in (path, *path.parents) if one.exists())
    return shutil.disk_usage(there).free


def memory_now() -> int:
    """Return the bytes of memory this process holds; its peak where that is not known."""
    return process_status("VmRSS") or peak_memory()


def memory_shared() -> int:
    """Return the bytes of memory of this process that are pages of files, such as code of
    libraries, which others of its kind share; 0 where that is not known.
    """
    return process_status("RssFile") or 0


def peak_since(reset: bool = False) -> int:
    """Return the most memory this process held since the last `reset`, in bytes; without Linux,
    since it began.
    """
    peak = peak_memory()
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """The bytes of a training that its batches do not change.

    `saved` is what `model/` holds of the weights.
    """

    weights: int
    gradients: int
    optimizer: int
    averages: int
    saved: int

    @property
    def checkpoint(self) -> int:
        """The bytes of a checkpoint, without its link to the best weights."""
        return self.saved + self.optimizer + self.averages

    def disk(self, checkpoints: int, validations: int) -> int:
        """Return the most bytes a training has on the disk, with so many checkpoints at a time.

        A checkpoint holds on to the weights that were the best when it was written, and new best
        weights are written before the old ones are removed; there are at most as many as
        validations.
        """
        versions = max(min(validations, checkpoints + 2), 1)
        return versions * self.saved + checkpoints * self.checkpoint


def tensors_of(model: nn.Module, config: RunConfig) -> Tensors:
    """Return the bytes of a model whose frozen parameters are frozen; it may be on `meta`."""
    parameters = list({id(one): one for one in model.parameters()}.values())
    trained = [one for one in parameters if one.requires_grad]
    buffers = sum(one.numel() * one.element_size() for one in model.buffers())
    total = sum(one.numel() * one.element_size() for one in parameters)
    gradients = sum(one.numel() * one.element_size() for one in trained)
    adapters = bool(config.train.lora.rank) and not config.train.lora.merge
    return Tensors(
        weights=total + buffers,
        gradients=gradients,
        optimizer=math.ceil(
            sum(one.numel() for one in trained) * optimizer_bytes(config.train.optimizer)
        ),
        averages=gradients if config.train.ema is not None else 0,
        saved=gradients if adapters else total,
    )


def optimizer_bytes(name: str) -> float:
    """Return the bytes of state that an optimizer has for each number that trains."""
    if name in _OPTIMIZER_BYTES:
        return _OPTIMIZER_BYTES[name]
    return 2.0 if "8bit" in name else 8.0


def checkpoints_at_once(config: RunConfig, seconds: float, steps: int) -> int:
    """Return how many checkpoints a training of so many seconds and steps has on the disk at most,
    if it takes up to a quarter longer: a new one is written before the oldest is removed.
    """
    from ftr.train.checkpoint_manager import SECONDS_BETWEEN

    every = config.train.save_steps
    written = (
        1.25 * seconds / SECONDS_BETWEEN if every == "auto" else steps // every if every else 0
    )
    return int(min(written, steps, config.train.save_total_limit + 1))


def validations(config: RunConfig, steps: int) -> int:
    """Return how often a training of `steps` steps is validated."""
    every = config.train.evaluate_every
    return math.ceil(config.epochs) if every == "epoch" else steps // every


FIRST_SECONDS, FIRST_STEPS = 10.0, 3
"""The training time, and the steps, after which a run prints how long it will take."""


@dataclass(slots=True)
class Forecast:
    """Prints the two lines on cost of a run: disk when it begins, and time and memory after its
    first steps, once they are known.

    `evaluation` is the seconds that an evaluation on validation rows takes, None: not known yet.
    """

    config: RunConfig
    tensors: Tensors
    meter: Meter
    log: Callable[[str], None]
    evaluation: float | None = None
    printed: bool = False
    _began: tuple[int, float] = (0, 0.0)
    """Steps and seconds of earlier attempts."""
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
        if self.printed:
            return
        self._tokens += sum(rows * longest for rows, longest in shapes)
        self._largest = max(self._largest, *(rows * longest for rows, longest in shapes))
        count, seconds = self.meter.step - self._began[0], self.meter.seconds - self._began[1]
        if count < FIRST_STEPS or seconds < FIRST_SECONDS or self.meter.step >= self.meter.steps:
            return
        self.printed = True
        self.log(self._line(seconds / max(self._tokens, 1), steps))

    def _line(self, each: float, steps: Steps) -> str:
        """Return the line; `each` is the seconds that a padded token took."""
        epoch = [[rows * longest for rows, longest in steps.shapes(one)] for one in steps.batches]
        mean = sum(map(sum, epoch)) / len(epoch)
        training = self.meter.seconds + (self.meter.steps - self.meter.step) * mean * each
        parts = [f"training {clock(training)} by the first {counted(self.meter.step, 'step')}"]
        count = validations(self.config, self.meter.steps) if self.evaluation is not None else 0
        evaluating = count * (self.evaluation or 0.0)
        if count:
            parts.append(f"{counted(count, 'validation')} {clock(evaluating)}")
        return (
            f"time: about {clock(training + evaluating)} ({', '.join(parts)}); memory: about "
            f"{size(self._memory(max(map(max, epoch))))} of {size(memory_here())}"
        )

    def _memory(self, largest: int) -> float:
        """Return the peak of the training: what is held, and activations as of the largest pass."""
        peak = peak_memory()
        if peak <= self._peak:  # reading the data took more than training does
            return peak
        fixed = self._held + self.tensors.optimizer + self.tensors.averages
        return peak + max(largest / max(self._largest, 1) - 1, 0.0) * max(peak - fixed, 0)
