"""From rows as read to rows to train on: checked, labelled, limited and split, with a report of what became of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftr.data.check import check_rows, check_share
from ftr.data.labelling import class_names, counted, strangers, with_ids
from ftr.data.rows import SPLITS, Loaded, Rejected, Rows
from ftr.data.split import grouped, sample, stratified
from ftr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftr.config.data import DataConfig
    from ftr.data.schema import RowSchema
    from ftr.protocols import Head, Row

Report = dict[str, object]

_FEW_GROUPS = 5
_SHARED = 0.7


@dataclass(slots=True)
class PreparedRows:
    """Splits ready to encode; `label` cells are class ids, indices into `labels` (empty for a head without classes).

    `report` is plain data: per split `read`, `used`, `rejected` (cause -> count), `from` and `labels` (name -> count).
    """

    splits: dict[str, Sequence[Row]]
    labels: tuple[str, ...]
    report: Report
    rejected: list[Rejected]
    notes: list[str]


@dataclass(slots=True)
class _Work:
    """What the steps hand on."""

    splits: dict[str, Rows]
    rejected: list[Rejected]
    origins: dict[str, str]
    notes: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)


def prepare_rows(loaded: Loaded, head: Head, data: DataConfig, known_labels: Sequence[str] | None = None) -> PreparedRows:
    """Check, label, limit and split what was loaded.

    With `known_labels` (the classes of a trained model) no split is made and none is demanded: rows of other classes
    are rejected. Raises `DataError` when too many rows are unusable, a split is missing or empty, or the classes do
    not allow training.
    """
    work = _checked(loaded, head, data)
    training = known_labels is None
    if training and "train" not in work.splits:
        raise DataError(f"there are no training rows, only {', '.join(work.splits) or 'nothing'}: give `dataset.train=FILE`")
    labels = _label(work, head.schema, data, known_labels)
    _limit(work, "train", data.limit, data)
    if training:
        _make_splits(work, head.schema, data, labels)
    _limit(work, "validation", data.limit_validation, data)
    _limit(work, "test", data.limit_test, data)
    _check_used(work, head.schema, labels, training=training)
    _note_overlap(work, head.schema)
    splits: dict[str, Sequence[Row]] = {name: work.splits[name].rows for name in SPLITS if name in work.splits}
    return PreparedRows(splits, labels, _report(work, head.schema, labels), work.rejected, work.notes)


def _checked(loaded: Loaded, head: Head, data: DataConfig) -> _Work:
    work = _Work({}, list(loaded.rejected), dict(loaded.origins))
    for split, rows in loaded.splits.items():
        work.splits[split], rejected = check_rows(rows, split, head)
        work.rejected += rejected
        unread = [item for item in loaded.rejected if item.split == split]
        work.read[split] = len(rows) + len(unread)
        check_share([*unread, *rejected], work.read[split], data.max_rejected, loaded.origins.get(split, split))
        _note_empty_answers(work, rows, split, head.schema)
    return work


def _note_empty_answers(work: _Work, rows: Rows, split: str, schema: RowSchema) -> None:
    names = [column.name for column in schema.columns if column.type == "answers"]
    blank = sum(1 for row in rows.rows for name in names if row.get(name) is None or row.get(name) == "")
    if blank:
        work.notes.append(f"{split}: {blank} rows have an empty `{names[0]}` cell: taken as questions without an answer")


def _label(work: _Work, schema: RowSchema, data: DataConfig, known: Sequence[str] | None) -> tuple[str, ...]:
    """Put class ids into the rows; reject rows of classes that the training rows do not have."""
    column = schema.classes
    if column is None:
        return ()
    origin = f"`{work.origins.get('train', 'train')}`"
    labels = class_names(work.splits["train"].rows, column, origin) if known is None else tuple(known)
    ids = {name: number for number, name in enumerate(labels)}
    for split, rows in work.splits.items():
        strange = strangers(rows, column, labels)
        cause = "label not in train" if known is None else "label not known to the model"
        new = [Rejected(rows.places[index], split, cause, rows.rows[index]) for index in strange]
        check_share(new, len(rows), data.max_rejected, work.origins.get(split, split))
        work.rejected += new
        left_out = set(strange)
        kept = rows.take([index for index in range(len(rows)) if index not in left_out])
        kept.rows = [with_ids(row, column, ids) for row in kept.rows]
        work.splits[split] = kept
    return labels


def _limit(work: _Work, split: str, limit: int | None, data: DataConfig) -> None:
    rows = work.splits.get(split)
    if rows is None or limit is None or limit >= len(rows):
        return
    work.splits[split] = rows.take(sample(len(rows), limit, data.seed, data.sample))
    work.notes.append(f"{split}: {limit} of {len(rows)} usable rows ({data.sample})")


def _make_splits(work: _Work, schema: RowSchema, data: DataConfig, labels: Sequence[str]) -> None:
    """Take the splits that are missing from the training rows; validation is never taken from test."""
    wanted = {"validation": data.validation_share, "test": data.test_share}
    shares = {name: share for name, share in wanted.items() if share > 0 and name not in work.splits}
    if not shares:
        return
    if sum(shares.values()) >= 1:
        raise DataError("`data.validation_share` and `data.test_share` leave no rows to train on: their sum must be below 1")
    rows = work.splits["train"]
    groups, by = _groups(rows, schema)
    if groups is not None:
        split, how = grouped(groups, shares, data.seed), f"rows of one `{by}` together"
    else:
        split = stratified(_classes(rows, schema, labels), shares, data.seed)
        how = f"with the class shares of `{schema.stratify}`" if schema.stratify else "at random"
    for name, indices in split.items():
        work.splits[name] = rows.take(indices)
    for name, share in shares.items():
        origin = work.origins.get("train", "train")
        work.origins[name] = f"{origin} ({share:.0%} of the training rows)"
        work.notes.append(f"{name}: {len(work.splits[name])} rows taken from {origin}, {how}, seed {data.seed}")


def _classes(rows: Rows, schema: RowSchema, labels: Sequence[str]) -> list[str]:
    if schema.stratify is None:
        return [""] * len(rows)
    if schema.stratify != schema.label or (schema.classes and schema.classes.type == "labels"):
        return [str(row.get(schema.stratify)) for row in rows.rows]
    return [labels[number] for row in rows.rows if isinstance(number := row[schema.stratify], int)]


def _groups(rows: Rows, schema: RowSchema) -> tuple[list[str] | None, str]:
    """Return the group of each row: the schema's group column, or else a text that rows share (a passage)."""
    if schema.group is None:
        return None, ""
    values = [str(row.get(schema.group)) for row in rows.rows]
    if len(set(values)) >= _FEW_GROUPS:
        return values, schema.group
    for column in schema.columns:
        texts = [str(row.get(column.name)) for row in rows.rows]
        if column.type == "text" and _FEW_GROUPS <= len(set(texts)) <= _SHARED * len(texts):
            return texts, column.name
    return None, ""


