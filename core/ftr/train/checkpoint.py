"""Checkpoint folders, verified by hash; a run's history; its best checkpoint; early stopping."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ftr import atomic
from ftr.atomic import sha256
from ftr.errors import RequestError, RunError, counted
from ftr.model.adapters import is_adapted, load_adapters, merge_adapters
from ftr.model.folder import ModelCard, check_folder, read_card, save_model, write_card
from ftr.registry.discovery import own_version

if TYPE_CHECKING:
    from ftr.registry.protocols import State
    from ftr.train.inference import Engine

CHECKPOINTS = "checkpoints"
FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified folder `checkpoints/step-00000120/`; `state` is its `state.json`."""

    path: Path
    step: int
    state: dict[str, Any]


class Damaged(Exception):  # noqa: N818 - reported, and an older checkpoint is used
    """What is wrong with a checkpoint."""


def write_checkpoint(
    root: Path, step: int, fill: Callable[[Path], Mapping[str, str]], keep: int
) -> Path:
    """Write the checkpoint of `step` under `root` and leave the newest `keep`.

    `fill` writes the files into the folder it is given, and may return the sha256 of some, by name.
    The folder gets its name last, when all is on the disk. Raises `RunError` naming the folder when
    the disk refuses.
    """
    folder = root / f"step-{step:08d}"
    try:
        with atomic.new_folder(folder) as fresh:
            known = fill(fresh)
            files = {
                str(path.relative_to(fresh)): {
                    "sha256": known.get(str(path.relative_to(fresh))) or sha256(path),
                    "bytes": path.stat().st_size,
                }
                for path in sorted(fresh.rglob("*"))
                if path.is_file()
            }
            content = {"format": FORMAT, "ftr": own_version(), "files": files}
            (fresh / MANIFEST).write_text(json.dumps(content, indent=2), encoding="utf-8")
    except (OSError, SafetensorError) as error:  # a disk that fills up under tensors is the latter
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise RunError(
            f"cannot write the checkpoint `{folder}`: {cause}. Free space, then resume."
        ) from error
    for old in folders(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def find_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest good checkpoint under `root`, and a message about each newer one that is
    damaged and was removed.

    Raises `RequestError` where a newer version of ftr wrote one.
    """
    check_format(root)
    notes: list[str] = []
    atomic.clear_leftovers(root, held=True)
    for folder in reversed(folders(root)):
        try:
            return verified(folder), notes
        except Damaged as damage:
            notes.append(f"checkpoint `{folder}` is damaged, and was removed: {damage}")
            shutil.rmtree(folder, ignore_errors=True)
    return None, notes


def check_format(root: Path) -> None:
    """Raise `RequestError` where a newer version of ftr wrote a checkpoint under `root`."""
    for folder in folders(root):
        manifest: dict[str, Any] = {}
        with contextlib.suppress(Damaged):
            manifest = _json(folder / MANIFEST)
        known = manifest.get("format")
        if isinstance(known, int) and known > FORMAT:
            raise RequestError(
                f"checkpoint `{folder}` has format {known}, written by ftr "
                f"{manifest.get('ftr', 'of a newer version')}; this is ftr {own_version()}, "
                f"which reads format {FORMAT}. Resume the run with the version that started it."
            )


def verified(folder: Path) -> Checkpoint:
    """Read a checkpoint after comparing each file with the manifest.

    Raises `Damaged` naming the first that differs.
    """
    manifest = _json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise Damaged(
            f"its format is {manifest.get('format')!r}, this version of ftr reads {FORMAT}"
        )
    try:
        listed = {
            str(name): (int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Damaged(f"`{MANIFEST}` is not one") from None
    for name, (size, digest) in listed.items():
        path = folder / name
        if not path.is_file():
            raise Damaged(f"`{name}` is missing")
        if path.stat().st_size != size or sha256(path) != digest:
            raise Damaged(f"`{name}` is not the file that was written (its sha256 differs)")
    if STATE not in listed:
        raise Damaged(f"`{STATE}` is missing")
    state = _json(folder / STATE)
    return Checkpoint(folder, int(state["step"]), state)


def folders(root: Path) -> list[Path]:
    """Return the checkpoint folders under `root`, oldest first, good or not."""
    return sorted(
        path
        for path in root.glob("step-*")
        if path.is_dir() and path.name.removeprefix("step-").isdigit()
    )


def last_step(run: Path) -> int | None:
    """Return the step of a run's newest checkpoint, unverified; None when it has none."""
    found = folders(run / CHECKPOINTS)
    return int(found[-1].name.removeprefix("step-")) if found else None


def remove_checkpoints(run: Path) -> None:
    """Remove all checkpoints of a finished run."""
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)


