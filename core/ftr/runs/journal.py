"""The journal of a sweep: one JSON object a line, only ever appended to, the whole truth of what happened."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.errors import DataError, RunError
from ftr.masking import masked

UNSYNCED = frozenset({"result"})
"""Events that are not worth waiting for the disk: after a power cut the trial evaluates that epoch again."""

Event = dict[str, Any]


class Journal:
    """An append-only file with one writer; who holds the lock of the sweep may append, anyone may read.

    A process or machine that dies while writing leaves half a line at the end. `read` leaves it out and tells it in `torn`;
    the next `append` cuts it off first, so a half line never stands in the middle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: str | None = None
        """The half line the last `read` found at the end."""
        self._whole = False

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event in a single write, and return it as `read` will; all but results are on the disk when this returns.

        `time` is now unless given. Numbers JSON has no word for (NaN, infinity) are written as `null`.
        Raises `RunError` naming the file when the disk refuses; what it took of the line is cut off again.
        """
        text = _json(masked({"event": event, "time": time.time(), **fields}))
        line = f"{text}\n".encode()
        try:
            if not self._whole:
                self._mend()
            self._write(line, sync=event not in UNSYNCED)
        except OSError as error:
            self._whole = False
            raise RunError(f"cannot write `{self.path}`: {error.strerror or error}. Free space, then resume the sweep.") from error
        written: Event = json.loads(text)
        return written

    def read(self) -> list[Event]:
        """Return the events in the order they were written.

        Raises `DataError` naming file and line where a line that is not the last one is damaged, or the file cannot be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise DataError(f"`{self.path}` cannot be read: {error.strerror or error}.") from error
        kept = _whole_lines(lines)
        torn = b"\n".join(lines[kept:])
        self.torn = torn.decode(errors="replace") if torn else None
        events = []
        for number, line in enumerate(lines[:kept], start=1):
            found = _event(line)
            if found is not None:
                events.append(found)
            elif line.strip():
                raise DataError(f"`{self.path}` line {number} is damaged: {_shown(line)}. Restore the file, or delete the line.")
        return events

    def _mend(self) -> None:
        """Cut half a line off the end, and make the file and its name in the folder last."""
        if not self.path.exists():
            self.path.touch()
            atomic.sync(self.path.parent)
        data = self.path.read_bytes()
        lines = data.split(b"\n")
        kept = _whole_lines(lines)
        length = sum(len(line) + 1 for line in lines[:kept])
        if length < len(data):
            os.truncate(self.path, length)
        self._whole = True

    def _write(self, line: bytes, *, sync: bool) -> None:
        # O_APPEND and one write: a reader beside us sees the whole line or, for a moment, a part of the last one.
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            written = os.write(opened, line)
            if written < len(line):
                os.ftruncate(opened, os.fstat(opened).st_size - written)
                raise OSError(f"only {written} of {len(line)} bytes were written")
            if sync:
                os.fsync(opened)
        finally:
            os.close(opened)


def _whole_lines(lines: list[bytes]) -> int:
    """Return how many of `lines` (split at line ends) are not part of a torn end."""
    kept = len(lines) - 1  # what follows the last line end is nothing, or torn
    if kept and lines[kept - 1].strip() and _event(lines[kept - 1]) is None:
        kept -= 1
    return kept


def _event(line: bytes) -> Event | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace")
    return f"`{text[:60]}…`" if len(text) > 60 else f"`{text}`"


def _json(record: Event) -> str:
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(record), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it does: numbers of numpy and torch, paths."""
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item"):
        return _finite(value.item())
    raise TypeError(f"a journal holds JSON, not {type(value).__name__}")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
