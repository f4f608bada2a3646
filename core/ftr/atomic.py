"""Atomic writes, file locks and hashes: a crash or a power cut leaves the old file or the new one.

New content goes into a file or folder beside its destination, with an unguessable name
(`model.new-HOST-PROCESS-RANDOM`), locked by this process. It is synced and renamed, and its parent
folder is synced. The kernel releases the lock when a process dies, so `clear_leftovers` recognizes
the files of a killed process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftr.errors import RunError
from ftr.system import FOLDER, NO_FOLLOW, NO_WAIT, is_own, is_running, sync_handle
from ftr.terminal import masked

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_UNFINISHED = re.compile(r"\.(?:new|old)-(?:([0-9a-f]{8})-)?(\d+)(?:-[0-9a-z_]+)?$")
JSON_LIMIT = 256 * 2**20
"""Largest size in bytes of a JSON file; the largest tokenizers have 35 MB."""
_YOUNG = 60.0
"""Seconds after which every file of a living process is locked."""


def sha256(content: Path | bytes | str) -> str:
    """Return the SHA-256 of a file, of bytes or of text, in hex. Raises `OSError`."""
    if isinstance(content, Path):
        with content.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


@contextlib.contextmanager
def writing(path: Path, advice: str = "Free space, or give another place.") -> Iterator[None]:
    """Raise an `OSError` of the block as a `RunError` that names `path`, or the file in it, and
    gives `advice`.
    """
    try:
        yield
    except OSError as error:
        inside = error.filename and Path(str(error.filename)).is_relative_to(path)
        file = error.filename if inside else path
        raise RunError(
            f"cannot write `{file}`: {error.strerror or error}. {advice}".rstrip()
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path`, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path`; a link is replaced, not followed.

    A file keeps its mode. Raises `RunError` naming the file when the disk refuses.
    """
    with writing(path):
        replace_file(path, content)


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Do the same as `write_bytes`, but raise `OSError`; a new file gets `mode`."""
    fresh = _fresh(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, mode), "wb"
        ) as stream:
            _lock(stream.fileno())
            if path.is_file() and not path.is_symlink():
                fresh.chmod(stat.S_IMODE(path.stat().st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
        sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()  # left after an error


def write_json(path: Path, value: Any) -> None:
    """Replace the content of `path` by `value` as indented JSON, its secrets masked."""
    write_text(path, json.dumps(masked(value), indent=2, ensure_ascii=False, default=str) + "\n")


def finite(value: Any) -> Any:
    """Return plain data in which numbers that JSON lacks (NaN, infinity) are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str | int | None) else str(key): finite(item)
            for key, item in value.items()
        }
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that every parser reads: a number that is not finite is null, bytes are text with
    escapes, and any other unknown object is its `str`.
    """
    options: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "indent": indent}
    try:
        return json.dumps(value, default=_text_of, **options)
    except ValueError:
        return json.dumps(finite(value), default=_text_of, **options)


def _text_of(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the content of `path` by one JSON object per line."""
    write_text(path, json_lines(records))


def json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Return one JSON object per line."""
    return "".join(f"{to_json(record)}\n" for record in records)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file from an untrusted source.

    Raises `OSError`, `ValueError`.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size > JSON_LIMIT:
            raise ValueError(f"it has more than {JSON_LIMIT // 2**20} MB")
        text = stream.read(JSON_LIMIT + 1)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in a single write."""
    with writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def write_output(path: Path, text: str) -> bool:
    """Write a file that the user named, and return whether it is a regular file, not a device or a
    pipe.

    Links are followed. A file is replaced and keeps its mode and owner. It is overwritten in place
    where it has other hard links, or its folder or owner does not allow replacing it.
    """
    content = text.encode()
    with writing(path):
        known = path.stat() if path.exists() else None
        if known is not None and not stat.S_ISREG(known.st_mode):
            with path.open("wb") as stream:
                stream.write(content)
            return False
        if known is not None and os.path.samestat(known, os.fstat(1)):
            # Opened again it would have its own position, and later prints would overwrite it.
            sys.stdout.write(text)
            return False
        target = path.resolve()
        if known is not None and (
            known.st_nlink > 1
            or not is_own(known, group=True)
            or not os.access(target.parent, os.W_OK)
        ):
            target.write_bytes(content)
        else:
            replace_file(target, content)
    return True


