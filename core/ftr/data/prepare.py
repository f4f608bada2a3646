"""Prepare rows for training: check, split, clean, augment; with a report of what became of each
row.

The steps, in this order: rows are checked, classes numbered, the training rows limited, missing
splits (or the fold that is validated on) taken from them, held-out splits limited, texts cleaned,
duplicates counted and on request removed from the training rows, and of what is left a bootstrap
sample drawn and changed copies added. So the same rows are in each split whether cleaned or not,
and held-out rows are never resampled, nor changed in any way but by cleaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftr.config.values import label_name
from ftr.data import splits as duplicates
from ftr.data.augment import Augmenter
from ftr.data.check import check_rows, check_share
from ftr.data.clean import LEFT_ALONE, STOP_WORDS, Cleaner, clean_split
from ftr.data.columns import set_aside
from ftr.data.labels import (
    ClassIds,
    both_sets,
    class_names,
    class_notes,
    counted,
    listed,
    strangers,
    with_ids,
)
from ftr.data.rows import SPLITS, Loaded, Rejected, Rows, blank_as_none
from ftr.data.splits import Report, Work, bootstrap, make_splits, sample
from ftr.data.squad import check_answered, settle_answers, shared_passages, unanswered
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.config.schema import CvConfig, DataConfig
    from ftr.registry.protocols import Head, Row
    from ftr.registry.schema import RowSchema


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

    With `known_labels` (the classes of a trained model) no split is made and none is demanded, and
    nothing is resampled: rows of other classes are rejected. Raises `DataError` when too many rows
    are unusable, a split is missing or empty, or the classes do not allow training.
    """
    work = _checked(loaded, head, data)
    training = known_labels is None
    if training and "train" not in work.splits:
        raise DataError(
            f"there are no training rows, only {', '.join(work.splits) or 'nothing'}: give "
            "`dataset.train=FILE`"
        )
    if training:
        check_answered(work.splits["train"], loaded, head.schema)
    labels = _label(work, head.schema, data, known_labels, loaded)
    _limit(work, "train", data.limit, data)
    if training:
        make_splits(work, head.schema, data, cv, labels)
    _limit(work, "validation", data.limit_validation, data)
    _limit(work, "test", data.limit_test, data)
    _clean(work, head, data)
    _count_duplicates(work, head.schema)
    if training:
        _remove_duplicates(work, head.schema, data)
    work.check_used(head.schema, labels, training=training)
    if training:
        _resample(work, head.schema, data)
        _note_classes(work, head.schema, labels, loaded)
    splits: dict[str, Sequence[Row]] = {
        name: work.splits[name].rows for name in SPLITS if name in work.splits
    }
    return PreparedRows(splits, labels, work.report(head.schema, labels), work.rejected, work.notes)


def _checked(loaded: Loaded, head: Head, data: DataConfig) -> Work:
    work = Work({}, list(loaded.rejected), dict(loaded.origins))
    for split, rows in loaded.splits.items():
        if split != "train" and _is_unlabelled(rows, loaded.splits.get("train"), head.schema):
            work.notes.append(set_aside(split, loaded.origins.get(split, split), len(rows)))
            work.rejected = [item for item in work.rejected if item.split != split]
            continue
        settled, done, notes = settle_answers(rows, head.schema)
        work.notes += [f"{split}: {note}" for note in notes]
        work.record(split, "answers", {what: count for what, count in done.items() if count})
        work.splits[split], rejected = check_rows(settled, split, head)
        work.rejected += rejected
        unread = [item for item in loaded.rejected if item.split == split]
        work.read[split] = len(rows) + len(unread)
        check_share(
            [*unread, *rejected],
            work.read[split],
            data.max_invalid,
            loaded.origins.get(split, split),
        )
        _note_empty_answers(work, rows, split, head.schema)
    return work


def _note_empty_answers(work: Work, rows: Rows, split: str, schema: RowSchema) -> None:
    names = [column.name for column in schema.columns if column.type == "answers"]
    blank = sum(
        1 for row in rows.rows for name in names if row.get(name) is None or row.get(name) == ""
    )
    if blank:
        work.notes.append(
            f"{split}: {blank} rows have an empty `{names[0]}` cell: taken as questions without an "
            "answer"
        )


def _clean(work: Work, head: Head, data: DataConfig) -> None:
    cleaner = Cleaner(data.clean, data.stop_words)
    if not cleaner:
        return
    total: Counter[str] = Counter()
    size = sum(map(len, work.splits.values()))
    for split, rows in work.splits.items():
        kept, rejected, counts = clean_split(rows, split, head, cleaner)
        check_share(rejected, len(rows), data.max_invalid, work.origins.get(split, split))
        work.splits[split] = kept
        work.rejected += rejected
        work.record(split, "cleaned", counts)
        total.update(counts)
    words = f" ({total['words_left_out']} words left out)" if total["words_left_out"] else ""
    done = [
        f"{name.replace('_', ' ')} in {total[name]}{words if name == STOP_WORDS else ''}"
        for name in cleaner.names
    ]
    work.notes.append(f"cleaned, of {size} rows: {', '.join(done)}")
    if data.stop_words is not None and not total[STOP_WORDS]:
        work.notes.append(
            f"`data.stop_words={data.stop_words}`: none was found; words are told apart by white "
            "space and punctuation"
        )
    if total[LEFT_ALONE]:
        work.notes.append(
            f"cleaned: {total[LEFT_ALONE]} contexts are left as they are, for cleaning would "
            "damage their answers"
        )


