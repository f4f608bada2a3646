"""What the columns of a table look like: texts, classes, numbers, lists, 0/1."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftr.data.columns import check_cell
from ftr.data.labels import listed, shown
from ftr.data.multilabel import divided, flag_columns, separator_of
from ftr.data.rows import Table, blank_as_none
from ftr.data.squad import parse_list
from ftr.data.tables import are_texts, few_values
from ftr.registry.schema import Column, RowSchema

Kind = Literal["text", "flag", "class", "number", "ids", "list", "other"]

ROWS = 5000
"""Rows that are looked at."""
_MOST_CLASSES = 20
"""Different whole numbers that are classes; more are a scale."""
_LONGEST_LABEL = 40
_CODE = re.compile(r"0[0-9]+")
"""Numbers with zeros in front are names."""
_DECIMAL = re.compile(r"[+-]?[0-9]+(,[0-9]+)?")
"""A number with a decimal comma."""
_NEARLY_ALL = 0.9


@dataclass(frozen=True, slots=True)
class Profile:
    """A column of a table: what its cells look like, for decisions and for people."""

    index: int
    name: str
    kind: Kind
    looks: str


def profiles(table: Table, schema: RowSchema) -> list[Profile]:
    """Return what each column looks like; `schema` has sets of labels, if any."""
    flags = set(flag_columns(table, schema))
    records = table.records[:ROWS]
    return [
        Profile(index, name, *_looks([record[index] for record in records], index in flags))
        for index, name in enumerate(table.columns)
    ]


def _looks(cells: Sequence[object], is_flag: bool) -> tuple[Kind, str]:
    present = [
        cell.decode(errors="replace") if isinstance(cell, bytes) else cell
        for cell in cells
        if blank_as_none(cell) is not None
    ]
    if not present:
        return "other", "no values"
    if is_flag:
        return "flag", "values 0 and 1"
    present = _single_classes(present) or present
    lists = [_items(cell) for cell in present]
    if sum(items is not None for items in lists) >= _NEARLY_ALL * len(lists):
        items = [item for one in lists if one is not None for item in one]
        return ("list", f"lists such as `{shown(present[0])}`") if items else ("other", "no values")
    if any(isinstance(cell, (list, dict)) for cell in present):
        return "other", f"values such as `{shown(present[0])}`"
    if len({str(cell) for cell in present}) == 1:
        return "other", f"`{shown(present[0])}` in each row"
    if few_values(present) and not _is_scale(present):
        counts = Counter(str(cell).strip() for cell in present)
        if _are_sets(list(counts), list(map(str, present))):
            return "list", f"labels divided by a separator, such as `{shown(present[0])}`"
        return "class", f"{len(counts)} values: {listed(dict.fromkeys(sorted(counts), ''))}"
    numbers = [_number(cell) for cell in present]
    if sum(number is not None for number in numbers) >= _NEARLY_ALL * len(numbers):
        return _numeric([number for number in numbers if number is not None])
    texts = [str(cell) for cell in present]
    if _are_sets(sorted(set(texts)), texts):
        return "list", f"labels divided by a separator, such as `{shown(texts[0])}`"
    if are_texts(texts):
        return "text", f"texts such as `{shown(texts[0])}`"
    if len(set(texts)) <= len(texts) / 2:
        return "class", f"{len(set(texts))} values, such as `{shown(texts[0])}`"
    return "other", f"different values such as `{shown(texts[0])}`"


def _single_classes(cells: Sequence[object]) -> list[object] | None:
    """Return the class in each list of one, or mapping of classes to shares, if all cells are."""
    if not all(isinstance(cell, (list, dict)) or _items(cell) is not None for cell in cells):
        return None
    checked = [check_cell(cell, Column(name="label", type="label"), {}) for cell in cells]
    if any(cause for _, cause in checked):
        return None
    values = [value for value, _ in checked]
    if any(isinstance(value, str) and parse_list(value) is not None for value in values):
        return None  # a list of several, or of none
    return values


def _items(cell: object) -> list[object] | None:
    if isinstance(cell, str):
        return parse_list(cell)
    return list(cell) if isinstance(cell, (list, tuple)) else None


def _is_scale(cells: Sequence[object]) -> bool:
    """Whether values are numbers with fractions, of more than a few kinds."""
    numbers = {_number(cell) for cell in cells}
    return (
        len(numbers) > 5
        and None not in numbers
        and any(number is not None and not number.is_integer() for number in numbers)
    )


def _numeric(numbers: Sequence[float]) -> tuple[Kind, str]:
    distinct = set(numbers)
    span = f"from {min(numbers):g} to {max(numbers):g}"
    if all(number.is_integer() for number in distinct):
        if len(distinct) == len(numbers):
            return "other", f"a different whole number in each row, {span}"
        if len(distinct) <= _MOST_CLASSES:
            return "class", f"{len(distinct)} whole numbers {span}"
        if min(distinct) in (0, 1) and max(distinct) - min(distinct) + 1 == len(distinct):
            return "ids", f"all whole numbers {span}, as class ids have"
    return "number", f"{len(distinct)} different numbers {span}"


def _number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        return None
    if isinstance(cell, str) and _CODE.fullmatch(cell.strip()):
        return None
    try:
        found = float(cell)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _are_sets(distinct: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether cells hold labels with a separator between them: short ones that repeat."""
    separator = separator_of(distinct)
    if not separator or all(_DECIMAL.fullmatch(text.strip()) for text in distinct):
        return False
    cells = [divided(text, separator) for text in texts]
    items = [str(item) for cell in cells if isinstance(cell, list) for item in cell]
    short = max(map(len, items), default=0) <= _LONGEST_LABEL
    return short and len(items) > len(texts) and len(set(items)) <= len(items) / 2
