"""What a checkpoint holds of a training, and saving and restoring it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftr.config.resolve import differences, flat
from ftr.errors import ConfigError, DataError
from ftr.model.adapters import load_weights, save_weights
from ftr.terminal import masked
from ftr.train.checkpoint import (
    CHECKPOINTS,
    FORMAT,
    STATE,
    Checkpoint,
    find_checkpoint,
    write_checkpoint,
)
from ftr.train.hardware import rng_state, set_rng_state

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Trainer

    from ftr.config.schema import RunConfig


SECONDS_BETWEEN = 30.0
SHARE = 1 / 20
"""Most of the time that `auto` spends on writing."""


@dataclass(slots=True)
class Pace:
    """Counts steps, or with `auto` seconds, since the last checkpoint; what writing costs is
    measured.
    """

    every: int | Literal["auto"]
    last_step: int = 0
    writing: float = 0.0
    longest: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)

    def begin(self, step: int) -> None:
        """Start counting at `step`, now."""
        self.last_step = step
        self._began = self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to write one after `step`."""
        if step == self.last_step or self.every == 0:
            return False
        if self.every != "auto":
            return step // self.every > self.last_step // self.every
        now = time.monotonic()
        return now - self._since >= SECONDS_BETWEEN and self.writing + self.longest <= SHARE * (
            now - self._began
        )

    def wrote(self, step: int, seconds: float) -> None:
        """Count a checkpoint of `step` that took `seconds`."""
        self.last_step, self._since = step, time.monotonic()
        self.writing, self.longest = self.writing + seconds, max(self.longest, seconds)


Tensors = dict[str, "Tensor"]


class Unpackable(Exception):  # noqa: N818 - found, said, and trained on
    """A state holds an object that is neither a tensor nor plain; the message names it."""


