"""Whether a row can be used: cells as the schema wants them, ids that are unique, and what the head says."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from ftr.data.answers import canonical_answers
from ftr.data.rows import Rejected, Row, Rows
from ftr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftr.data.schema import Column, RowSchema
    from ftr.protocols import Head


def check_rows(rows: Rows, split: str, head: Head, *, labelled: bool = True) -> tuple[Rows, list[Rejected]]:
    """Return the usable rows, cleaned, and the others with their causes. Rows without an id get `<split>-<n>`, n from 1."""
    good, rejected = Rows(), []
    seen: set[object] = set()
    for number, (raw, place) in enumerate(zip(rows.rows, rows.places, strict=True), start=1):
        row, cause = clean_row(raw, head.schema, f"{split}-{number}", labelled=labelled)
        cause = cause or ("duplicate id" if row["id"] in seen else head.check(row))
        if cause:
            rejected.append(Rejected(place, split, cause, raw))
            continue
        seen.add(row["id"])
        good.rows.append(row)
        good.places.append(place)
    return good, rejected


def clean_row(raw: Row, schema: RowSchema, made_id: str, *, labelled: bool = True) -> tuple[Row, str | None]:
    """Return the row with its cells as the schema's types, and why it cannot be used, or None.

    Without `labelled` the cells of type `label` and `answers` are left out.
    """
    given = _blank_as_none(raw.get("id"))
    row: Row = {"id": made_id if given is None else _text(given)}
    for column in schema.columns:
        if column.name not in raw or (not labelled and column.type in ("label", "answers")):
            continue
        value, cause = _cell(raw[column.name], column, raw)
        if cause:
            return row, cause
        row[column.name] = value
    return row, None


def check_share(rejected: Sequence[Rejected], read: int, limit: float, origin: str) -> None:
    """Raise `DataError` when more than `limit` of the `read` rows of a file were rejected, or all of them."""
    if not rejected or (len(rejected) <= limit * read and len(rejected) < read):
        return
    causes = ", ".join(f"{cause}: {count}" for cause, count in Counter(item.cause for item in rejected).most_common())
    first = rejected[0]
    raise DataError(
        f"`{origin}`: {len(rejected)} of {read} rows cannot be used, more than `data.max_rejected={limit:g}` allows ({causes}). "
        f"The first is `{first.place}` ({first.cause}). Mend the rows, or allow more"
    )


def _cell(value: object, column: Column, raw: Row) -> tuple[object, str | None]:
    value = _blank_as_none(value)
    if column.type == "answers":
        return canonical_answers(value, _blank_as_none(raw.get("answer_start")), raw.get("context"))
    if column.type == "value":
        return value, None
    if value is None:
        return "", f"empty {column.name}" if column.required else None
    if isinstance(value, (list, dict)) or (column.type == "text" and isinstance(value, bool)):
        return "", f"{column.name} is not {'a text' if column.type == 'text' else 'a class'}"
    if column.type == "label":
        return value.strip() if isinstance(value, str) else value, None
    return _text(value), None


def _blank_as_none(value: object) -> object:
    """A null cell is None, NaN (pandas) or blank."""
    blank = (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))
    return None if blank else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)
