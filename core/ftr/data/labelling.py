"""Putting class ids into rows: one for each, or a list of them (a class for every token, or the set that applies)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.data.labels import check_labels, check_many_labels, label_name, label_names

if TYPE_CHECKING:
    from ftr.data.rows import Row, Rows
    from ftr.data.schema import Column


def class_names(rows: Sequence[Row], column: Column, source: str) -> tuple[str, ...]:
    """Return the names of the classes in training rows, in id order. Raises `DataError` when they do not allow training."""
    found = [label for row in rows for label in _held(row, column)]
    names = label_names(found)
    if column.type == "labels":
        check_many_labels(names, len(found), column, source)
    else:
        check_labels(names, len(rows), column.name, source)
    return names


def strangers(rows: Rows, column: Column, names: Iterable[str]) -> list[int]:
    """Return the indices of rows that have a class which is not among `names`."""
    known = set(names)
    return [index for index, row in enumerate(rows.rows) if any(label_name(label) not in known for label in _held(row, column))]


def with_ids(row: Row, column: Column, ids: Mapping[str, int]) -> Row:
    """Return the row with class ids instead of what names the classes."""
    found = [ids[label_name(label)] for label in _held(row, column)]
    return {**row, column.name: found if column.type == "labels" else found[0]}


def counted(rows: Iterable[Row], column: Column) -> Counter[int]:
    """Return how often each class id stands in rows that have ids."""
    return Counter(number for row in rows for number in _held(row, column))


def _held(row: Row, column: Column) -> list[Any]:
    cell = row.get(column.name, []) if column.type == "labels" else row[column.name]
    return cell if isinstance(cell, list) else [cell]
