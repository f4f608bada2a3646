"""Rows to try a head on: canonical, few, and as different as the data allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.errors import FtrError
from ftr.testing.contract import broken, must_work

if TYPE_CHECKING:
    from ftr.registry.protocols import Head, Row
    from ftr.registry.schema import RowSchema
    from ftr.testing.subjects.component import Component

NO_COLUMNS = 'set `columns` of the class: `columns = (Column(name="text"), ...)`'
FEW = 8
"""Rows a head is tried on: one batch."""


def canonical(
    head: Head, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], component: Component
) -> tuple[list[Row], tuple[str, ...]]:
    """Return `rows` as a training would have them, with class ids, and the class names; fails the
    check for a row that cannot be used.
    """
    from ftr.config.schema import DataConfig
    from ftr.data.prepare import prepare_rows
    from ftr.data.rows import Loaded, Rows

    promise = f"the `rows` of this class can be used by {component}"
    with must_work(f"{component} has columns", NO_COLUMNS):
        _ = head.schema
    if len(rows) < 4:
        broken(promise, f"there are {len(rows)} rows", "give four or more, all different")
    loaded = Loaded(
        splits={
            "train": Rows(
                [dict(row) for row in rows], [f"rows[{number}]" for number in range(len(rows))]
            )
        }
    )
    data = DataConfig(validation_size=0, test_size=0, max_invalid=1.0)
    try:
        prepared = prepare_rows(loaded, head, data, known_labels=tuple(labels) or None)
    except FtrError as error:
        broken(
            promise,
            str(error),
            "give `rows` with the columns of the head, labels by name, and all names in `labels`; "
            "or change the `columns` of the head",
        )
    if prepared.rejected:
        first = prepared.rejected[0]
        broken(
            promise,
            f"`{first.place}` is rejected: {first.cause}",
            "mend the row in `rows`, or override `check` of the head",
        )
    return list(prepared.splits["train"]), prepared.labels


def chosen(rows: Sequence[Row], schema: RowSchema, count: int = FEW) -> list[Row]:
    """Return `count` rows: those that show another class each as long as there are any, then others
    evenly spread.
    """
    found: list[int] = []
    seen: set[str] = set()
    column = schema.label
    if column is not None:
        for number, row in enumerate(rows):
            if len(found) < count and not {str(row[column])} <= seen:
                seen.add(str(row[column]))
                found.append(number)
    step = max(len(rows) // count, 1)
    for number in [*range(0, len(rows), step), *range(len(rows))]:
        if len(found) < count and number not in found:
            found.append(number)
    return [rows[number] for number in sorted(found)]


def texts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return all strings that stand in rows, lists within cells included."""
    return " ".join(text for row in rows for value in row.values() for text in _strings(value))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
