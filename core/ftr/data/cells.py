"""What a cell may hold: each type of column checks its cells and gives them one form."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from ftr.data.answers import canonical_answers, contradiction

if TYPE_CHECKING:
    from ftr.data.rows import Row
    from ftr.data.schema import Column

Checked = tuple[object, str | None]
"""A cell in its one form, and why it cannot be used, or None."""


def check_cell(value: object, column: Column, raw: Row) -> Checked:
    """Return a cell as its column's type wants it; `raw` is the row it stands in."""
    value = blank_as_none(value)
    if column.type == "answers":
        answers, cause = canonical_answers(value, blank_as_none(raw.get("answer_start")), raw.get("context"))
        return answers, cause or contradiction(blank_as_none(raw.get("is_impossible")), answers)
    if column.type == "value":
        return value, None
    if column.type in ("tokens", "labels"):
        return _list(value, column)
    if value is None:
        return "", f"empty {column.name}" if column.required else None
    if column.type == "number":
        return _number(value, column)
    if isinstance(value, (list, dict)) or (column.type == "text" and isinstance(value, bool)):
        return "", f"{column.name} is not {'a text' if column.type == 'text' else 'a class'}"
    if column.type == "label":
        return value.strip() if isinstance(value, str) else value, None
    return as_text(value), None


def blank_as_none(value: object) -> object:
    """Return None for a null cell: None, NaN (pandas) or blank."""
    blank = (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))
    return None if blank else value


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
    found = [item.strip() if isinstance(item, str) and column.type == "labels" else item for item in map(blank_as_none, items)]
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
        number = float(str(value)) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    return (number, None) if math.isfinite(number) else (0.0, f"{column.name} is not a finite number")
