"""Class names and class ids: from labels of any type to a stable order."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ftr.config.values import label_name
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.data.rows import Row, Rows
    from ftr.registry.schema import Column


Label = str | int | float | bool

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_MANY = 20
_SHOWN = 20
_NO_ANSWER = {
    "",
    "na",
    "n/a",
    "n.a.",
    "nan",
    "none",
    "null",
    "nil",
    "unknown",
    "unk",
    "missing",
    "undefined",
    "unlabeled",
    "unlabelled",
}
_NO_ANSWER |= {"not available", "not applicable", "no answer", "no label", "-", "?", "#n/a"}
_NEARLY_ALL = 0.75
"""Share of the rows from which a class that looks like "no answer" is reported."""
MULTI_LABEL = (
    "a text of several classes needs a multi-label head, such as `multi-label` of the example "
    "package `ftr-toxic-labels`"
)


def label_key(label: object) -> str:
    """Return what two labels of one class have in common: the class name, a number without zeros in
    front.
    """
    name = label_name(label)
    if not name.lstrip("-").startswith("0") or not _NUMBER.fullmatch(name):
        return name
    sign = "-" if name.startswith("-") else ""
    digits = name.lstrip("-").lstrip("0")
    return sign + (digits if digits[:1].isdigit() else f"0{digits}")


def folded(name: str) -> str:
    """Return what names that differ only in case, in spaces or in how one class is spelled have in
    common.
    """
    text = unicodedata.normalize("NFKC", label_key(name)).casefold()
    return "".join(
        letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf"
    )


def label_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct class names in id order: numbers by value, false before true, all others
    as strings.

    Where `01` and `1` are both there, they are the class `1`.
    """
    by_key: dict[str, set[str]] = {}
    for name in {label_name(label) for label in labels}:
        by_key.setdefault(label_key(name), set()).add(name)
    names = {next(iter(spelled)) if len(spelled) == 1 else key for key, spelled in by_key.items()}
    if names and all(_NUMBER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(names))


def in_order(names: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return the classes in the order of a mapping that came with the data, if it names them all,
    also those without rows; else `names`.
    """
    ordered = tuple(dict.fromkeys(label_name(name) for name in given))
    return (
        ordered
        if {label_key(name) for name in names} <= {label_key(name) for name in ordered}
        else tuple(names)
    )


class ClassIds:
    """Finds the id of a class by any of its spellings."""

    def __init__(self, names: Sequence[str]) -> None:
        self._ids = {label_key(name): number for number, name in enumerate(names)}
        self._ids |= {name: number for number, name in enumerate(names)}

    def get(self, label: object) -> int | None:
        """Return the id of the label's class, or None when there is no such class."""
        found = self._ids.get(str(label))
        return self._ids.get(label_key(label)) if found is None else found


def shown(text: object, length: int = 60) -> str:
    """Return a name as it can be printed in one line: line breaks and what else is invisible
    escaped, what is long cut.
    """
    name = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)[: length + 1]
    )
    return name if len(name) <= length else f"{name[: length - 1]}…"


def listed(counts: Mapping[str, int | str]) -> str:
    """Return classes with their numbers of rows, in one line: all up to 20, else the first ones and
    how many more there are.
    """
    parts = [f"`{shown(name)}` {count}".rstrip() for name, count in list(counts.items())[:_SHOWN]]
    more = len(counts) - len(parts)
    return ", ".join(parts) + (f", and {more} more" if more > 0 else "")