@contextlib.contextmanager
def workroom(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; at the end it is removed unless it was renamed."""
    fresh = _fresh(path)
    fresh.mkdir(parents=True)
    with _held(fresh):
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def new_folder(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` when the block ends, unless the block raises.

    With `synced` it is then on the disk (else call `to_disk` later). Raises `OSError`.
    """
    with workroom(path) as fresh:
        yield fresh
        follow_umask(fresh)
        if synced:
            to_disk(fresh)
        old = _fresh(path)
        there = os.path.lexists(path)
        if there:
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if there:
                old.rename(path)
            raise
        if synced:
            sync(path.parent)
        remove(old)


@contextlib.contextmanager
def locked(path: Path, *, seconds: float = -1, holder: bytes = b"") -> Iterator[None]:
    """Hold the lock file `path`, in which others can read `holder`.

    The kernel releases it when this process dies. Waits for another holder, at most `seconds` if
    that is not negative. Raises `TimeoutError`, and `OSError` when the file cannot be written.
    """
    from filelock import FileLock

    def note(handle: int) -> None:
        try:
            os.ftruncate(handle, 0)
            os.write(handle, holder)
        except OSError:  # a full disk: leave no empty file
            path.unlink()
            raise

    path.parent.stat()  # the library would make a missing folder
    # A soft lock would outlive its holder.
    lock = FileLock(
        path,
        timeout=seconds,
        thread_local=False,
        fallback_to_soft=False,
        on_acquired=note if holder else None,
    )
    with lock:
        yield


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes that do the same; wait for them.

    It leaves no file in the folder. On a file system without locks it does nothing.
    """
    if FOLDER is None:
        name = sha256(str(folder.resolve()).casefold())
        with locked(Path(tempfile.gettempdir(), f"ftr-{name}.lock")):
            yield
        return
    from filelock import lock_descriptor

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            lock_descriptor(handle)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool | None:
    """Whether a living process holds the lock on a file or folder; None where that is unknown."""
    from filelock import lock_descriptor

    try:
        handle = os.open(path, os.O_RDONLY | NO_FOLLOW | NO_WAIT)
    except OSError:
        return None
    try:
        return not lock_descriptor(handle, blocking=False)
    except OSError:
        return None
    finally:
        os.close(handle)


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[str]:
    """Yield an empty folder `ftr-KIND…` in `TMPDIR`, and remove those of killed processes."""
    _clear_temporary()
    with (
        tempfile.TemporaryDirectory(
            prefix=f"ftr-{kind}.new-{_HOST}-{os.getpid()}-", ignore_cleanup_errors=True
        ) as folder,
        _held(Path(folder)),
    ):
        yield folder


def follow_umask(folder: Path) -> None:
    """Give files below `folder` the mode that the umask asks for: safetensors ignores it."""
    allowed = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and allowed & ~status.st_mode:
            path.chmod(stat.S_IMODE(status.st_mode) | allowed)


def to_disk(folder: Path) -> None:
    """Sync all files below `folder`, and its name in the folders above. Raises `OSError`."""
    for top, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(top, name))
        sync(Path(top))
    for above in folder.absolute().parents[:2]:
        sync(above)


def sync(path: Path) -> None:
    """Return when a file, or the list of names in a folder, is on the disk. Raises `OSError`."""
    # Unreadable files, links and pipes are not this process's; some file systems cannot sync a
    # folder.
    with contextlib.suppress(PermissionError, FileNotFoundError):
        try:
            handle = sync_handle(path)
        except OSError:
            if path.is_symlink():
                return
            raise
        if handle is None:
            return
        try:
            os.fsync(handle)
        except OSError:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                raise
        finally:
            os.close(handle)


def clear_leftovers(folder: Path, *, held: bool = False, deep: bool = True) -> None:
    """Remove unfinished files and folders of dead processes from `folder` and, if `deep`, from all
    folders below it.

    Those of living processes on any host stay. Names of older versions of ftr have no host: those
    are removed if this process has `held` the folder, or no process of that number runs here.
    """
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            found = _UNFINISHED.search(name)
            if found and _is_dead(path, found[1], int(found[2]), held):
                remove(path)
        folders[:] = [name for name in folders if deep and not _UNFINISHED.search(name)]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all in it; ignore errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@functools.cache
def _clear_temporary() -> None:
    with contextlib.suppress(OSError):
        clear_leftovers(Path(tempfile.gettempdir()), deep=False)


def _fresh(path: Path) -> Path:
    # Names are at most 255 bytes long.
    return path.with_name(f"{path.name[:50]}.new-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    if FOLDER is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | FOLDER | NO_FOLLOW)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    from filelock import lock_descriptor

    # Some network file systems, and folders of Windows, have no locks; there the process number in
    # the name decides.
    with contextlib.suppress(OSError):
        lock_descriptor(handle, blocking=False)


def _is_dead(path: Path, host: str | None, process: int, held: bool) -> bool:
    if host is None:
        return held or not is_running(process)
    if host != _HOST:
        return False
    locked = is_locked(path)
    if locked is None:
        return not is_running(process)
    try:
        young = time.time() - path.lstat().st_mtime < _YOUNG
    except OSError:
        return False
    # In a restarted container another process, or this one, may have the number.
    return not locked and not (young and is_running(process))
