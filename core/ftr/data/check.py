"""Whether a row can be used: cells as the schema wants them, ids that are unique, and what the head says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ftr.data.cells import as_text, blank_as_none, check_cell
from ftr.data.rows import Rejected, Row, Rows
from ftr.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftr.data.schema import RowSchema
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

    Without `labelled` the cells that are to be learned are left out.
    """
    given = blank_as_none(raw.get("id"))
    row: Row = {"id": made_id if given is None else as_text(given)}
    for column in schema.columns:
        if column.name not in raw or (column.target and not labelled):
            continue
        value, cause = check_cell(raw[column.name], column, raw)
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
