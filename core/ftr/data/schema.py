"""The columns a head reads: their canonical names, what else people call them, and what a cell may hold."""

from dataclasses import dataclass
from typing import Literal

CellType = Literal["text", "label", "answers", "value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One canonical column.

    `aliases` are the names a file may use for it instead, taken when exactly one column of the file matches.
    `type` is `text` (a non-empty string), `label` (anything that names a class), `answers` (SQuAD's
    `{"text": [...], "answer_start": [...]}`, both empty when the question has no answer) or `value` (kept as read).
    """

    name: str
    type: CellType = "text"
    aliases: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSchema:
    """All columns a head reads, besides `id`, which every row gets.

    `stratify` names the column whose class shares a made split keeps; `group` the one whose values a made split
    never divides.
    """

    columns: tuple[Column, ...]
    stratify: str | None = None
    group: str | None = None

    @property
    def label(self) -> str | None:
        """The name of the column of type `label`, if there is one."""
        return next((column.name for column in self.columns if column.type == "label"), None)
