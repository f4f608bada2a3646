"""Bringing a mirrored folder back, whole and checked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from ftr.errors import RequestError, RunError
from ftr.runs.manifest import Entry, Manifest
from ftr.runs.place import THREADS, Place
from ftr.runs.scan import scan, unchanged

ATTEMPTS = 5  # times a reader starts anew because a writer overtook it
LEFT_SECONDS = 60  # age from which a folder that nobody holds is what a killed process left


def fetch(place: Place, name: str, local: Path, exclude: tuple[str, ...] = ()) -> None:
    """Make the folder `local` equal to what is kept under `name`; `Storage.fetch` says how."""
    manifest = _manifest(place, name)
    with _workroom(local) as room:
        for _ in range(ATTEMPTS):
            wanted = {path: entry for path, entry in (manifest.files or {}).items() if not _fits(path, exclude)}
            problem = _download(place, name, wanted, local, room)
            if problem is None:
                break
            latest = _manifest(place, name)
            if latest == manifest:
                raise RunError(f"`{name}/{problem}. Mirror it again from a sound copy, or remove `{name}` there.")
            manifest = latest
        else:
            raise RunError(f"`{name}` in `compute.storage={place.shown}` changes faster than it can be read. Stop the run that writes it.")
        _put(room, local, wanted, exclude)


def _manifest(place: Place, name: str) -> Manifest:
    manifest = Manifest.read(place, name)
    if manifest is None or manifest.files is None:
        raise RequestError(f"`compute.storage={place.shown}` keeps nothing whole under the name `{name}`.")
    return manifest


def _download(place: Place, name: str, wanted: dict[str, Entry], local: Path, room: Path) -> str | None:
    """Bring the files that neither folder has; return what is wrong with one that the place does not have as the manifest says."""

    def bring(path: str) -> str | None:
        entry = wanted[path]
        if _has(local / path, entry) or _has(room / path, entry):
            return None
        digest = hashlib.sha256()
        (room / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with (room / path).open("wb") as stream:
                for block in place.blocks(f"{name}/{entry.staged or path}"):
                    digest.update(block)
                    stream.write(block)
        except FileNotFoundError:
            return f"{path}` is missing in `compute.storage={place.shown}`"
        if digest.hexdigest() != entry.sha256:
            return f"{path}` in `compute.storage={place.shown}` is damaged: its sha256 is not that of its manifest"
        if entry.time is not None:
            os.utime(room / path, ns=(entry.time, entry.time))
        return None

    with ThreadPoolExecutor(THREADS) as pool, _named(local):
        return next((problem for problem in list(pool.map(bring, wanted)) if problem is not None), None)


def _put(room: Path, local: Path, wanted: dict[str, Entry], exclude: tuple[str, ...]) -> None:
    with _named(local):
        for path in scan(room).keys() - wanted.keys():
            (room / path).unlink()  # of a state that was overtaken
        if not local.is_dir() or not any(local.iterdir()):
            room.rename(local)
            return
        for path in scan(local, exclude).keys() - wanted.keys():
            (local / path).unlink(missing_ok=True)
            _remove_empty((local / path).parent, local)
        for path in wanted.keys() & scan(room).keys():
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            (room / path).replace(local / path)


def _has(path: Path, entry: Entry) -> bool:
    try:
        return unchanged(entry, path.stat(), path) is not None
    except OSError:
        return False


def _fits(path: str, exclude: tuple[str, ...]) -> bool:
    parts = path.split("/")
    return any(fnmatchcase("/".join(parts[: count + 1]), pattern) for count in range(len(parts)) for pattern in exclude)


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextlib.contextmanager
def _workroom(local: Path) -> Iterator[Path]:
    """Give an empty folder beside `local`, held by a lock, so that the next one removes what a killed process left."""
    room = local.with_name(f"{local.name}.new-fetch-{os.getpid()}-{secrets.token_hex(2)}")
    with _named(local):
        room.mkdir(parents=True)
    with _held(room):
        for left in room.parent.iterdir():
            if left.name.startswith(f"{local.name}.new-fetch-"):
                with contextlib.suppress(OSError), _held(left):
                    if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                        shutil.rmtree(left, ignore_errors=True)
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _named(local: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write `{error.filename or local}`: {error.strerror or error}. Free space, or give another place."
        ) from error
