"""A sweep directory: its name, its record `sweep.json`, its journal, and the run directories of its trials."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.errors import DataError, RequestError, RunError
from ftr.paths import expanded
from ftr.runs.directory import BEST, RunDirectory, check_types, named
from ftr.runs.directory import RECORD as RUN
from ftr.runs.directory import SWEEP as RECORD
from ftr.runs.journal import Event, Journal
from ftr.runs.lock import hold
from ftr.train.folder import read_json

FORMAT = 1
TYPES = {
    **dict.fromkeys(("status", "primary", "mode"), str),
    "created": (int, float),
    **dict.fromkeys(("config", "sweep", "space"), dict),
    # Not in every record.
    **dict.fromkeys(("origins", "components", "data", "counts"), dict),
}
NEEDED = frozenset({"status", "created", "config", "sweep", "space", "primary", "mode"})


@dataclass(frozen=True)
class SweepDirectory:
    """One sweep on disk. Nothing in it holds an absolute path: it can be moved and resumed elsewhere."""

    path: Path

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
        """The journal; always the same object, for it knows whether the end of the file is whole."""
        return Journal(self.path / "journal.jsonl")

    @classmethod
    def create(cls, output: str, label: str) -> SweepDirectory:
        """Make `<output>/<time>-sweep-<label>-<random>` and open its journal.

        Raises `RunError` when the place cannot be written to.
        """
        made = cls(RunDirectory.create(output, f"sweep-{label}").path)
        try:
            (made.path / "trials").mkdir()
            made.journal.append("open", format=FORMAT)
        except OSError as error:
            raise RunError(f"cannot write into `{made.path}`: {error.strerror or error}. Give another place with `output=`.") from error
        return made

    @classmethod
    def open(cls, given: str | Path, output: str = "runs") -> SweepDirectory:
        """Find a sweep by its directory, or by its name (or the start of it) under `output`.

        Raises `RequestError` naming the sweeps there are when it is not found, or several runs or sweeps are called so.
        """
        found = named(given, output)
        if found is not None and (found / RECORD).is_file():
            return cls(found)
        known = ", ".join(f"`{sweep.path}`" for sweep in all_sweeps(expanded(output))[-5:]) or "none"
        raise RequestError(f"`{given}` is no sweep directory: it has no `{RECORD}`. Sweeps under `{output}`: {known}.")

    def read(self) -> dict[str, Any]:
        """Return the record. Raises `RequestError` when it is damaged, or of another version of the format."""
        try:
            record = read_json(self.record)
        except (OSError, ValueError) as error:
            raise RequestError(f"`{self.record}` cannot be read: {error}. Restore the file, or start the sweep anew.") from error
        if not isinstance(record, dict) or "format" not in record:
            raise RequestError(f"`{self.record}` is not the record of a sweep: it has no `format`.")
        if record["format"] != FORMAT:
            raise RequestError(_other_version(self.record, record))
        missing = sorted(NEEDED - record.keys())
        if missing:
            raise RequestError(f"`{self.record}` is not the record of a sweep: it has no {', '.join(f'`{key}`' for key in missing)}.")
        check_types(self.record, record, TYPES)
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record; `format` is added."""
        atomic.write_json(self.record, {"format": FORMAT, **record})

    def events(self) -> list[Event]:
        """Return what the journal tells.

        Raises `DataError` when it is not that of this sweep: without it trials that ended would be trained again.
        """
        events = self.journal.read()
        told = {event.get("trial") for event in events}
        lost = [
            path.parent.name
            for path in self.path.glob(f"trials/*/{RUN}")
            if path.parent.name.isdigit() and int(path.parent.name) not in told
        ]
        cause = f"it does not tell of trial {int(min(lost))}, which is there" if lost else None
        if not events or events[0]["event"] != "open":
            cause = "it does not begin with the event `open`"
        if cause:
            raise DataError(f"`{self.journal.path}` is not the journal of this sweep: {cause}. Restore the file from a copy.")
        return events

    def trial_path(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.path / "trials" / f"{number:04d}"

    def lock(self) -> AbstractContextManager[Any]:
        """Hold the sweep for this process. Raises `RequestError` when another living process drives it."""
        return hold(self.path)


def all_sweeps(output: Path) -> list[SweepDirectory]:
    """Return the sweeps under `output`, oldest first."""
    return [SweepDirectory(record.parent) for record in sorted(output.glob(f"*/{RECORD}"))]


def _other_version(path: Path, record: dict[str, Any]) -> str:
    from ftr.discovery import own_version

    written = record.get("ftr", "unknown")
    return (
        f"`{path}` has format {record['format']}, written by ftr {written}; this is ftr {own_version()}, which reads format {FORMAT}. "
        f"Resume the sweep with that version (`pip install ftr=={written}`), or start it anew with this one."
    )