def pack(value: Any, name: str, tensors: Tensors) -> Any:
    """Return `value` as JSON can hold it; the tensors within go to `tensors`, under dotted names
    that begin with `name`.

    Raises `Unpackable`.
    """
    import torch

    if isinstance(value, torch.Tensor):
        # A view would drag its whole storage along.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
    if isinstance(value, tuple):
        return {
            "tuple": [pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
        }
    if isinstance(value, Mapping):
        return {
            "dict": [[key, pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        }
    raise Unpackable(f"`{name}` is a `{type(value).__name__}`")


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given. Raises `KeyError` for a tensor that is not there."""
    if isinstance(plain, list):
        return [unpack(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tensor":
        # Out of the mapped file, into memory as aligned as any other tensor's.
        return tensors[content].clone()
    if kind == "tuple":
        return tuple(unpack(item, tensors) for item in content)
    return {key: unpack(item, tensors) for key, item in content}


WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PLAIN = "optimizer.json"
TRAINER = "trainer_state.json"
AVERAGES = "averages.safetensors"
WORKERS = "workers.safetensors"
"""Of each process, under `<rank>.`: its random generators, and the loss it summed up since the last
log line.
"""

Say = Callable[[str], None]
Facts = dict[str, Any]


@dataclass(slots=True)
class Snapshots:
    """The checkpoints of one training in one of its processes; the first alone writes.

    `facts` returns what the session must know to go on, `link` puts the best weights into a
    checkpoint folder, and `data` is the sha256 of each split's rows. With `always` one is written
    after every evaluation. Keys in `free` may differ from those of a checkpoint: the training goes
    on with their new values.
    """

    folder: Path
    config: RunConfig
    data: dict[str, str]
    rank: int
    world: int
    say: Say
    facts: Callable[[], Facts] = dict
    link: Callable[[Path], dict[str, str]] = lambda folder: {}
    always: bool = False
    free: Sequence[str] = ()
    found: Checkpoint | None = None
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        """Take the pace from `train.save_steps`."""
        self.pace = Pace(self.config.train.save_steps)

    @property
    def root(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / CHECKPOINTS

    def find(self) -> Checkpoint | None:
        """Find the newest good checkpoint, the same in every process; damaged ones are named.

        Raises `ConfigError` or `DataError` when it is of another configuration or of other data.
        """
        found: list[Checkpoint | None] = [None]
        if self.rank == 0:
            found[0], notes = find_checkpoint(self.root)
            for note in notes:
                self.say(note)
        self._share(found)
        self.found = found[0]
        if self.found is not None:
            with self.readable():
                self._check(self.found)
        return self.found

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Name the checkpoint in errors that its content causes: it is whole, but not what ftr
        writes. Raises `DataError`.
        """
        from safetensors import SafetensorError

        try:
            yield
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise DataError(
                f"checkpoint `{self._path}` is not one that ftr wrote ({cause}): remove it, then "
                "resume."
            ) from error

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after `step`; the first process decides for all."""
        if self.config.train.save_steps == 0:
            return False
        answer = [self.pace.due(step)]
        self._share(answer)
        return answer[0]

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint of the training as it stands.

        Raises `RunError` when the disk refuses.
        """
        began = time.monotonic()
        own = {**rng_state(trainer.args.device.type), "loss": trainer._tr_loss.detach().cpu()}
        parts: list[Tensors] = [own]
        if self.world > 1:
            import torch

            parts = [{}] * self.world
            torch.distributed.all_gather_object(parts, own)
        step = trainer.state.global_step
        if self.rank == 0:
            try:
                write_checkpoint(
                    self.root,
                    step,
                    lambda folder: self._fill(folder, trainer, parts),
                    self.config.train.save_total_limit,
                )
            except Unpackable as strange:
                self.give_up(str(strange))
        self.pace.wrote(step, time.monotonic() - began)

    def give_up(self, reason: str) -> None:
        """Write no checkpoints from here on, and say why."""
        self.pace.every = 0
        self.say(f"no checkpoints are written, the training cannot be resumed: {reason}")

    def _fill(self, folder: Path, trainer: Trainer, parts: list[Tensors]) -> dict[str, str]:
        from safetensors.torch import save_file

        save_weights(trainer.model, folder / WEIGHTS)
        if trainer.averages is not None:
            trainer.averages.save(folder / AVERAGES)
        tensors: Tensors = {}
        scaler = getattr(trainer.accelerator, "scaler", None)
        plain = {
            "optimizer": pack(trainer.optimizer.state_dict(), "optimizer", tensors),
            "scheduler": pack(trainer.lr_scheduler.state_dict(), "scheduler", tensors),
            "scaler": None if scaler is None else pack(scaler.state_dict(), "scaler", tensors),
        }
        save_file(tensors, folder / OPTIMIZER)
        save_file(
            {
                f"{rank}.{name}": tensor
                for rank, part in enumerate(parts)
                for name, tensor in part.items()
            },
            folder / WORKERS,
        )
        dataclasses.replace(trainer.state, log_history=[]).save_to_json(str(folder / TRAINER))
        state = {
            "format": FORMAT,
            "step": trainer.state.global_step,
            "max_steps": trainer.state.max_steps,
            "logged": trainer._globalstep_last_logged,
            "world": self.world,
            "config": masked(flat(self.config)),
            "data": self.data,
            **self.facts(),
        }
        for name, content in ((PLAIN, plain), (STATE, state)):
            (folder / name).write_text(json.dumps(content, default=_plain), encoding="utf-8")
        return self.link(folder)

    def load_model(self, trainer: Trainer) -> None:
        """Load the weights, and their averages."""
        with self.readable():
            load_weights(trainer.model, self._path / WEIGHTS)
            if trainer.averages is not None:
                trainer.averages.load(self._path / AVERAGES)

    def load_optimizer(self, trainer: Trainer) -> None:
        """Load the states of optimizer, schedule and loss scaler."""
        with self.readable():
            self._load_optimizer(trainer)

    def _load_optimizer(self, trainer: Trainer) -> None:
        from safetensors.torch import load_file

        tensors = load_file(self._path / OPTIMIZER)
        plain = json.loads((self._path / PLAIN).read_text(encoding="utf-8"))
        fresh = (
            [
                (group["initial_lr"], group["weight_decay"])
                for group in trainer.optimizer.param_groups
            ]
            if self.free
            else []
        )
        trainer.optimizer.load_state_dict(unpack(plain["optimizer"], tensors))
        trainer.lr_scheduler.load_state_dict(unpack(plain["scheduler"], tensors))
        if self.free:
            set_rates(trainer, fresh)
        if plain["scaler"] is not None and getattr(trainer.accelerator, "scaler", None) is not None:
            trainer.accelerator.scaler.load_state_dict(unpack(plain["scaler"], tensors))

    def load_rng(self, trainer: Trainer) -> None:
        """Set this process's random generators."""
        with self.readable():
            set_rng_state(self._own(), trainer.args.device.type)

    def load_logged(self, trainer: Trainer) -> None:
        """Take over the loss summed up since the last log line, which the trainer has just set to
        nothing.
        """
        if self.found is not None:
            trainer._tr_loss += self._own()["loss"].to(trainer._tr_loss.device)
            trainer._globalstep_last_logged = int(self.found.state["logged"])

    @property
    def _path(self) -> Path:
        if self.found is None:
            raise RuntimeError("no checkpoint was found")
        return self.found.path

    def _own(self) -> Tensors:
        from safetensors import safe_open

        prefix = f"{self.rank}."
        with safe_open(self._path / WORKERS, framework="pt") as file:
            names = [name for name in list(file.keys()) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}

    def _share(self, values: list[Any]) -> None:
        """Replace `values` by those of the first process."""
        if self.world > 1:
            import torch

            torch.distributed.broadcast_object_list(values, src=0)

    def _check(self, found: Checkpoint) -> None:
        old, new = found.state["config"], json.loads(json.dumps(masked(flat(self.config))))
        other = differences(
            *(
                {key: value for key, value in values.items() if key not in self.free}
                for values in (old, new)
            )
        )
        if found.state["world"] != self.world:
            other.append(f"the number of processes was {found.state['world']}, is {self.world}")
        if other:
            raise ConfigError(
                f"checkpoint `{found.path}` is of another configuration: {'; '.join(other)}. Start "
                "a run of its own for that."
            )
        for split, digest in found.state["data"].items():
            if self.data.get(split) != digest:
                raise DataError(
                    f"the {split} rows are not those that checkpoint `{found.path}` was trained "
                    "on: start another run."
                )


def set_rates(trainer: Trainer, rates: Sequence[tuple[float, float]]) -> None:
    """Give each group of a loaded optimizer another (peak learning rate, weight decay), the former
    scaled as its schedule stands.
    """
    for group, (peak, decay) in zip(trainer.optimizer.param_groups, rates, strict=True):
        factor = group["lr"] / group["initial_lr"] if group["initial_lr"] else 0.0
        group["lr"], group["initial_lr"], group["weight_decay"] = peak * factor, peak, decay
    if hasattr(trainer.lr_scheduler, "base_lrs"):
        trainer.lr_scheduler.base_lrs = [peak for peak, _ in rates]


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a checkpoint cannot hold a `{type(value).__name__}`")