def link_files(source: Path, target: Path) -> None:
    """Make `target` a folder of the same files as `source`: hard links where possible, else
    copies.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file():
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Damaged(f"`{path.name}` is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"`{path.name}` cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise Damaged(f"`{path.name}` is not one")
    return value


METRICS = "metrics.jsonl"
ATTEMPTS = "attempts.jsonl"
"""Beside the checkpoints, and removed with them: one line for each start or resume."""


def begin_history(run: Path, found: Checkpoint | None) -> bool:
    """Record that a process begins to train `run`, from a checkpoint or from the start; return
    whether one had begun before.

    Drops the lines of `metrics.jsonl` that the training will write again, and the final scores.
    """
    before, metrics, path = attempts(run), run / METRICS, run / CHECKPOINTS / ATTEMPTS
    step = found.step if found else 0
    if metrics.is_file():
        lines = _lines(metrics) if found else []
        kept = [line for line in lines if line["step"] <= step and line["kind"] != "final"]
        atomic.write_lines(metrics, kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.append_line(path, {"time": time.time(), "process": os.getpid(), "step": step})
    atomic.sync(path)
    return bool(before)


def attempts(run: Path) -> list[dict[str, Any]]:
    """Return time, process and step of each start or resume of a run; empty once it is done."""
    return _lines(run / CHECKPOINTS / ATTEMPTS)


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations on validation rows that `metrics.jsonl` has."""
    return [line for line in _lines(run / METRICS) if line["kind"] == "validation"]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that hold a `step`, without one that a crash tore."""
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and "step" in line]


@dataclass(slots=True)
class EarlyStopping:
    """Counts evaluations since the best one.

    `patience` None never stops; `stopped` is the epoch and step where it did.
    """

    patience: int | None
    since: int = 0
    stopped: dict[str, Any] | None = None

    def update(self, better: bool, position: dict[str, Any], *, last: bool = False) -> bool:
        """Count an evaluation at `position` (`epoch` and `step`); return whether the training ends
        here, before its `last` step.
        """
        self.since = 0 if better else self.since + 1
        if self.patience is not None and self.since >= self.patience and not last:
            self.stopped = {key: position[key] for key in ("epoch", "step")}
        return self.stopped is not None

    def message(self, primary: str, best: dict[str, Any]) -> str:
        """Return the log message; `best` is the record of the best evaluation."""
        return (
            f"stopped early: {counted(self.since, 'evaluation')} without a better {primary} than "
            f"{best['value']:.4g} of epoch {best['epoch']:.2f}, whose weights are kept"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the count, for a checkpoint."""
        return {"since": self.since, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the count of a checkpoint."""
        self.since, self.stopped = state["since"], state["stopped"]


MODEL = "model"
BEST = "best"
"""Folder of a checkpoint with a copy of `model/`."""


@dataclass(slots=True)
class Evaluation:
    """One evaluation of a training; `files` has the sha256 of each weight file saved for it."""

    value: float | None = None
    step: int = 0
    epoch: float = 0.0
    state: State = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The entry of a run record."""
        return {"epoch": self.epoch, "step": self.step, "value": self.value}


class BestCheckpoint:
    """Saves and restores the best checkpoint of a run, `model/`; only the first process writes."""

    def __init__(
        self, folder: Path, card: ModelCard, rank: int, world: int, *, merge: bool = False
    ) -> None:
        """`folder` is the run directory; `merge` adds adapters to the weights that are saved."""
        self.model = folder / MODEL
        self.card, self.rank, self.world, self.merge = card, rank, world, merge
        self.best = Evaluation()
        self.last = self.best
        self.seconds = 0.0

    def save(self, engine: Engine, which: Evaluation) -> None:
        """Write the current weights to `model/`; `which` is their evaluation."""
        self.best = which
        if self.rank == 0:
            began = time.monotonic()
            model = merge_adapters(engine.model) if self.merge else engine.model
            save_model(self.model, model, engine.tokenizer, replace(self.card, state=which.state))
            which.files = weight_files(self.model)
            self.seconds += time.monotonic() - began

    def write_state(self, state: State) -> None:
        """Write the state that the head tuned last to `model/ftr.json`."""
        if self.rank == 0:
            write_card(self.model, replace(read_card(self.model), state=state))

    def restore(self, engine: Engine) -> Engine:
        """Return the engine with the weights in `model/`.

        Raises `RunError` when they are not those that were saved.
        """
        import torch

        model = merge_adapters(engine.model, keep=False) if self.merge else engine.model
        if self.rank == 0:
            self._check()
            if is_adapted(model):
                load_adapters(model, self.model)
            else:
                # Another user may have written the folder of a resumed run: do not follow its
                # config.
                check_folder(self.model)
                saved = type(model).from_pretrained(
                    self.model, config=model.config, use_safetensors=True, dtype="float32"
                )
                model.load_state_dict(saved.state_dict())
        if self.world > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
        return replace(engine, model=model)

    def _check(self) -> None:
        for name, digest in self.best.files.items():
            path = self.model / name
            if not path.is_file() or sha256(path) != digest:
                raise RunError(
                    f"`{path}` is not the file this run saved at step {self.best.step}: "
                    "it was changed or removed. Restore it, or train again."
                )

    def state_dict(self) -> dict[str, Any]:
        """Return best and last evaluation, for a checkpoint."""
        return {"best": asdict(self.best), "last": asdict(self.last)}

    def link(self, checkpoint: Path) -> dict[str, str]:
        """Link the best weights into a checkpoint folder; return their sha256 by name there."""
        if self.best.value is None:
            return {}
        link_files(self.model, checkpoint / BEST)
        return {f"{BEST}/{name}": digest for name, digest in self.best.files.items()}

    def load_state_dict(self, state: dict[str, Any], checkpoint: Path) -> None:
        """Restore what `state_dict` returned, and `model/` from the copy in the checkpoint."""
        self.best, self.last = Evaluation(**state["best"]), Evaluation(**state["last"])
        if self.rank == 0 and self.best.value is not None:
            # Always: a power cut may leave the weights whole and the tokenizer torn.
            with atomic.new_folder(self.model) as fresh:
                link_files(checkpoint / BEST, fresh)


def weight_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each weight file of a model directory, by name."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
