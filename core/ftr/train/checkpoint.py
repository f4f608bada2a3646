"""Checkpoint folders: complete or absent, verified by hash; and the history of a run's attempts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.errors import RequestError, RunError
from ftr.registry.discovery import own_version

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


class Damaged(Exception):  # noqa: N818 - a finding, not an error of the program
    """What is wrong with a checkpoint."""


def write_checkpoint(
    root: Path, step: int, fill: Callable[[Path], Mapping[str, str]], keep: int
) -> Path:
    """Write the checkpoint of `step` under `root` and leave the newest `keep`.

    `fill` writes the files into the folder it is given, and may return the sha256 of some, by name.
    The folder gets its name last, when all is on the disk. Raises `RunError` naming the folder when
    the disk refuses.
    """
    from safetensors import SafetensorError

    folder = root / f"step-{step:08d}"
    try:
        with atomic.new_folder(folder) as fresh:
            _fill(fresh, fill(fresh))
    except (OSError, SafetensorError) as error:  # a disk that fills up under tensors is the latter
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise RunError(
            f"cannot write the checkpoint `{folder}`: {cause}. Free space, then resume."
        ) from error
    for old in folders(root)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _fill(fresh: Path, known: Mapping[str, str]) -> None:
    files = {
        str(path.relative_to(fresh)): path for path in sorted(fresh.rglob("*")) if path.is_file()
    }
    manifest = {
        name: {"sha256": known.get(name) or sha256(path), "bytes": path.stat().st_size}
        for name, path in files.items()
    }
    content = {"format": FORMAT, "ftr": own_version(), "files": manifest}
    (fresh / MANIFEST).write_text(json.dumps(content, indent=2), encoding="utf-8")


def find_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest good checkpoint under `root`, and a line on each newer one that is damaged;
    those are removed.

    Raises `RequestError` where a newer version of ftr wrote one.
    """
    check_format(root)
    notes: list[str] = []
    atomic.clear_leftovers(root, held=True)
    for folder in reversed(folders(root)):
        try:
            return verified(folder), notes
        except Damaged as damage:
            notes.append(f"checkpoint `{folder}` is left out: {damage}")
            shutil.rmtree(folder, ignore_errors=True)
    return None, notes


def check_format(root: Path) -> None:
    """Raise `RequestError` where a checkpoint under `root` is of a newer format than this version
    of ftr reads: none is removed.
    """
    for folder in folders(root):
        with contextlib.suppress(Damaged):
            manifest = _json(folder / MANIFEST)
            known = manifest.get("format")
            if isinstance(known, int) and known > FORMAT:
                raise RequestError(
                    f"checkpoint `{folder}` has format {known}, written by ftr "
                    f"{manifest.get('ftr', 'of a newer version')}; this is ftr {own_version()}, "
                    f"which reads format {FORMAT}. Resume the run with the version that began it."
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
            str(name): (str(entry["sha256"]), int(entry["bytes"]))
            for name, entry in manifest["files"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Damaged(f"`{MANIFEST}` is not one") from None
    for name, (digest, size) in listed.items():
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
    """Remove all checkpoints of a run: it is done."""
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)


def link_files(source: Path, target: Path) -> None:
    """Make `target` a folder of the same files as `source`: as links where the file system has
    them, else as copies.
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
"""Beside the checkpoints, and gone with them: one line for each time the training began or went
on.
"""


def begin_history(run: Path, found: Checkpoint | None) -> bool:
    """Note that a process begins to train `run`, from a checkpoint or from the start; returns
    whether one had begun before.

    Lines of `metrics.jsonl` that the training will write again are dropped.
    """
    before = attempts(run)
    step = found.step if found else 0
    cut_metrics(run / METRICS, found.step if found else None)
    (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    atomic.append_line(
        run / CHECKPOINTS / ATTEMPTS, {"time": time.time(), "process": os.getpid(), "step": step}
    )
    atomic.sync(run / CHECKPOINTS / ATTEMPTS)
    return bool(before)


def attempts(run: Path) -> list[dict[str, Any]]:
    """Return time, process and step of each time a run began or went on; empty once it is done."""
    return _lines(run / CHECKPOINTS / ATTEMPTS)


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations on validation rows that `metrics.jsonl` has."""
    return [line for line in _lines(run / METRICS) if line["kind"] == "validation"]


def cut_metrics(path: Path, step: int | None) -> None:
    """Keep the lines up to `step` (None: none at all), without the final scores, which are computed
    again.

    A line that a crash tore is dropped.
    """
    if path.is_file():
        kept = (
            []
            if step is None
            else [line for line in _lines(path) if line["step"] <= step and line["kind"] != "final"]
        )
        atomic.write_lines(path, kept)


def keep_history(run: Path) -> None:
    """See to it that a machine that loses power keeps the lines of `metrics.jsonl` that a
    checkpoint relies on.
    """
    path = run / METRICS
    if path.is_file():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and "step" in value:
                found.append(value)
    return found
