"""One process at a time in a run or sweep directory: a lock that the kernel lets go when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ftr.errors import RequestError, RunError

LOCK = ".lock"
PATIENCE = 0.5
"""Seconds to try: whoever looks whether a lock is held holds it for a moment."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a directory, by a file in it that is removed in the end.

    Raises `RequestError` naming process and host when another living process holds it, `RunError` when it cannot be written.
    """
    path = folder / LOCK
    stream = _acquire(path)
    try:
        stream.truncate()
        stream.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
        stream.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        stream.close()


def is_held(folder: Path) -> bool:
    """Whether a living process holds a directory."""
    try:
        with os.fdopen(os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _acquire(path: Path) -> BinaryIO:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # In a folder from elsewhere it may be a link, which must not be written through, or a pipe.
            stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "r+b")
        except OSError as error:
            raise RunError(f"cannot write `{path}`: {error.strerror or error}.") from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file after it was opened here: then the lock is on nothing.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return stream
        except BlockingIOError:
            if time.monotonic() > deadline:
                stream.seek(0)
                holder = stream.read()
                stream.close()
                raise RequestError(_refusal(path, holder)) from None
            time.sleep(PATIENCE / 10)
        except FileNotFoundError:
            pass
        stream.close()


def _refusal(path: Path, holder: bytes) -> str:
    try:
        known = json.loads(holder)
        by = f"process {known['process']} on `{known['host']}`"
    except (ValueError, KeyError, TypeError):
        by = "another process"
    return f"`{path.parent}` is being worked on by {by}: wait for it to end, or stop it."
