"""What a report is made from: a record, its files, and the rows with their predictions where they
can still be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftr.results.report.blocks import Section
from ftr.runs.directory import REJECTED, RunDirectory

if TYPE_CHECKING:
    from ftr.registry.protocols import Outcome
    from ftr.runs.heldout import HeldOut

Record = Mapping[str, Any]


class MissingError(Exception):
    """A part that a report cannot have, with the reason."""


@dataclass(kw_only=True)
class Source:
    """One run; `held` has its rows and predictions, or `unread` says why it has not."""

    directory: RunDirectory
    record: Record
    held: HeldOut | None = None
    unread: str = ""
    slices: Sequence[str] = ()
    groups: list[Any] | None = field(default=None)

    @property
    def rows(self) -> HeldOut:
        """The rows and their predictions. Raises `MissingError`."""
        if self.held is None:
            raise MissingError(self.unread)
        return self.held

    @property
    def outcomes(self) -> list[Outcome]:
        """Each prediction beside what is true. Raises `MissingError`."""
        found = self.rows.outcomes
        if found is None:
            raise MissingError(
                f"the head `{self.record['config']['head']['name']}` has no `outcomes`: it does "
                "not say what of a prediction is right"
            )
        return found

    @property
    def target(self) -> str:
        """The type of the column that is learned: `label`, `labels`, `number` or `answers`."""
        columns = self.rows.head.schema.columns
        return next((column.type for column in columns if column.target), "")

    @cached_property
    def events(self) -> list[Record]:
        """The lines of `metrics.jsonl`: of a run of several those of its best member. A resumed run
        repeats a step; its later line counts.
        """
        folder = self.directory.path
        if "several" in self.record and "best_member" in self.record:
            folder = folder / "members" / str(self.record["best_member"])
        found: dict[tuple[Any, ...], Record] = {}
        for event in _lines(folder / "metrics.jsonl"):
            place = (event.get("kind"), event.get("split"), event.get("step"))
            found.pop(place, None)
            found[place] = event
        return list(found.values())

    @cached_property
    def rejected(self) -> list[Record]:
        """The lines of `invalid_rows.jsonl`."""
        return _lines(self.directory.path / REJECTED)


def _lines(path: Any) -> list[Record]:
    """Return the objects of a file of JSON lines; a torn end is left out, a missing file empty."""
    found: list[Record] = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.split("\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


Builder = Callable[[Any], Section]
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""Errors of reading a record that a hand or another version wrote."""


def day(seconds: Any) -> str:
    """Return a Unix time as text."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(float(seconds)))


def duration(seconds: float) -> str:
    """Return seconds as `41 s`, `12 min 5 s` or `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def gigabytes(count: float) -> str:
    """Return bytes as GB (10⁹ bytes)."""
    return f"{count / 1e9:.2f} GB"


def value_text(value: object) -> str:
    """Return the value of a setting as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def first_of(items: Iterable[Any], count: int) -> tuple[list[Any], int]:
    """Return the first `count` items, and how many more there are."""
    listed = list(items)
    return listed[:count], max(len(listed) - count, 0)
