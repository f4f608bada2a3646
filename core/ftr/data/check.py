"""Validate rows: cells of the declared type, unique ids, and the head's own checks."""

from __future__ import annotations

import ast
import json
import math
from collections import Counter
from typing import TYPE_CHECKING

from ftr.data.labels import MULTI_LABEL
from ftr.data.rows import Rejected, RejectedRowsError, Row, Rows, blank_as_none
from ftr.data.squad import canonical_answers, contradiction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftr.registry.protocols import Head
    from ftr.registry.schema import Column, RowSchema


Checked = tuple[object, str | None]
"""A cell in its one form, and why it cannot be used, or None."""
_ESCAPED = range(0xDC80, 0xDD00)
"""Characters that `surrogateescape` decodes single bytes to: what cannot be UTF-8."""


def check_cell(value: object, column: Column, raw: Row) -> Checked:
    """Return a cell as its column's type wants it; `raw` is the row it stands in."""
    value = blank_as_none(value)
    if column.type == "answers":
        answers, cause = canonical_answers(
            value, blank_as_none(raw.get("answer_start")), raw.get("context")
        )
        return answers, cause or contradiction(blank_as_none(raw.get("is_impossible")), answers)
    if column.type == "value":
        return value, None
    if column.type in ("tokens", "labels"):
        return _list(value, column)
    if value is None:
        return "", f"empty {column.name}" if column.required else None
    if column.type == "number":
        return _number(value, column)
    if column.type == "label":
        value, cause = _one_class(value, column)
        if cause:
            return "", cause
    if isinstance(value, (list, dict)) or (column.type == "text" and isinstance(value, bool)):
        return "", f"{column.name} is not {'a text' if column.type == 'text' else 'a class'}"
    if column.type == "label":
        return value.strip() if isinstance(value, str) else value, None
    return as_text(value), None


def decoded(value: object, name: str) -> Checked:
    """Return a cell with its bytes as text, and that something in it is no text that UTF-8 can
    hold, or None.
    """
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                return "", f"{name} is not UTF-8 text: it has {_what(error.object[error.start])}"
        return value, None
    if isinstance(value, bytes):
        try:
            return value.decode(), None
        except UnicodeDecodeError:
            return "", f"{name} is not UTF-8 text: it has a broken byte"
    if isinstance(value, dict):
        items, cause = decoded([*value, *value.values()], name)
        return (
            dict(zip(items[: len(value)], items[len(value) :], strict=True))
            if isinstance(items, list) and not cause
            else value
        ), cause
    if isinstance(value, (list, tuple)):
        found = [decoded(item, name) for item in value]
        return [item for item, _ in found], next((cause for _, cause in found if cause), None)
    return value, None


def _what(letter: str) -> str:
    return "a broken byte" if ord(letter) in _ESCAPED else "half a surrogate pair"


def _literal(text: str) -> object:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _one_class(value: object, column: Column) -> Checked:
    """Return the class that a list of one label, or a mapping of classes to truth values, holds."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        parsed = _literal(value.strip())
        value = parsed if isinstance(parsed, list) and len(parsed) == 1 else value
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(share, (bool, int, float, type(None))) for share in value.values())
    ):
        value = [name for name, share in value.items() if share is not None and share > 0.5]
    if not isinstance(value, (list, tuple)):
        return value, None
    if len(value) > 1:
        return value, f"{column.name} is a list of several classes"
    one = blank_as_none(value[0]) if value else None
    return one, f"empty {column.name}" if one is None else None


def as_text(value: object) -> str:
    """Return a string as it is, anything else as it is written."""
    return value if isinstance(value, str) else str(value)


def _list(value: object, column: Column) -> Checked:
    items = _split(value, column.separator) if isinstance(value, str) else value
    what = "a list of texts" if column.type == "tokens" else "a list of classes"
    if items is None:
        items = []
    elif isinstance(items, tuple):
        items = list(items)
    if not isinstance(items, list) or any(isinstance(item, (list, dict)) for item in items):
        return [], f"{column.name} is not {what}"
    found = [
        item.strip() if isinstance(item, str) and column.type == "labels" else item
        for item in map(blank_as_none, items)
    ]
    if None in found:
        return [], f"{column.name} has an empty item"
    if not found and (column.required or column.type == "tokens"):
        return [], f"empty {column.name}"
    return [as_text(item) for item in found] if column.type == "tokens" else found, None


def _split(cell: str, separator: str) -> object:
    """Return the items of a flat cell: a JSON list as such, else what stands between separators."""
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            pass  # text that begins with a bracket
    return cell.split() if separator == " " else [item.strip() for item in cell.split(separator)]


def _number(value: object, column: Column) -> Checked:
    try:
        number = (
            float(str(value))
            if isinstance(value, (str, int, float)) and not isinstance(value, bool)
            else math.nan
        )
    except ValueError:
        number = math.nan
    return (
        (number, None) if math.isfinite(number) else (0.0, f"{column.name} is not a finite number")
    )


def check_rows(
    rows: Rows, split: str, head: Head, *, labelled: bool = True
) -> tuple[Rows, list[Rejected]]:
    """Return the usable rows, cleaned, and the others with their causes.

    Rows without an id get `<split>-<n>`, n from 1.
    """
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


def clean_row(
    raw: Row, schema: RowSchema, made_id: str, *, labelled: bool = True
) -> tuple[Row, str | None]:
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
    "marked ": "without the column `is_impossible`, questions without answers are those that have "
    "none",
    "answer_start is not": "`dataset.answer_start=COLUMN` names another column",
    "does not point at": "without an offset, the answer is used where the context has it once",
    "occurs more than once": "`dataset.answer_start=COLUMN` names the column of its offset",
    "is not in the context": "an answer is copied from its context, letter for letter; "
    "`dataset.answers=COLUMN` names another column",
    "answer": "`dataset.answers=COLUMN` and `dataset.answer_start=COLUMN` name other columns",
}
"""By a part of the cause why rows were rejected: the option that helps where the rows are right."""


def check_share(
    rejected: Sequence[Rejected], read: int, limit: float, origin: str, detail: str = ""
) -> None:
    """Raise `RejectedRowsError` when more than `limit` of the `read` rows of a file were rejected,
    or all of them.

    It names the three commonest causes, each with its first place and the option that helps;
    `detail` is added to it.
    """
    if not rejected or (len(rejected) <= limit * read and len(rejected) < read):
        return
    causes = Counter(item.cause for item in rejected).most_common()
    shown = [
        f"{cause}: {count}, first `{_first(rejected, cause)}`{_way_out(cause)}"
        for cause, count in causes[:3]
    ]
    more = f"; and {len(causes) - 3} more" if len(causes) > 3 else ""
    raise RejectedRowsError(
        f"`{origin}`: {len(rejected)} of {read} rows cannot be used, more than "
        f"`data.max_invalid={limit:g}` allows ({'; '.join(shown)}{more}). "
        f"{detail}{'. ' if detail else ''}Correct the rows, or allow more with "
        "`data.max_invalid=`",
        rejected,
    )


def _first(rejected: Sequence[Rejected], cause: str) -> str:
    return next(item.place for item in rejected if item.cause == cause)


def _way_out(cause: str) -> str:
    way = next(
        (
            way.format(cause.removeprefix("empty "))
            for part, way in WAYS_OUT.items()
            if part in cause
        ),
        None,
    )
    return f" ({way})" if way else ""
