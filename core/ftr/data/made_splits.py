"""Splits that are taken from the training rows: the held-out ones that are missing, or one fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftr.data.cleaner import CONTEXT
from ftr.data.duplicates import text_key
from ftr.data.folds import fold
from ftr.data.schema import Column, RowSchema
from ftr.data.split import grouped, stratified
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.config.data import DataConfig
    from ftr.config.models import CvConfig
    from ftr.data.rows import Rows
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
    split = (
        grouped(groups, shares, data.seed, by) if groups is not None else stratified(classes_of(rows, schema, labels), shares, data.seed)
    )
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
    """Return the group of each row and the column it is of.

    Rows of one value of the schema's group column (a title) are one group, and so are rows that share the passage their answers
    stand in, under whatever title. Where there are too few titles, or shared passages link nearly all of them, the groups are those
    of the passages alone, or of the titles if there are more titles than passages.
    """
    if schema.group is None:
        return None, ""
    passage = _passage(rows, schema)
    titles = ["" if row.get(schema.group) is None else str(row[schema.group]) for row in rows.rows]
    texts = _texts(rows, passage) if passage else titles
    if len(set(titles) - {""}) >= _FEW_GROUPS:
        groups = _together(titles, texts)
        if len(set(groups)) >= _FEW_GROUPS:
            return groups, schema.group
        if len(set(titles)) > len(set(texts)) >= 1:
            return titles, schema.group
    return (texts, passage.name) if passage else (None, "")


def _passage(rows: Rows, schema: RowSchema) -> Column | None:
    """Return the column that answers stand in, or else the first text that many rows share."""
    answers = any(column.type == "answers" for column in schema.columns)
    for column in schema.columns:
        if answers and column.name == CONTEXT:
            return column
        texts = {str(row.get(column.name)) for row in rows.rows} if column.type == "text" and not answers else set()
        if _FEW_GROUPS <= len(texts) <= _SHARED * len(rows):
            return column
    return None


def _texts(rows: Rows, column: Column) -> list[str]:
    """Return the text of each row in `column`, that of the first row where texts are equal but for case and white space."""
    schema = RowSchema(columns=(column,))
    same: dict[str, str] = {}
    first: dict[object, str] = {}
    for row in rows.rows:
        text = str(row.get(column.name))
        if text not in same:
            same[text] = first.setdefault(text_key(row, schema), text)
    return [same[str(row.get(column.name))] for row in rows.rows]


def _together(titles: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return a group for each row, the same for rows of one title or text, also where other rows link them; `""` is no title."""
    leader: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        while leader.setdefault(node, node) != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for title, text in zip(titles, texts, strict=True):
        if title:
            one, other = find(("title", title)), find(("text", text))
            # A title leads, so that groups are named, and so divided, by titles.
            leader[one if other[0] == "title" else other] = other if other[0] == "title" else one
    return [find(("text", text))[1] for text in texts]
