"""Prepare rows for training: check, split, clean, augment; with a report of what became of each
row.

The steps, in this order: rows are checked, classes numbered, the training rows limited, missing
splits (or the fold that is validated on) taken from them, held-out splits limited, texts cleaned,
duplicates counted and on request removed from the training rows, and of what is left a bootstrap
sample drawn and changed copies added. So each split has the same rows whether cleaned or not, and
held-out rows are never resampled, nor changed in any way but by cleaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ftr.config.schema import CvConfig, DataConfig
from ftr.config.values import label_name
from ftr.data.answers import check_answered, lacks_answers, settle_answers, unanswered
from ftr.data.augment import Augmenter
from ftr.data.clean import LEFT_ALONE, STOP_WORDS, WORDS, Cleaner, clean_split
from ftr.data.columns import check_rows, check_share, set_aside
from ftr.data.labels import (
    ClassIds,
    class_names,
    class_notes,
    classes_present,
    count_classes,
    listed,
    unknown_classes,
    unknown_classes_note,
    with_ids,
)
from ftr.data.rows import SPLITS, Loaded, Rejected, Rows, blank_as_none
from ftr.data.splits import (
    bootstrap,
    compared,
    count_duplicates,
    duplicate_notes,
    fold_rows,
    sample,
    shared_passages,
    split_rows,
    without_duplicates,
)
from ftr.errors import DataError, counted
from ftr.registry.protocols import Head, Row
from ftr.registry.schema import RowSchema

Report = dict[str, object]


@dataclass(slots=True)
class PreparedRows:
    """Splits ready to encode; `label` cells are class ids, indices into `labels` (empty for a head
    without classes).

    `report` is plain data: per split `read`, `used`, `rejected` (cause -> count), `from` and
    `labels` (name -> count), and what was done: `cleaned` (name -> rows), `duplicates`, `removed`,
    `bootstrap`, `augmented`.
    """

    splits: dict[str, Sequence[Row]]
    labels: tuple[str, ...]
    report: Report
    rejected: list[Rejected]
    notes: list[str]


def prepare_rows(
    loaded: Loaded,
    head: Head,
    data: DataConfig,
    known_labels: Sequence[str] | None = None,
    cv: CvConfig | None = None,
) -> PreparedRows:
    """Check, clean, label, limit and split what was loaded, and resample what is trained on.

    With `known_labels` (the classes of a trained model) no split is made or required, and nothing
    is resampled: rows of other classes are rejected. Raises `DataError` when too many rows are
    unusable, a split is missing or empty, or the classes do not allow training.
    """
    work = _Preparation(loaded, head, data)
    work.check()
    training = known_labels is None
    if training and "train" not in work.splits:
        raise DataError(
            f"there are no training rows, only {', '.join(work.splits) or 'nothing'}: give "
            "`dataset.train=FILE`"
        )
    if training:
        check_answered(work.splits["train"], loaded, head.schema)
    work.number_classes(known_labels)
    work.limit("train", data.limit)
    if training:
        work.split(cv)
    work.limit("validation", data.limit_validation)
    work.limit("test", data.limit_test)
    work.clean()
    work.count_duplicates()
    if training and data.duplicates == "remove":
        work.remove_duplicates()
    work.check_not_empty()
    if training:
        work.check_trainable()
        work.resample()
        work.note_classes()
    splits: dict[str, Sequence[Row]] = {
        name: work.splits[name].rows for name in SPLITS if name in work.splits
    }
    return PreparedRows(splits, work.labels, work.report(), work.rejected, work.notes)


@dataclass(slots=True)
class _Preparation:
    """The splits between two steps, and what is reported of the steps so far."""

    loaded: Loaded
    head: Head
    data: DataConfig
    labels: tuple[str, ...] = ()
    splits: dict[str, Rows] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    done: dict[str, Report] = field(default_factory=dict)
    """By split: what the report says of each step."""
    limited: set[str] = field(default_factory=set)
    """Splits that a limit made smaller."""

    @property
    def schema(self) -> RowSchema:
        return self.head.schema

    def origin(self, split: str) -> str:
        return self.origins.get(split, split)

    def record(self, split: str, step: str, what: object) -> None:
        """Report what a step did to a split, if it did anything."""
        if what:
            self.done.setdefault(split, {})[step] = what

    def check_share(
        self, split: str, rejected: list[Rejected], read: int, detail: str = ""
    ) -> None:
        """Raise `RejectedRowsError` if too many of the `read` rows of a split were rejected."""
        check_share(rejected, read, self.data.max_invalid, self.origin(split), detail)

    def check(self) -> None:
        """Check the rows of each split, and drop held-out splits without labels."""
        self.origins = dict(self.loaded.origins)
        self.rejected = list(self.loaded.rejected)
        unlabelled = {
            split
            for split, rows in self.loaded.splits.items()
            if split != "train" and self._is_unlabelled(rows)
        }
        for split, rows in self.loaded.splits.items():
            size = len(rows)
            unread = [item for item in self.loaded.rejected if item.split == split]
            if split in unlabelled:
                self.notes.append(set_aside(split, self.origin(split), size))
                self.rejected = [item for item in self.rejected if item.split != split]
                continue
            settled, done, notes = settle_answers(rows, self.schema)
            self.notes += [f"{split}: {note}" for note in notes]
            self.record(split, "answers", {what: count for what, count in done.items() if count})
            self.splits[split], rejected = check_rows(settled, split, self.head)
            self.read[split] = size + len(unread)
            self.rejected += rejected
            self.check_share(split, [*unread, *rejected], self.read[split])

    def _is_unlabelled(self, rows: Rows) -> bool:
        """Whether no row has its target: all are blank, or -1 if no training row has
        that.
        """
        tokens = any(column.type == "tokens" for column in self.schema.columns)
        columns = [
            column
            for column in self.schema.columns
            if column.target and (column.required or (column.type == "labels" and not tokens))
        ]
        if not len(rows) or not columns:
            return False
        names = [column.name for column in columns]
        blank: list[object] = [None, []] if columns[0].type == "labels" else [None]
        if all(blank_as_none(cell) in blank for name in names for cell in rows.column(name)):
            return True
        if all(column.type == "answers" for column in columns):
            return all(unanswered(row, name) for row in rows.rows for name in names)
        target = columns[0]
        if target.type not in ("label", "labels", "number"):
            return False
        if not all(map(_is_minus_one, rows.column(target.name))):
            return False
        train = self.loaded.splits.get("train", Rows())
        return not any(
            blank_as_none(cell) is not None and _is_minus_one(cell)
            for cell in train.column(target.name)
        )

    def number_classes(self, known: Sequence[str] | None) -> None:
        """Put class ids into the rows; reject rows of classes that are not `known`, or if None
        not those of training rows.
        """
        column = self.schema.classes
        if column is None:
            return
        if known is None:
            cause, whose = "label not in train", "classes of train"
            train = self.splits["train"]
            self.labels, notes = class_names(
                train, column, f"`{self.origin('train')}`", self.loaded.classes
            )
            self.notes += notes
            ids = ClassIds(self.labels)
            present = classes_present(train, column, ids)
        else:
            cause, whose = "label not known to the model", "classes of the model"
            self.labels = tuple(known)
            ids = ClassIds(self.labels)
            present = set(range(len(self.labels)))
        # A mapping that came with the data may name classes that no training row has.
        usable = ClassIds([name if n in present else "" for n, name in enumerate(self.labels)])
        names = [name for n, name in enumerate(self.labels) if n in present]
        for split, given in self.splits.items():
            rows = given
            unknown = unknown_classes(rows, column, usable)
            if unknown:
                note = unknown_classes_note(rows, unknown, column, usable, names)
                new = [
                    Rejected(place, split, cause, row) for row, place in rows.take(unknown).placed()
                ]
                self.check_share(split, new, len(rows), f"{whose}: {note}")
                self.rejected += new
                self.notes.append(
                    f"{split}: {counted(len(unknown), 'row')}: {cause}. "
                    f"{whose.capitalize()}: {note}"
                )
                left_out = set(unknown)
                rows = rows.take(n for n in range(len(rows)) if n not in left_out)
            self.splits[split] = with_ids(rows, column, ids)

    def limit(self, split: str, limit: int | None) -> None:
        """Take a sample of a split that has more rows than `limit`."""
        rows = self.splits.get(split)
        if rows is None or limit is None or limit >= len(rows):
            return
        self.splits[split] = rows.take(sample(len(rows), limit, self.data.seed, self.data.sample))
        self.limited.add(split)
        self.notes.append(
            f"{split}: {limit} of {counted(len(rows), 'usable row')} ({self.data.sample})"
        )

    def split(self, cv: CvConfig | None) -> None:
        """Take the splits that are missing from the training rows; validation is never taken from
        test.

        With `cv.folds` validation is fold `cv.fold` of what is left for training (the first if
        `cv.fold` is not set).
        """
        data, origin = self.data, self.origin("train")
        folds = cv.folds if cv else None
        if folds and "validation" in self.splits:
            self.notes.append(
                f"validation: {counted(len(self.splits.pop('validation')), 'given row')} not used: "
                "`cv.folds` validates on parts of the training rows instead"
            )
        wanted = {"validation": 0.0 if folds else data.validation_size, "test": data.test_size}
        shares = {
            name: share for name, share in wanted.items() if share > 0 and name not in self.splits
        }
        if shares:
            made, how = split_rows(
                self.splits["train"], self.schema, shares, data.seed, self.labels
            )
            self.splits |= made
            for name, share in shares.items():
                self.origins[name] = f"{origin} ({share:.0%} of the training rows)"
                self.notes.append(
                    f"{name}: {counted(len(made[name]), 'row')} taken from {origin}, {how}, "
                    f"seed {data.seed}"
                )
        if cv and folds:
            fold = cv.fold or 0
            self.splits["train"], held_out, how = fold_rows(
                self.splits["train"], self.schema, folds, fold, data.seed, self.labels
            )
            self.splits["validation"] = held_out
            self.origins["validation"] = f"{origin} (fold {fold} of {folds})"
            self.notes.append(
                f"validation: {counted(len(held_out), 'row')}, fold {fold} of {folds} of {origin}, "
                f"{how}, seed {data.seed}"
            )

    def clean(self) -> None:
        """Clean the texts of all splits."""
        cleaner = Cleaner(self.data.clean, self.data.stop_words)
        if not cleaner:
            return
        total: Counter[str] = Counter()
        size = sum(map(len, self.splits.values()))
        for split, rows in self.splits.items():
            self.splits[split], rejected, counts = clean_split(rows, split, self.head, cleaner)
            self.check_share(split, rejected, len(rows))
            self.rejected += rejected
            self.record(split, "cleaned", counts)
            total.update(counts)
        words = f" ({total[WORDS]} words left out)" if total[WORDS] else ""
        done = [
            f"{name.replace('_', ' ')} in {total[name]}{words if name == STOP_WORDS else ''}"
            for name in cleaner.names
        ]
        self.notes.append(f"cleaned, of {size} rows: {', '.join(done)}")
        if self.data.stop_words is not None and not total[STOP_WORDS]:
            self.notes.append(
                f"`data.stop_words={self.data.stop_words}`: no stop word was found; white space "
                "and punctuation separate words"
            )
        if total[LEFT_ALONE]:
            self.notes.append(
                f"cleaned: {total[LEFT_ALONE]} contexts stay as they are, because cleaning would "
                "damage their answers"
            )

    def count_duplicates(self) -> None:
        """Report rows that repeat others, and passages that training and held-out rows share."""
        found = count_duplicates(self.splits, self.schema)
        for split, counts in found.items():
            self.record(split, "duplicates", counts)
        self.notes += duplicate_notes(found, self.splits, self.schema)
        for split, (count, where) in shared_passages(self.splits, self.schema).items():
            self.record(split, "passages_in_train", count)
            self.notes.append(
                f"{split}: {count} of {len(self.splits[split])} rows ask about a passage that "
                f"train has too, first {where}: its scores are too high. Keep each `context` in "
                f"one file, or let the split be made from train (`dataset.{split}=none`)"
            )

    def remove_duplicates(self) -> None:
        """Remove training rows that repeat others, if the schema has texts to compare."""
        if not compared(self.schema):
            return
        size = len(self.splits["train"])
        self.splits["train"] = without_duplicates(self.splits, self.schema)
        removed = size - len(self.splits["train"])
        self.record("train", "removed", removed)
        self.notes.append(f"train: {removed} of {counted(size, 'row')} removed as duplicates")

    def check_not_empty(self) -> None:
        """Raise `DataError` if a split has no rows left."""
        for split, rows in self.splits.items():
            if not len(rows):
                raise DataError(
                    f"`{self.origin(split)}`: no usable rows are left for {split}"
                    f"{self._removed(split)}"
                )

    def check_trainable(self) -> None:
        """Raise `DataError` if there is nothing to learn; note classes without training rows."""
        train, classes = self.splits["train"], self.schema.classes
        limited = "train" in self.limited
        raise_limit = ": raise `data.limit`, or set `data.sample=random`"
        name = lacks_answers(train, self.schema)
        if name:
            advice = raise_limit if limited else ": add questions that have answers"
            raise DataError(
                f"no training row that is left has an answer in `{name}`{advice}"
                f"{self._removed('train')}"
            )
        if classes is None:
            return
        present = set(count_classes(train, classes))
        if len(present) == 1 and classes.required:
            advice = raise_limit if limited else ", so there is nothing to learn"
            whose = " that `data.limit` leaves" if limited else " that are left"
            raise DataError(
                f"all training rows{whose} have the same class{advice}{self._removed('train')}"
            )
        absent = [f"`{name}`" for n, name in enumerate(self.labels) if n not in present]
        if absent:
            whose = " that `data.limit` leaves" if limited else ""
            self.notes.append(f"train: no row{whose} has the class {', '.join(absent)}")

    def _removed(self, split: str) -> str:
        if split != "train" or "removed" not in self.done.get(split, {}):
            return ""
        return (
            "; `data.duplicates=remove` removed rows that repeat another training or held-out row"
        )

    def resample(self) -> None:
        """Draw a bootstrap sample of the training rows, and add changed copies to them."""
        data, rows = self.data, self.splits["train"]
        if data.bootstrap is not None:
            rows, distinct = bootstrap(rows, data.bootstrap)
            self.record("train", "bootstrap", {"seed": data.bootstrap, "distinct": distinct})
            self.notes.append(
                f"train: a bootstrap sample, {distinct} of {len(rows)} rows in it (seed "
                f"{data.bootstrap})"
            )
        if data.augment.wanted:
            rows, counts = Augmenter(data.augment, self.schema, data.seed).extended(rows)
            self.record("train", "augmented", counts)
            alone = ""
            if counts["left_alone"]:
                alone = f"; {counted(counts['left_alone'], 'row')} without any: nothing can change"
            self.notes.append(f"train: {counts['copies']} changed copies added{alone}")
        self.splits["train"] = rows

    def note_classes(self) -> None:
        """Note the classes in id order, their numbers of training rows, and odd names."""
        if self.schema.classes is None:
            return
        counts = self._class_counts("train")
        given = self.loaded.classes and len(self.loaded.classes) == len(self.labels)
        order = f"in the order of {self.loaded.classes_from}" if given else "sorted by name"
        each = "words" if any(c.type == "tokens" for c in self.schema.columns) else "rows"
        self.notes.append(
            f"{len(counts)} classes of `{self.schema.label}`, {order}, with their training {each}: "
            f"{listed(counts)}"
        )
        self.notes += class_notes(counts, self.schema.classes.name)

    def _class_counts(self, split: str) -> dict[str, int]:
        classes = self.schema.classes
        found = count_classes(self.splits[split], classes) if classes else Counter[int]()
        return {name: found[number] for number, name in enumerate(self.labels)}

    def report(self) -> Report:
        """Return what became of the rows of each split, as plain data."""
        splits: Report = {}
        for split in SPLITS:
            if split in self.splits:
                causes = Counter(item.cause for item in self.rejected if item.split == split)
                entry: Report = {
                    "read": self.read.get(split, 0),
                    "used": len(self.splits[split]),
                    "rejected": dict(causes),
                    "from": self.origins.get(split, ""),
                    **self.done.get(split, {}),
                }
                if self.schema.classes:
                    entry["labels"] = self._class_counts(split)
                splits[split] = entry
        return {"splits": splits}


def _is_minus_one(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_minus_one, value))
    return blank_as_none(value) is None or (
        isinstance(value, (str, int, float)) and label_name(value) == "-1"
    )
