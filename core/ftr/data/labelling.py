"""Putting class ids into rows: one for each, or a list of them (a class for every token, or the set that applies)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ftr.data.labels import ClassIds, check_labels, check_many_labels, in_order, label_names, listed, spelling_notes

if TYPE_CHECKING:
    from ftr.data.rows import Row, Rows
    from ftr.data.schema import Column


def class_names(rows: Sequence[Row], column: Column, source: str, given: Sequence[str] = ()) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes in training rows, in id order, and notes on classes that are spelled in several ways.

    The order is that of `given`, a mapping that came with the data, where there is one. Raises `DataError` when the classes do
    not allow training.
    """
    found = [label for row in rows for label in _held(row, column)]
    names = label_names(found)
    if column.type == "labels":
        check_many_labels(names, len(found), column, source)
    else:
        check_labels(names, len(rows), column.name, source)
    return in_order(names, given), spelling_notes(found, column.name)


def strangers(rows: Rows, column: Column, ids: ClassIds) -> list[int]:
    """Return the indices of rows that have a class which has no id."""
    return [index for index, row in enumerate(rows.rows) if any(ids.get(label) is None for label in _held(row, column))]


def both_sets(rows: Rows, strange: Sequence[int], column: Column, ids: ClassIds, known: Iterable[str], whose: str) -> str:
    """Return the classes that are known and those that are not, with their numbers of rows and the first place of each."""
    places: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for index in strange:
        for label in _held(rows.rows[index], column):
            if ids.get(label) is None:
                counts[str(label)] += 1
                places.setdefault(str(label), rows.places[index])
    first = ", ".join(f"`{place}`" for place in list(places.values())[:3])
    return f"{whose}: {listed(dict.fromkeys(known, ''))}; other classes: {listed(counts)}, first at {first}"


def with_ids(row: Row, column: Column, ids: ClassIds) -> Row:
    """Return the row with class ids instead of what names the classes."""
    found = [ids.get(label) for label in _held(row, column)]
    return {**row, column.name: found if column.type == "labels" else found[0]}


def counted(rows: Iterable[Row], column: Column) -> Counter[int]:
    """Return how often each class id stands in rows that have ids."""
    return Counter(number for row in rows for number in _held(row, column))


def _held(row: Row, column: Column) -> list[Any]:
    cell = row.get(column.name, []) if column.type == "labels" else row[column.name]
    return cell if isinstance(cell, list) else [cell]
