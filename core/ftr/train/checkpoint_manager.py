"""Saves and restores a training: what a checkpoint holds, and when one is due."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from transformers import Trainer

from ftr.config.resolve import differences, flat
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, DataError
from ftr.model.adapters import is_adapted
from ftr.model.transformers_private import set_unlogged_loss, unlogged_loss
from ftr.terminal import masked, verbosity
from ftr.train.checkpoint import (
    CHECKPOINTS,
    FORMAT,
    STATE,
    Checkpoint,
    find_checkpoint,
    write_checkpoint,
)
from ftr.train.hardware import rng_state, set_rng_state
from ftr.train.optim import ExponentialMovingAverage

SECONDS_BETWEEN = 30.0
SHARE = 1 / 20
"""Most of the time that `auto` spends on writing."""


@dataclass(slots=True)
class SaveInterval:
    """Counts steps, or with `auto` seconds, since the last checkpoint; `auto` measures what writing
    costs.
    """

    every: int | Literal["auto"]
    last_step: int = 0
    writing: float = 0.0
    longest: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)

    def start(self, step: int) -> None:
        """Start counting at `step`, now."""
        self.last_step = step
        self._began = self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to write a checkpoint after `step`."""
        if step == self.last_step or self.every == 0:
            return False
        if self.every != "auto":
            return step // self.every > self.last_step // self.every
        now = time.monotonic()
        return now - self._since >= SECONDS_BETWEEN and self.writing + self.longest <= SHARE * (
            now - self._began
        )

    def saved(self, step: int, seconds: float) -> None:
        """Count a checkpoint of `step` that took `seconds`."""
        self.last_step, self._since = step, time.monotonic()
        self.writing, self.longest = self.writing + seconds, max(self.longest, seconds)


Tensors = dict[str, Tensor]


class NotSerializable(Exception):  # noqa: N818 - reported, and the training continues
    """A state holds an object that is neither a tensor nor plain; the message names it."""


def split_tensors(value: Any, name: str, tensors: Tensors) -> Any:
    """Return `value` as JSON can hold it; its tensors go to `tensors`, under dotted names that
    begin with `name`.

    Raises `NotSerializable`.
    """
    if isinstance(value, Tensor):
        # A view would drag its whole storage along.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [split_tensors(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        pairs = value.items()
        return {
            "dict": [[key, split_tensors(item, f"{name}.{key}", tensors)] for key, item in pairs]
        }
    raise NotSerializable(f"`{name}` is a `{type(value).__name__}`")


