"""What reading gives: rows with their places, the rows left out with their causes, and the files behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Row = dict[str, object]

SPLITS = ("train", "validation", "test")
HELD_OUT = SPLITS[1:]
"""Splits that are not trained on: validation first, which sets the state that test is scored with."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its path as given, the sha256 of its bytes on disk, and how many they are."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row left out. `place` is `file.csv:17`, `file.json:data[3].paragraphs[2].qas[0]` or `train[12]`."""

    place: str
    split: str
    cause: str
    row: Mapping[str, object]


@dataclass(slots=True)
class Rows:
    """The rows of one split, under canonical column names, and the place each came from."""

    rows: list[Row] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: list[int]) -> "Rows":
        """Return the rows at `indices`, in that order."""
        return Rows([self.rows[index] for index in indices], [self.places[index] for index in indices])


@dataclass(slots=True)
class Unlabelled(Rows):
    """Rows to predict, all of them usable, with those that were not and what was guessed."""

    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Loaded:
    """Splits as they were read, unchecked; `origins` names the file or dataset behind each."""

    splits: dict[str, Rows] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    sources: list[SourceFile] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Table:
    """One file, before its columns are named canonically: `records` are as wide as `columns`.

    `header` is false when the columns are numbers because the file names none.
    """

    columns: list[str]
    records: list[list[object]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    header: bool = True
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