def _label(
    work: Work, schema: RowSchema, data: DataConfig, known: Sequence[str] | None, loaded: Loaded
) -> tuple[str, ...]:
    """Put class ids into the rows; reject rows of classes that the training rows do not have."""
    column = schema.classes
    if column is None:
        return ()
    if known is None:
        rows = work.splits["train"]
        labels, notes = class_names(
            rows.rows, column, f"`{work.origins.get('train', 'train')}`", loaded.classes
        )
        work.notes += notes
        present = {
            labels[number]
            for number in counted(
                [with_ids(row, column, ClassIds(labels)) for row in rows.rows], column
            )
        }
    else:
        labels, present = tuple(known), set(known)
    ids = ClassIds(labels)
    usable = (
        ClassIds([name if name in present else "" for name in labels])
        if len(present) < len(labels)
        else ids
    )
    cause, whose = (
        ("label not in train", "classes of train")
        if known is None
        else ("label not known to the model", "classes of the model")
    )
    for split, rows in work.splits.items():
        strange = strangers(rows, column, usable)
        if strange:
            detail = both_sets(
                rows, strange, column, usable, [name for name in labels if name in present], whose
            )
            new = [
                Rejected(rows.places[index], split, cause, rows.rows[index]) for index in strange
            ]
            check_share(new, len(rows), data.max_invalid, work.origins.get(split, split), detail)
            work.rejected += new
            work.notes.append(
                f"{split}: {len(strange)} rows: {cause}. {detail[0].upper()}{detail[1:]}"
            )
        left_out = set(strange)
        kept = rows.take([index for index in range(len(rows)) if index not in left_out])
        kept.rows = [with_ids(row, column, ids) for row in kept.rows]
        work.splits[split] = kept
    return labels


def _note_classes(work: Work, schema: RowSchema, labels: Sequence[str], loaded: Loaded) -> None:
    """Note the classes in id order with their numbers of training rows, and what is strange about
    them.
    """
    if schema.classes is None:
        return
    found = counted(work.splits["train"].rows, schema.classes)
    counts = {name: found.get(number, 0) for number, name in enumerate(labels)}
    order = (
        f"in the order of {loaded.classes_from}"
        if loaded.classes and len(loaded.classes) == len(labels)
        else "sorted by name"
    )
    work.notes.append(
        f"{len(counts)} classes of `{schema.label}`, {order}, with their training rows: "
        f"{listed(counts)}"
    )
    work.notes += class_notes(counts, schema.classes.name)


def _is_unlabelled(rows: Rows, train: Rows | None, schema: RowSchema) -> bool:
    """Whether no row has its target: all are blank, or -1 where -1 is no class of the training
    rows.
    """
    columns = [column for column in schema.columns if column.target and column.required]
    if not rows.rows or not columns:
        return False
    names = [column.name for column in columns]
    if all(blank_as_none(row.get(name)) is None for row in rows.rows for name in names):
        return True
    if all(column.type == "answers" for column in columns):
        return all(unanswered(row, name) for row in rows.rows for name in names)
    classes = schema.classes
    if classes is None or not classes.required:
        return False
    if any(not _is_minus_one(row.get(classes.name)) for row in rows.rows):
        return False
    return train is None or not any(_is_minus_one(row.get(classes.name)) for row in train.rows)


def _is_minus_one(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_minus_one, value))
    return blank_as_none(value) is None or (
        isinstance(value, (str, int, float)) and label_name(value) == "-1"
    )


def _limit(work: Work, split: str, limit: int | None, data: DataConfig) -> None:
    rows = work.splits.get(split)
    if rows is None or limit is None or limit >= len(rows):
        return
    work.splits[split] = rows.take(sample(len(rows), limit, data.seed, data.sample))
    work.limited.add(split)
    work.notes.append(f"{split}: {limit} of {len(rows)} usable rows ({data.sample})")


def _count_duplicates(work: Work, schema: RowSchema) -> None:
    found = duplicates.find(work.splits, schema)
    for split, counts in found.items():
        work.record(split, "duplicates", counts)
    work.notes += duplicates.notes(
        found, {split: len(rows) for split, rows in work.splits.items()}, schema
    )
    for split, (count, where) in shared_passages(work.splits, schema).items():
        work.record(split, "passages_in_train", count)
        work.notes.append(
            f"{split}: {count} of {len(work.splits[split])} rows ask about a passage that train "
            f"has too, first {where}: its scores are too high. Keep each `context` in one file, or "
            f"let the split be made from train (`dataset.{split}=none`)"
        )


def _remove_duplicates(work: Work, schema: RowSchema, data: DataConfig) -> None:
    if data.duplicates != "remove" or not duplicates.input_names(schema):
        return
    rows = work.splits["train"]
    kept = duplicates.unique(work.splits, schema)
    work.splits["train"] = rows.take(kept)
    work.record("train", "removed", len(rows) - len(kept))
    work.notes.append(f"train: {len(rows) - len(kept)} of {len(rows)} rows removed as duplicates")


def _resample(work: Work, schema: RowSchema, data: DataConfig) -> None:
    if data.bootstrap is not None:
        rows, distinct = bootstrap(work.splits["train"], data.bootstrap)
        work.splits["train"] = rows
        work.record("train", "bootstrap", {"seed": data.bootstrap, "distinct": distinct})
        work.notes.append(
            f"train: a bootstrap sample, {distinct} of {len(rows)} rows in it (seed "
            f"{data.bootstrap})"
        )
    if data.augment.wanted:
        rows, counts = Augmenter(data.augment, schema, data.seed).extended(work.splits["train"])
        work.splits["train"] = rows
        work.record("train", "augmented", counts)
        alone = (
            f"; {counts['left_alone']} rows have none, for nothing in them can change"
            if counts["left_alone"]
            else ""
        )
        work.notes.append(f"train: {counts['copies']} changed copies join the rows{alone}")
