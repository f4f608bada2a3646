"""Whether a row can be used: cells as the schema wants them, ids that are unique, and what the head says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ftr.data.cells import as_text, blank_as_none, check_cell, decoded
from ftr.data.labels import MULTI_LABEL
from ftr.data.rows import Rejected, RejectedRowsError, Row, Rows

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
    targets = {column.name for column in schema.columns if column.target} if not labelled else ()
    cells: Row = {}
    cause: str | None = None
    for name, cell in raw.items():
        if name not in targets:
            cells[name], fault = decoded(cell, name)
            cause = cause or fault
    given = blank_as_none(cells.get("id"))
    row: Row = {"id": made_id if given is None else as_text(given)}
    if cause:
        return row, cause
    for column in schema.columns:
        if column.name not in cells:
            continue
        value, cause = check_cell(cells[column.name], column, cells)
        if cause:
            return row, cause
        row[column.name] = value
    return row, None


WAYS_OUT = {
    "wrong number of cells": "`dataset.delimiter=` or `dataset.quoting=none` reads cells otherwise",
    "empty ": "`dataset.{}=COLUMN` names another column",
    "duplicate id": "`dataset.id=none` numbers the rows",
    " is not UTF-8 text": "`dataset.encoding=` names the encoding of a text file",
    "label not in train": "`dataset.label=COLUMN` names another column",
    "list of several classes": MULTI_LABEL,
    "marked ": "without the column `is_impossible`, questions without answers are those that have none",
    "answer_start is not": "`dataset.answer_start=COLUMN` names another column",
    "does not point at": "without an offset, the answer is used where the context has it once",
    "occurs more than once": "`dataset.answer_start=COLUMN` names the column of its offset",
    "is not in the context": "an answer is copied from its context, letter for letter; `dataset.answers=COLUMN` names another column",
    "answer": "`dataset.answers=COLUMN` and `dataset.answer_start=COLUMN` name other columns",
}
"""By a part of the cause why rows were rejected: the option that helps where the rows are right."""


def check_share(rejected: Sequence[Rejected], read: int, limit: float, origin: str, detail: str = "") -> None:
    """Raise `RejectedRowsError` when more than `limit` of the `read` rows of a file were rejected, or all of them.

    It names the three commonest causes, each with its first place and the option that helps; `detail` is added to it.
    """
    if not rejected or (len(rejected) <= limit * read and len(rejected) < read):
        return
    causes = Counter(item.cause for item in rejected).most_common()
    shown = [f"{cause}: {count}, first `{_first(rejected, cause)}`{_way_out(cause)}" for cause, count in causes[:3]]
    more = f"; and {len(causes) - 3} more" if len(causes) > 3 else ""
    raise RejectedRowsError(
        f"`{origin}`: {len(rejected)} of {read} rows cannot be used, more than `data.max_rejected={limit:g}` allows "
        f"({'; '.join(shown)}{more}). "
        f"{detail}{'. ' if detail else ''}Correct the rows, or allow more with `data.max_rejected=`",
        rejected,
    )


def _first(rejected: Sequence[Rejected], cause: str) -> str:
    return next(item.place for item in rejected if item.cause == cause)


def _way_out(cause: str) -> str:
    way = next((way.format(cause.removeprefix("empty ")) for part, way in WAYS_OUT.items() if part in cause), None)
    return f" ({way})" if way else ""
