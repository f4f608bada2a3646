"""What the steps from rows as read to rows to train on hand each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftr.data.labelling import counted
from ftr.data.rows import SPLITS, Rejected, Rows
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.data.schema import RowSchema

Report = dict[str, object]


@dataclass(slots=True)
class Work:
    """Splits on their way; `done` has, by split, what the record says of each step besides rows read, used and rejected."""

    splits: dict[str, Rows]
    rejected: list[Rejected]
    origins: dict[str, str]
    notes: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    done: dict[str, Report] = field(default_factory=dict)
    limited: set[str] = field(default_factory=set)
    """Splits of which a limit left rows out."""

    def record(self, split: str, step: str, what: object) -> None:
        """Keep what a step did to a split, if it did anything."""
        if what:
            self.done.setdefault(split, {})[step] = what

    def check_used(self, schema: RowSchema, labels: Sequence[str], *, training: bool) -> None:
        """Raise `DataError` where a split has no rows left, or the training rows are of one class; note classes that are gone."""
        for split, rows in self.splits.items():
            if not rows.rows:
                raise DataError(f"`{self.origins.get(split, split)}`: no usable rows are left for {split}{self._why(split)}")
        if training and schema.classes:
            present = set(counted(self.splits["train"].rows, schema.classes))
            absent = [name for number, name in enumerate(labels) if number not in present]
            limited = "train" in self.limited
            if len(present) == 1 and schema.classes.required:
                advice = ": raise `data.limit`, or set `data.sample=random`" if limited else ", so there is nothing to learn"
                whose = " that `data.limit` leaves" if limited else " that are left"
                raise DataError(f"all training rows{whose} have the same class{advice}{self._why('train')}")
            if absent:
                names = ", ".join(f"`{name}`" for name in absent)
                self.notes.append(f"train: no row{' that `data.limit` leaves' if limited else ''} has the class {names}")

    def _why(self, split: str) -> str:
        removed = split == "train" and "removed" in self.done.get(split, {})
        return "; `data.duplicates=remove` took those away that stand there twice, or in a held-out split too" if removed else ""

    def report(self, schema: RowSchema, labels: Sequence[str]) -> Report:
        """Return what became of the rows of each split, as plain data."""
        splits: Report = {}
        for split in SPLITS:
            if split in self.splits:
                rows = self.splits[split].rows
                causes = Counter(item.cause for item in self.rejected if item.split == split)
                entry: Report = {
                    "read": self.read.get(split, 0),
                    "used": len(rows),
                    "rejected": dict(causes),
                    "from": self.origins.get(split, ""),
                    **self.done.get(split, {}),
                }
                if schema.classes:
                    counts = counted(rows, schema.classes)
                    entry["labels"] = {name: counts.get(number, 0) for number, name in enumerate(labels)}
                splits[split] = entry
        return {"splits": splits}