def class_notes(counts: Mapping[str, int], column: str) -> list[str]:
    """Return what is strange about classes with these numbers of rows: near duplicates, lists, and
    one that means "no answer".
    """
    notes: list[str] = []
    alike: dict[str, list[str]] = {}
    for name in counts:
        alike.setdefault(folded(name), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            several = listed({name: counts[name] for name in same})
            notes.append(
                f"`{column}`: classes that differ only in case or spaces: {several}. If they are "
                "one class, spell it one way"
            )
    lists = [name for name in counts if _is_list(name, counts)]
    if lists:
        rows = sum(counts[name] for name in lists)
        notes.append(
            f"`{column}`: {rows} of {sum(counts.values())} cells look like lists of labels, such "
            f"as `{shown(lists[0])}`; each list is taken as one class. Otherwise {MULTI_LABEL}"
        )
    name, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if count and name.strip().lower() in _NO_ANSWER and count >= _NEARLY_ALL * sum(counts.values()):
        notes.append(
            f"`{column}`: {count} of {sum(counts.values())} rows have the class `{shown(name)}`, "
            'which looks like "no answer". If so, '
            "leave these rows out"
        )
    return notes


def spelling_notes(labels: Iterable[object], column: str) -> list[str]:
    """Return a note for each class that is spelled in several ways."""
    by_key: dict[str, Counter[str]] = {}
    for spelled, count in Counter(map(str, labels)).items():
        by_key.setdefault(label_key(spelled), Counter())[spelled] += count
    return [
        f"`{column}`: {listed(several)} are one class"
        for several in by_key.values()
        if len(several) > 1
    ]


def check_labels(names: Collection[str], rows: int, column: str, source: str) -> None:
    """Raise `DataError` when there is one class only, or nearly as many classes as rows."""
    if len(names) == 1:
        raise DataError(
            f"{source}: all {rows} usable rows have the same `{column}`, "
            f"`{shown(next(iter(names)))}`: there is nothing to learn"
        )
    _check_number(names, rows, "rows", column, source)


def check_many_labels(names: Collection[str], count: int, column: Column, source: str) -> None:
    """Raise `DataError` when lists of classes, `count` in all, hold none, only one where each row
    must have some, or nearly as many.
    """
    if not names:
        raise DataError(
            f"{source}: no usable row has any `{column.name}`: there is nothing to learn"
        )
    if len(names) == 1 and column.required:
        raise DataError(
            f"{source}: all `{column.name}` are `{shown(next(iter(names)))}`: there is nothing to "
            "learn"
        )
    _check_number(names, count, "places", column.name, source)


def _check_number(names: Collection[str], count: int, what: str, column: str, source: str) -> None:
    if len(names) > max(_MANY, count // 2):
        raise DataError(
            f"{source}: `{column}` has {len(names)} different values in {count} {what}, so it does "
            f"not name classes. Choose another column with `dataset.{column}=...`"
        )


def _is_list(name: str, counts: Mapping[str, int]) -> bool:
    """Whether a name is a list in brackets, or classes that are there by themselves with a
    separator between them.
    """
    if (
        len(name) > 2
        and name[0] + name[-1] in ("[]", "()", "{}")
        and ("," in name or "'" in name or '"' in name)
    ):
        return True
    parts = next((name.split(mark) for mark in "|;,+" if mark in name), [])
    return len(parts) > 1 and all(part.strip() in counts for part in parts)


def class_names(
    rows: Sequence[Row], column: Column, source: str, given: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes in training rows, in id order, and notes on classes that are
    spelled in several ways.

    The order is that of `given`, a mapping that came with the data, where there is one. Raises
    `DataError` when the classes do not allow training.
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
    return [
        index
        for index, row in enumerate(rows.rows)
        if any(ids.get(label) is None for label in _held(row, column))
    ]


def both_sets(
    rows: Rows,
    strange: Sequence[int],
    column: Column,
    ids: ClassIds,
    known: Iterable[str],
    whose: str,
) -> str:
    """Return the classes that are known and those that are not, with their numbers of rows and the
    first place of each.
    """
    places: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for index in strange:
        for label in _held(rows.rows[index], column):
            if ids.get(label) is None:
                counts[str(label)] += 1
                places.setdefault(str(label), rows.places[index])
    first = ", ".join(f"`{place}`" for place in list(places.values())[:3])
    return (
        f"{whose}: {listed(dict.fromkeys(known, ''))}; other classes: {listed(counts)}, first at "
        f"{first}"
    )


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
