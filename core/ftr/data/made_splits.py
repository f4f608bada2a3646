"""Splits that are taken from the training rows: the held-out ones that are missing, or one fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftr.data.folds import fold
from ftr.data.split import grouped, stratified
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.config.data import DataConfig
    from ftr.config.models import CvConfig
    from ftr.data.rows import Rows
    from ftr.data.schema import RowSchema
    from ftr.data.work import Work

_FEW_GROUPS = 5
_SHARED = 0.7


def make_splits(work: Work, schema: RowSchema, data: DataConfig, cv: CvConfig | None, labels: Sequence[str]) -> None:
    """Take the splits that are missing from the training rows; validation is never taken from test.

    With `cv.folds` validation is fold `cv.fold` of what is left for training (the first, where `cv.fold` is not set).
    """
    folds = cv.folds if cv is not None else None
    if folds is not None and "validation" in work.splits:
        given = work.splits.pop("validation")
        work.notes.append(
            f"validation: the {len(given)} rows given are not used: `cv.folds` validates on parts of the training rows in their place"
        )
    wanted = {"validation": data.validation_share if folds is None else 0.0, "test": data.test_share}
    shares = {name: share for name, share in wanted.items() if share > 0 and name not in work.splits}
    if shares:
        _take(work, schema, data, shares, labels)
    if folds is not None and cv is not None:
        _take_fold(work, schema, data, folds, cv.fold or 0, labels)


def _take(work: Work, schema: RowSchema, data: DataConfig, shares: dict[str, float], labels: Sequence[str]) -> None:
    if sum(shares.values()) >= 1:
        raise DataError("`data.validation_share` and `data.test_share` leave no rows to train on: their sum must be below 1")
    rows = work.splits["train"]
    groups, by = groups_of(rows, schema)
    split = grouped(groups, shares, data.seed) if groups is not None else stratified(classes_of(rows, schema, labels), shares, data.seed)
    for name, indices in split.items():
        work.splits[name] = rows.take(indices)
    for name, share in shares.items():
        origin = work.origins.get("train", "train")
        work.origins[name] = f"{origin} ({share:.0%} of the training rows)"
        work.notes.append(f"{name}: {len(work.splits[name])} rows taken from {origin}, {_how(by, schema)}, seed {data.seed}")


def _take_fold(work: Work, schema: RowSchema, data: DataConfig, count: int, number: int, labels: Sequence[str]) -> None:
    rows = work.splits["train"]
    groups, by = groups_of(rows, schema)
    training, held_out = fold(classes_of(rows, schema, labels), groups, count, number, data.seed)
    work.splits["train"], work.splits["validation"] = rows.take(training), rows.take(held_out)
    origin = work.origins.get("train", "train")
    work.origins["validation"] = f"{origin} (fold {number} of {count})"
    work.notes.append(f"validation: {len(held_out)} rows, fold {number} of {count} of {origin}, {_how(by, schema)}, seed {data.seed}")


def _how(by: str, schema: RowSchema) -> str:
    if by:
        return f"rows of one `{by}` together"
    return f"with the class shares of `{schema.stratify}`" if schema.stratify else "at random"


def classes_of(rows: Rows, schema: RowSchema, labels: Sequence[str]) -> list[str]:
    """Return the value of each row whose shares a split keeps; all alike where the schema names none."""
    if schema.stratify is None:
        return [""] * len(rows)
    if schema.stratify != schema.label or (schema.classes and schema.classes.type == "labels"):
        return [str(row.get(schema.stratify)) for row in rows.rows]
    return [labels[number] for row in rows.rows if isinstance(number := row[schema.stratify], int)]


def groups_of(rows: Rows, schema: RowSchema) -> tuple[list[str] | None, str]:
    """Return the group of each row and the column it is of: the schema's group column, or else a text that rows share (a passage)."""
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
