"""Row schemas: the columns a head reads, their canonical names, aliases and cell types."""

from dataclasses import dataclass
from typing import Literal

CellType = Literal["text", "label", "answers", "value", "tokens", "labels", "number"]
TARGETS: tuple[CellType, ...] = ("label", "answers", "labels", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One canonical column.

    `aliases` are the names a file may use for it instead, taken when exactly one column of the file
    matches. `type` is one of

    - `text`: a non-empty string;
    - `label`: anything that names a class; rows then hold class ids;
    - `labels`: a list of classes: one for each token in a schema with `tokens`, else the set that
      applies, which may be empty where not `required`;
    - `tokens`: a non-empty list of non-empty strings;
    - `number`: a finite float;
    - `answers`: SQuAD's `{"text": [...], "answer_start": [...]}`, both empty when the question has
      no answer;
    - `value`: kept as read.

    A file without lists (CSV) gives `tokens` and `labels` as one string, split at `separator`, or
    as a JSON or Python list. The separator of a set of labels is found in its cells where this is a
    blank, which is part of many labels. Several columns of 0/1 may give such a set, too.
    """

    name: str
    type: CellType = "text"
    aliases: tuple[str, ...] = ()
    required: bool = True
    separator: str = " "
    given: bool = False
    """Whether rows to predict have the column too, though its type is usually learned."""

    @property
    def target(self) -> bool:
        """Whether the column is what is learned: rows to predict come without it."""
        return self.type in TARGETS and not self.given


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSchema:
    """All columns a head reads, besides `id`, which every row gets.

    `stratify` names the column whose class shares a made split keeps; `group` the one whose values
    a made split never divides.
    """

    columns: tuple[Column, ...]
    stratify: str | None = None
    group: str | None = None

    @property
    def classes(self) -> Column | None:
        """The column that holds classes (of type `label` or `labels`), if there is one."""
        return next((column for column in self.columns if column.type in ("label", "labels")), None)

    @property
    def label(self) -> str | None:
        """The name of the column that holds classes."""
        return self.classes.name if self.classes else None