def _check_used(work: _Work, schema: RowSchema, labels: Sequence[str], *, training: bool) -> None:
    for split, rows in work.splits.items():
        if not rows.rows:
            raise DataError(f"`{work.origins.get(split, split)}`: no usable rows are left for {split}")
    if training and schema.classes:
        present = set(counted(work.splits["train"].rows, schema.classes))
        absent = [name for number, name in enumerate(labels) if number not in present]
        if len(present) == 1 and schema.classes.required:
            raise DataError("all training rows left by `data.limit` have the same class: raise `data.limit`, or set `data.sample=random`")
        if absent:
            work.notes.append(f"train: no rows of the class {', '.join(f'`{name}`' for name in absent)} are left by `data.limit`")


def _note_overlap(work: _Work, schema: RowSchema) -> None:
    names = [column.name for column in schema.columns if column.type in ("text", "tokens") and column.required]
    if "train" not in work.splits or not names:
        return

    def told(row: Row) -> tuple[str, ...]:
        return tuple(str(row.get(name)) for name in names)

    known = {told(row) for row in work.splits["train"].rows}
    for split in ("validation", "test"):
        rows = work.splits.get(split, Rows()).rows
        both = sum(told(row) in known for row in rows)
        if both:
            work.notes.append(f"{split}: {both} of {len(rows)} rows have the same {' and '.join(names)} as a training row")


def _report(work: _Work, schema: RowSchema, labels: Sequence[str]) -> Report:
    report: Report = {}
    for split in SPLITS:
        if split in work.splits:
            rows = work.splits[split].rows
            causes = Counter(item.cause for item in work.rejected if item.split == split)
            entry: Report = {
                "read": work.read.get(split, 0),
                "used": len(rows),
                "rejected": dict(causes),
                "from": work.origins.get(split, ""),
            }
            if schema.classes:
                counts = counted(rows, schema.classes)
                entry["labels"] = {name: counts.get(number, 0) for number, name in enumerate(labels)}
            report[split] = entry
    return {"splits": report}
