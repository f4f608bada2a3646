"""A sweep directory: its name, its record `sweep.json` and its journal."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ftr import atomic
from ftr.atomic import finite, read_json
from ftr.errors import DataError, RequestError, RunError
from ftr.registry.discovery import own_version
from ftr.runs.directory import BEST, RunDirectory, check_types, named
from ftr.runs.directory import RECORD as RUN
from ftr.runs.directory import SWEEP as RECORD
from ftr.system import NO_FOLLOW
from ftr.terminal import masked

UNSYNCED = frozenset({"result"})
"""Events that are not worth waiting for the disk: after a power cut the trial evaluates that epoch
again.
"""

Event = dict[str, Any]


class Journal:
    """An append-only file with one writer; who holds the lock of the sweep may append, anyone may
    read.

    A process or machine that dies while writing leaves half a line at the end. `read` leaves it out
    and keeps it in `torn`; the next `append` cuts it off first, so a half line is never in the
    middle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn: str | None = None
        """The half line the last `read` found at the end."""
        self._whole = False

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event in a single write, and return it as `read` will; all but results are on
        the disk when this returns.

        `time` is now unless given. Numbers JSON has no word for (NaN, infinity) are written as
        `null`. Raises `RunError` naming the file when the disk refuses; what it took of the line is
        cut off again.
        """
        record = finite(masked({"event": event, "time": time.time(), **fields}))
        text = json.dumps(record, ensure_ascii=False, default=_plain)
        line = f"{text}\n".encode()
        try:
            if not self._whole:
                self._cut_torn_end()
            self._write(line, sync=event not in UNSYNCED)
        except OSError as error:
            self._whole = False
            raise RunError(
                f"cannot write `{self.path}`: {error.strerror or error}. Free space, then resume "
                "the sweep."
            ) from error
        written: Event = json.loads(text)
        return written

    def read(self) -> list[Event]:
        """Return the events in the order they were written.

        Raises `DataError` naming file and line where a line that is not the last one is damaged, or
        the file cannot be read.
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
                raise DataError(
                    f"`{self.path}` line {number} is damaged: {_shown(line)}. Restore the file, or "
                    "delete the line."
                )
        return events

    def _cut_torn_end(self) -> None:
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
        # O_APPEND and one write: a reader beside us sees the whole line or, for a moment, a part of
        # the last one.
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | NO_FOLLOW)
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


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it does: numbers of numpy and torch, paths."""
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item"):
        return finite(value.item())
    raise TypeError(f"a journal holds JSON, not {type(value).__name__}")


FORMAT = 1
TYPES = {
    **dict.fromkeys(("status", "primary", "mode"), str),
    "created": (int, float),
    **dict.fromkeys(("config", "sweep", "space"), dict),
    # Not in every record.
    **dict.fromkeys(("origins", "components", "data", "counts"), dict),
    "chosen": list,
}
NEEDED = frozenset({"status", "created", "config", "sweep", "space", "primary", "mode"})


@dataclass(frozen=True)
class SweepDirectory(RunDirectory):
    """One sweep on disk.

    Nothing in it holds an absolute path: it can be moved and resumed elsewhere.
    """

    @property
    def record(self) -> Path:
        """The file `sweep.json`."""
        return self.path / RECORD

    @property
    def best(self) -> Path:
        """The directory of the winner, an ordinary run."""
        return self.path / BEST

    @cached_property
    def journal(self) -> Journal:
        """The journal; always the same object, which knows whether its last line is complete."""
        return Journal(self.path / "journal.jsonl")

    @classmethod
    def create(cls, output: str, label: str) -> Self:
        """Make `<output>/<time>-sweep-<label>-<random>` and open its journal.

        Raises `RunError` when the place cannot be written to.
        """
        made = super().create(output, f"sweep-{label}")
        try:
            (made.path / "trials").mkdir()
            made.journal.append("open", format=FORMAT)
        except OSError as error:
            raise RunError(
                f"cannot write into `{made.path}`: {error.strerror or error}. Give another place "
                "with `output=`."
            ) from error
        return made

    def read(self) -> dict[str, Any]:
        """Return the record.

        Raises `RequestError` when it is damaged, or of another version of the format.
        """
        try:
            record = read_json(self.record)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"`{self.record}` cannot be read: {error}. Restore the file, or start the sweep "
                "again."
            ) from error
        if not isinstance(record, dict) or "format" not in record:
            raise RequestError(f"`{self.record}` is not the record of a sweep: it has no `format`.")
        if record["format"] != FORMAT:
            written = record.get("ftr", "unknown")
            raise RequestError(
                f"`{self.record}` has format {record['format']}, written by ftr {written}; this is "
                f"ftr {own_version()}, which reads format {FORMAT}. Resume the sweep with that "
                f"version (`pip install ftr=={written}`), or start it again with this one."
            )
        missing = sorted(NEEDED - record.keys())
        if missing:
            raise RequestError(
                f"`{self.record}` is not the record of a sweep: it has no "
                f"{', '.join(f'`{key}`' for key in missing)}."
            )
        check_types(self.record, record, TYPES)
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record; `format` is added."""
        atomic.write_json(self.record, {"format": FORMAT, **record})

    def events(self) -> list[Event]:
        """Return the events of the journal.

        Raises `DataError` when it is not that of this sweep: without it trials that ended would be
        trained again.
        """
        events = self.journal.read()
        known = {event.get("trial") for event in events}
        lost = [
            path.parent.name
            for path in self.path.glob(f"trials/*/{RUN}")
            if path.parent.name.isdigit() and int(path.parent.name) not in known
        ]
        cause = f"it has no event of trial {int(min(lost))}, which is there" if lost else None
        if not events or events[0]["event"] != "open":
            cause = "it does not begin with the event `open`"
        if cause:
            raise DataError(
                f"`{self.journal.path}` is not the journal of this sweep: {cause}. Restore the "
                "file from a copy."
            )
        return events

    def trial_path(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.path / trial_folder(number)


def trial_folder(number: int) -> str:
    """Return the run directory of a trial, within that of its sweep."""
    return f"trials/{number:04d}"


def open_directory(given: str | Path, output: str = "runs") -> RunDirectory | SweepDirectory:
    """Find a run or sweep by its directory, or by its name (or the start of it) under `output`.

    Raises `RequestError` when it is not found, or several runs or sweeps are called so.
    """
    found = named(given, output)
    is_sweep = found is not None and (found / RECORD).is_file()
    return SweepDirectory(found) if found and is_sweep else RunDirectory.open(given, output)


def all_sweeps(output: Path) -> list[SweepDirectory]:
    """Return the sweeps under `output`, oldest first."""
    return [SweepDirectory(record.parent) for record in sorted(output.glob(f"*/{RECORD}"))]