def join_tensors(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `split_tensors` was given. Raises `KeyError` for a missing tensor."""
    if isinstance(plain, list):
        return [join_tensors(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tensor":
        # Out of the mapped file, into memory as aligned as any other tensor's.
        return tensors[content].clone()
    if kind == "tuple":
        return tuple(join_tensors(item, tensors) for item in content)
    return {key: join_tensors(item, tensors) for key, item in content}


WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PLAIN = "optimizer.json"
TRAINER = "trainer_state.json"
AVERAGES = "averages.safetensors"
WORKERS = "workers.safetensors"
"""Of each process, under `<rank>.`: random generators, and the loss since the last log entry."""


@dataclass(slots=True)
class CheckpointManager:
    """The checkpoints of one training in one of its processes; only the first process writes.

    `session_state` returns what the session must restore, `add_files` puts the best weights into a
    checkpoint folder, and `data` is the sha256 of each split's rows. With `every_evaluation` one is
    written after every evaluation. Keys in `changeable` may differ from those of a checkpoint: the
    training resumes with their new values.
    """

    folder: Path
    config: RunConfig
    data: dict[str, str]
    rank: int
    world: int
    log: Callable[[str], None]
    session_state: Callable[[], dict[str, Any]] = dict
    add_files: Callable[[Path], dict[str, str]] = lambda folder: {}
    every_evaluation: bool = False
    changeable: Sequence[str] = ()
    averages: ExponentialMovingAverage | None = None
    found: Checkpoint | None = None
    interval: SaveInterval = field(init=False)

    def __post_init__(self) -> None:
        self.interval = SaveInterval(self.config.train.save_steps)

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
                self.log(note)
        self._from_first(found)
        self.found = found[0]
        if self.found is not None:
            with self.readable():
                self._check(self.found)
        return self.found

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn errors that a checkpoint's content causes into a `DataError` that names it."""
        try:
            yield
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise DataError(
                f"checkpoint `{self._path}` was not written by ftr ({cause}): remove it, then "
                "resume."
            ) from error

    def due(self, step: int) -> bool:
        """Whether to write a checkpoint after `step`; the first process decides for all."""
        if self.config.train.save_steps == 0:
            return False
        answer = [self.interval.due(step)]
        self._from_first(answer)
        return answer[0]

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint of the training as it is now.

        Raises `RunError` when the disk refuses.
        """
        began, step = time.monotonic(), trainer.state.global_step
        loss, logged = unlogged_loss(trainer)
        own = {**rng_state(trainer.args.device.type), "loss": loss}
        workers: list[Tensors] = [own]
        if self.world > 1:
            workers = [{}] * self.world
            torch.distributed.all_gather_object(workers, own)
        if self.rank == 0:
            keep = self.config.train.save_total_limit
            try:
                write_checkpoint(
                    self.root, step, lambda to: self._write(to, trainer, workers, logged), keep
                )
            except NotSerializable as error:
                self.disable(str(error))
        self.interval.saved(step, time.monotonic() - began)
        if verbosity() > 0:
            self.log(f"checkpoint of step {step}: {time.monotonic() - began:.1f} s")

    def disable(self, reason: str) -> None:
        """Write no more checkpoints, and report why."""
        self.interval.every = 0
        self.log(f"no checkpoints are written, so this training cannot be resumed: {reason}")

    def _write(
        self, folder: Path, trainer: Trainer, workers: list[Tensors], logged: int
    ) -> dict[str, str]:
        save_weights(trainer.model, folder / WEIGHTS)
        if self.averages is not None:
            self.averages.save(folder / AVERAGES)
        tensors: Tensors = {}
        plain = {
            name: None if part is None else split_tensors(part.state_dict(), name, tensors)
            for name, part in _stateful(trainer).items()
        }
        save_file(tensors, folder / OPTIMIZER)
        named = {
            f"{rank}.{name}": tensor
            for rank, state in enumerate(workers)
            for name, tensor in state.items()
        }
        save_file(named, folder / WORKERS)
        dataclasses.replace(trainer.state, log_history=[]).save_to_json(str(folder / TRAINER))
        state = {
            "format": FORMAT,
            "step": trainer.state.global_step,
            "max_steps": trainer.state.max_steps,
            "logged": logged,
            "world": self.world,
            "config": masked(flat(self.config)),
            "data": self.data,
            **self.session_state(),
        }
        for name, content in ((PLAIN, plain), (STATE, state)):
            (folder / name).write_text(json.dumps(content, default=_plain), encoding="utf-8")
        return self.add_files(folder)

    def load_model(self, trainer: Trainer) -> None:
        """Load the weights, and their averages."""
        with self.readable():
            load_weights(trainer.model, self._path / WEIGHTS)
            if self.averages is not None:
                self.averages.load(self._path / AVERAGES)

    def load_optimizer(self, trainer: Trainer) -> None:
        """Load the states of optimizer, schedule and loss scaler."""
        groups = trainer.optimizer.param_groups if self.changeable else ()
        rates = [(group["initial_lr"], group["weight_decay"]) for group in groups]
        with self.readable():
            tensors = load_file(self._path / OPTIMIZER)
            plain = json.loads((self._path / PLAIN).read_text(encoding="utf-8"))
            for name, part in _stateful(trainer).items():
                if part is not None and plain[name] is not None:
                    part.load_state_dict(join_tensors(plain[name], tensors))
            if self.changeable:
                set_rates(trainer, rates)

    def load_rng(self, trainer: Trainer) -> None:
        """Set this process's random generators."""
        with self.readable():
            set_rng_state(self._own(), trainer.args.device.type)

    def load_unlogged_loss(self, trainer: Trainer) -> None:
        """Restore the loss summed up since the last log entry, which the trainer has just reset."""
        if self.found is not None:
            set_unlogged_loss(trainer, self._own()["loss"], int(self.found.state["logged"]))

    @property
    def _path(self) -> Path:
        if self.found is None:
            raise RuntimeError("no checkpoint was found")
        return self.found.path

    def _own(self) -> Tensors:
        prefix = f"{self.rank}."
        with safe_open(self._path / WORKERS, framework="pt") as file:
            names = [name for name in list(file.keys()) if name.startswith(prefix)]
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}

    def _from_first(self, values: list[Any]) -> None:
        """Replace `values` by those of the first process."""
        if self.world > 1:
            torch.distributed.broadcast_object_list(values, src=0)

    def _check(self, found: Checkpoint) -> None:
        new = json.loads(json.dumps(masked(flat(self.config))))
        old, new = (
            {key: value for key, value in values.items() if key not in self.changeable}
            for values in (found.state["config"], new)
        )
        # A key that is newer than the checkpoint has its default.
        newer = {key for key in new.keys() - old.keys() if new[key] in (_DEFAULTS.get(key), False)}
        other = differences(old, {key: new[key] for key in new if key not in newer})
        if found.state["world"] != self.world:
            other.append(f"the number of processes was {found.state['world']}, is {self.world}")
        if other:
            raise ConfigError(
                f"checkpoint `{found.path}` is of another configuration: {'; '.join(other)}. Start "
                "another run for that."
            )
        for split, digest in found.state["data"].items():
            if self.data.get(split) != digest:
                raise DataError(
                    f"the {split} rows are not those that checkpoint `{found.path}` was trained "
                    "on: start another run."
                )


