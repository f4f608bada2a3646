"""Rows with their sources, invalid rows with their causes, and the state passed between preparation
steps.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ftr.errors import DataError

T = TypeVar("T")

Row = dict[str, object]

SPLITS = ("train", "validation", "test")
PREDICT = "predict"
"""The split of rows that are to be predicted: there a bad row gives an error record and ends
nothing.
"""
HELD_OUT = SPLITS[1:]
"""Splits that are not trained on: validation first, which sets the state that test is scored
with.
"""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its path as given, the sha256 of its bytes on disk, and how many they
    are.
    """

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row left out.

    `place` is `file.csv:17`, `file.json:data[3].paragraphs[2].qas[0]` or `train[12]`.
    """

    place: str
    split: str
    cause: str
    row: Mapping[str, object]
    after: int = 0
    """How many rows of its table that are not rejected stand before it."""

    def record(self) -> dict[str, object]:
        """Return what `invalid_rows.jsonl` says of it, as plain values that can be written as
        UTF-8.
        """
        return {
            "place": self.place,
            "split": self.split,
            "cause": self.cause,
            "row": harmless(self.row),
        }


def harmless(value: object) -> object:
    """Return a value as it can be written: bytes decoded, what is not UTF-8 and halves of surrogate
    pairs escaped.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return (
            value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
        )
    if isinstance(value, Mapping):
        return {str(harmless(key)): harmless(item) for key, item in value.items()}
    return [harmless(item) for item in value] if isinstance(value, (list, tuple)) else value


class RejectedRowsError(DataError):
    """Too many rows of a file cannot be used; `rejected` are these rows, to be written to a
    file.
    """

    def __init__(self, message: str, rejected: Sequence[Rejected] = ()) -> None:
        super().__init__(message)
        self.rejected = rejected


@dataclass(slots=True)
class Rows:
    """The rows of one split, under canonical column names, and the place each came from."""

    rows: list[Row] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: list[int]) -> "Rows":
        """Return the rows at `indices`, in that order."""
        return Rows(
            [self.rows[index] for index in indices], [self.places[index] for index in indices]
        )


@dataclass(slots=True)
class Unlabelled(Rows):
    """Rows to predict, all of them usable, with those that were not and what was guessed."""

    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def in_order(self, items: Iterable[T]) -> Iterator[T | Rejected]:
        """Yield `items`, one for each usable row, and the rejected rows, all in the order of the
        input.
        """
        waiting = iter(self.rejected)
        held = next(waiting, None)
        for number, item in enumerate(items):
            while held is not None and held.after <= number:
                yield held
                held = next(waiting, None)
            yield item
        while held is not None:
            yield held
            held = next(waiting, None)


@dataclass(slots=True)
class Loaded:
    """Splits as they were read, unchecked; `origins` names the file or dataset behind each."""

    splits: dict[str, Rows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    sources: list[SourceFile] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    classes: Sequence[str] = ()
    classes_from: str = ""
    """The classes in the order of a mapping that came with the data, and what that is; empty where
    none did.
    """
    columns: dict[str, str] = field(default_factory=dict)
    """Canonical name -> name in the file, of the training rows."""


@dataclass(slots=True)
class Table:
    """One file, before its columns are named canonically: `records` are as wide as `columns`.

    `header` is false when the columns are numbers because the file names none, and `guessed_header`
    true when the first row was taken for it unasked.
    """

    columns: list[str]
    records: list[list[object]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    header: bool = True
    guessed_header: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: dict[str, Sequence[str]] = field(default_factory=dict)
    """Of columns that came with a mapping of class ids: the names of the classes in id order."""
    classes_from: str = "the mapping that came with the data"


def blank_as_none(value: object) -> object:
    """Return None for a null cell: None, NaN (pandas) or blank."""
    blank = (isinstance(value, str) and not value.strip()) or (
        isinstance(value, float) and math.isnan(value)
    )
    return None if blank else value


def has_answer(rows: Rows, name: str) -> bool:
    """Whether some row, checked, has an answer."""
    return any(isinstance(cell := row.get(name), Mapping) and cell.get("text") for row in rows.rows)
