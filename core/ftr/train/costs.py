"""What a training costs: memory and disk by arithmetic, and what this machine has of both."""

from __future__ import annotations

import contextlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftr import system
from ftr.config.schema import RunConfig
from ftr.system import peak_memory, process_status

if TYPE_CHECKING:
    from torch import nn

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
