"""From labels of any type to a stable list of class names: the index is the class id."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.data.schema import Column

Label = str | int | float | bool

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MANY = 20


def label_name(label: object) -> str:
    """Return the class name of a label: `true` and `false` for truth values, numbers as they are written."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def label_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct class names in id order: numbers by value, false before true, all others as strings."""
    names = {label_name(label) for label in labels}
    if names and all(_NUMBER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def check_labels(names: Collection[str], rows: int, column: str, source: str) -> None:
    """Raise `DataError` when there is one class only, or nearly as many classes as rows."""
    if len(names) == 1:
        raise DataError(f"{source}: all {rows} usable rows have the same `{column}`, `{next(iter(names))}`: there is nothing to learn")
    _check_number(names, rows, "rows", column, source)


def check_many_labels(names: Collection[str], count: int, column: Column, source: str) -> None:
    """Raise `DataError` when lists of classes, `count` in all, hold none, only one where each row must have some, or nearly as many."""
    if not names:
        raise DataError(f"{source}: no usable row has any `{column.name}`: there is nothing to learn")
    if len(names) == 1 and column.required:
        raise DataError(f"{source}: all `{column.name}` are `{next(iter(names))}`: there is nothing to learn")
    _check_number(names, count, "places", column.name, source)


def _check_number(names: Collection[str], count: int, what: str, column: str, source: str) -> None:
    if len(names) > max(_MANY, count // 2):
        raise DataError(
            f"{source}: `{column}` has {len(names)} different values in {count} {what}, so it does not name classes. "
            f"Choose another column with `dataset.{column}=...`"
        )
