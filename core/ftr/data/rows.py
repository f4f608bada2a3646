"""Rows with their places in the data, invalid rows with their causes, and what reading returns."""

from __future__ import annotations

import json
import math
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from ftr.data.store import BLOCK, Row, RowStore, Store, Taken, as_indices
from ftr.errors import DataError

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
PIECE = 4096
"""Rows that are read at a time."""
PREDICT = "predict"
"""The split of rows that are to be predicted: a bad row gives an error record, not an error."""
HELD_OUT = SPLITS[1:]
"""Splits that are not trained on. Validation comes first: it sets the state that test uses."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its path as given, the sha256 of its bytes on disk, and its size."""

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
    """How many usable rows of its table come before it."""

    def record(self) -> dict[str, object]:
        """Return its line in `invalid_rows.jsonl`, as plain values that UTF-8 can hold."""
        return {
            "place": harmless(self.place),
            "split": self.split,
            "cause": self.cause,
            "row": harmless(self.row),
        }


def harmless(value: object) -> object:
    """Return a value that UTF-8 can hold: bytes are decoded, invalid characters escaped."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(harmless(key)): harmless(item) for key, item in value.items()}
    return [harmless(item) for item in value] if isinstance(value, (list, tuple)) else value


class RejectedRowsError(DataError):
    """Too many rows of a file cannot be used; `rejected` holds them."""

    def __init__(self, message: str, rejected: Sequence[Rejected] = ()) -> None:
        super().__init__(message)
        self.rejected = rejected


class Rows:
    """The rows of one split, under canonical column names, and the place each came from.

    Rows are not changed where they are: a step makes others of them.
    """

    __slots__ = ("places", "rows")

    def __init__(self, rows: Iterable[Row] = (), places: Iterable[str] = ()) -> None:
        self.rows = rows if isinstance(rows, (RowStore, Taken)) else RowStore(rows)
        self.places = places if isinstance(places, (Store, Taken)) else Store(places)

    def __len__(self) -> int:
        return len(self.rows)

    def placed(self) -> Iterator[tuple[Row, str]]:
        """Yield each row with its place."""
        return zip(self.rows, self.places, strict=True)

    def column(self, name: str) -> Iterator[Any]:
        """Yield the cell of each row; None for a row without it."""
        return self.rows.column(name)

    @classmethod
    def of(cls, placed: Iterable[tuple[Row, str]]) -> Rows:
        """Return rows given with their places. Raises `RunError` where the disk refuses them."""
        found, pairs = cls(), iter(placed)
        while block := list(islice(pairs, BLOCK)):
            found.extend([row for row, _ in block], [place for _, place in block])
        return found

    def extend(self, rows: Sequence[Row], places: Sequence[str]) -> None:
        """Add rows. Raises `RunError` where the disk refuses them."""
        if isinstance(self.rows, Taken) or isinstance(self.places, Taken):
            raise TypeError("chosen rows cannot be added to")
        self.rows.extend(rows)
        self.places.extend(places)

    def replaced(self, name: str, change: Callable[[list[Any]], list[Any]]) -> Rows:
        """Return the rows with other cells in a column, which `change` makes of those of some rows
        in turn.
        """
        rows = RowStore(self.rows) if isinstance(self.rows, Taken) else self.rows
        return Rows(rows.replaced(name, change), self.places)

    def take(self, indices: Iterable[int]) -> Rows:
        """Return the rows at `indices`, in that order."""
        chosen = as_indices(indices)
        return Rows(self.rows.taken(chosen), self.places.taken(chosen))


@dataclass(slots=True)
class Loaded:
    """Splits as they were read, unchecked; `origins` names the file or dataset behind each."""

    splits: dict[str, Rows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    sources: list[SourceFile] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    classes: Sequence[str] = ()
    """The classes in the order of a mapping that came with the data; empty if there was none."""
    classes_from: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    """Canonical name -> name in the file, of the training rows."""


@dataclass(slots=True)
class Table:
    """One file before its columns are named canonically: `records` are as wide as `columns`.

    `header` is false when the file names no columns (they are numbers then), and `guessed_header`
    true when the first row was taken for the header without `dataset.header=true`.
    """

    columns: list[str]
    records: list[list[object]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    header: bool = True
    guessed_header: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: dict[str, Sequence[str]] = field(default_factory=dict)
    """The class names, in id order, of columns that came with a mapping of class ids."""
    classes_from: str = "the mapping that came with the data"
    types: Sequence[Any] = ()
    """The Arrow type of each column, of a table that came with types."""


WINDOW_TEXT = 2**20
"""Characters: sorted by length, rows of so many are padded by about 5 %, of an eighth by 28 %
(sentences of SST-2 in batches of 4096 tokens).
"""


def text_length(cell: object) -> int:
    """Return the length of a cell that is a text or a list, else 0."""
    return len(cell) if isinstance(cell, (str, list)) else 0


def until_full(
    rows: Iterable[T],
    cells: Callable[[T], Mapping[str, object]],
    size: Callable[[object], int] = text_length,
) -> Iterator[T]:
    """Yield the rows up to the one with which the sizes of their `cells` fill a window."""
    text = 0
    for row in rows:
        yield row
        text += sum(map(size, cells(row).values()))
        if text > WINDOW_TEXT:
            return


def blank_as_none(value: object) -> object:
    """Return None for a null cell: None, NaN (pandas) or blank."""
    blank = (isinstance(value, str) and not value.strip()) or (
        isinstance(value, float) and math.isnan(value)
    )
    return None if blank else value


def parse_text(text: str, literal: Callable[[str], object]) -> object:
    """Return the value that JSON or `literal` reads from a text, else the text itself."""
    for parse in (json.loads, literal):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
    return text