_PLACEHOLDER = {"name": "-"}
_DEFAULTS = json.loads(
    json.dumps(
        flat(
            RunConfig.model_validate(
                {"metrics": ["-"], **dict.fromkeys(("dataset", "model", "head"), _PLACEHOLDER)}
            )
        )
    )
)
"""The built-in default of every key that has one."""


def _stateful(trainer: Trainer) -> dict[str, Any]:
    """Return optimizer, scheduler and loss scaler; there may be no scaler."""
    return {
        "optimizer": trainer.optimizer,
        "scheduler": trainer.lr_scheduler,
        "scaler": getattr(trainer.accelerator, "scaler", None),
    }


def set_rates(trainer: Trainer, rates: Sequence[tuple[float, float]]) -> None:
    """Give each group of a loaded optimizer another (peak learning rate, weight decay); the rate is
    scaled by where its schedule is.
    """
    for group, (peak, decay) in zip(trainer.optimizer.param_groups, rates, strict=True):
        factor = group["lr"] / group["initial_lr"] if group["initial_lr"] else 0.0
        group["lr"], group["initial_lr"], group["weight_decay"] = peak * factor, peak, decay
    if hasattr(trainer.lr_scheduler, "base_lrs"):
        trainer.lr_scheduler.base_lrs = [peak for peak, _ in rates]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a model in training; of one with adapters, those that train."""
    if not is_adapted(model):
        save_model(model, str(path))
        return
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    save_file({name: one.detach().contiguous() for name, one in trained.items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote."""
    if not is_adapted(model):
        load_model(model, path)
        return
    weights = dict(model.named_parameters())
    for name, saved in load_file(path).items():
        weights[name].detach().copy_(saved)


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a checkpoint cannot hold a `{type(value).__name__}`")
