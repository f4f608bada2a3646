"""Class names and class ids: from labels of any type to a stable order."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, tee
from typing import Any

from ftr.config.values import label_name
from ftr.data.rows import Rows
from ftr.errors import DataError
from ftr.registry.schema import Column

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_ZEROS = re.compile(r"^(-?)0+(?=[0-9])")
_MANY = 20
_SHOWN = 20
_NO_ANSWER = {
    *("", "-", "?", "#n/a", "na", "n/a", "n.a.", "nan", "nil", "none", "null", "unk", "unknown"),
    *("missing", "no answer", "no label", "not applicable", "not available", "undefined"),
    *("unlabeled", "unlabelled"),
}
_NEARLY_ALL = 0.75
"""Share of the rows from which a class that looks like "no answer" is reported."""
MULTI_LABEL = "a text of several classes needs a multi-label head: `task=topics`"


def label_key(label: object) -> str:
    """Return the class name, without leading zeros: equal for all labels of a class."""
    name = label_name(label)
    return _ZEROS.sub(r"\1", name) if _NUMBER.fullmatch(name) else name


def folded(name: str) -> str:
    """Return a name without case, white space and invisible characters, to find near duplicates."""
    text = unicodedata.normalize("NFKC", label_key(name)).casefold()
    return "".join(
        letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf"
    )


def label_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct class names in id order: numbers by value, false before true, all others
    as strings.

    `01` and `1` together are the class `1`.
    """
    by_key: dict[str, set[str]] = {}
    for name in {label_name(label) for label in labels}:
        by_key.setdefault(label_key(name), set()).add(name)
    names = {spelled.pop() if len(spelled) == 1 else key for key, spelled in by_key.items()}
    if all(_NUMBER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(names))


class ClassIds:
    """Finds the id of a class by any of its spellings."""

    def __init__(self, names: Sequence[str]) -> None:
        self._ids = {label_key(name): number for number, name in enumerate(names)}
        self._ids |= {name: number for number, name in enumerate(names)}

    def get(self, label: object) -> int | None:
        """Return the id of the label's class, or None if there is no such class."""
        found = self._ids.get(str(label))
        return self._ids.get(label_key(label)) if found is None else found


def shown(text: object, length: int = 60) -> str:
    """Return a name in one line: invisible characters are escaped, a long name is cut."""
    name = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)[: length + 1]
    )
    return name if len(name) <= length else f"{name[: length - 1]}…"


def listed(counts: Mapping[str, int | str]) -> str:
    """Return classes with their numbers of rows in one line, and how many there are beyond 20."""
    parts = [f"`{shown(name)}` {count}".rstrip() for name, count in list(counts.items())[:_SHOWN]]
    more = len(counts) - len(parts)
    return ", ".join(parts) + (f", and {more} more" if more > 0 else "")


def class_names(
    rows: Rows, column: Column, source: str, given: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes in training rows, in id order, and notes on classes that are
    spelled in several ways.

    The order is that of `given`, a mapping that came with the data, if it names all classes; it may
    name classes without rows. Raises `DataError` when the classes do not allow training.
    """
    counts = count_labels(rows, column)
    names = label_names(label for label, _ in counts)
    ordered = tuple(dict.fromkeys(label_name(name) for name in given))
    is_given = set(map(label_key, names)) <= set(map(label_key, ordered))
    _check_classes(names, sum(count for _, count in counts), column, source, many=not is_given)
    if is_given:
        names = ordered
    by_key: dict[str, Counter[str]] = {}
    for label, count in counts:
        by_key.setdefault(label_key(str(label)), Counter())[str(label)] += count
    return names, [
        f"`{column.name}`: {listed(several)} are one class"
        for several in by_key.values()
        if len(several) > 1
    ]


def count_labels(rows: Rows, column: Column) -> list[tuple[object, int]]:
    """Return each label in rows, in the order of first rows, and how often it is there. Labels of
    different types are different: 1 is not true.
    """
    kinds, labels = tee(_labels(rows, column))
    counts = Counter(zip(map(type, kinds), labels, strict=True))
    return [(label, count) for (_, label), count in counts.items()]


def _check_classes(
    names: Sequence[str], count: int, column: Column, source: str, *, many: bool
) -> None:
    """Raise `DataError` for no class, one class only, or too `many`: nearly as many as labels."""
    several = column.type == "labels"
    if several and not names:
        raise DataError(
            f"{source}: no usable row has any `{column.name}`: there is nothing to learn"
        )
    if len(names) == 1 and (column.required or not several):
        what = f"`{column.name}` are"
        if not several:
            what = f"{count} usable rows have the same `{column.name}`,"
        raise DataError(f"{source}: all {what} `{shown(names[0])}`: there is nothing to learn")
    if many and len(names) > max(_MANY, count // 2):
        divide = ", or what divides its cells with `dataset.separator=`" if several else ""
        raise DataError(
            f"{source}: `{column.name}` has {len(names)} different values in {count} "
            f"{'places' if several else 'rows'}, so it does not name classes. Choose another "
            f"column with `dataset.{column.name}=...`{divide}"
        )


def class_notes(counts: Mapping[str, int], column: str) -> list[str]:
    """Return notes on near duplicates, lists, and a class that looks like "no answer"."""
    notes: list[str] = []
    rows = sum(counts.values())
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
        notes.append(
            f"`{column}`: {sum(counts[name] for name in lists)} of {rows} cells look like lists of "
            f"labels, such as `{shown(lists[0])}`; each list is one class. If not, "
            f"{MULTI_LABEL}"
        )
    name, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if count and name.strip().lower() in _NO_ANSWER and count >= _NEARLY_ALL * rows:
        notes.append(
            f"`{column}`: {count} of {rows} rows have the class `{shown(name)}`, which looks like "
            '"no answer". If so, leave these rows out'
        )
    return notes


def _is_list(name: str, counts: Mapping[str, int]) -> bool:
    """Whether a name is a list in brackets, or known classes with a separator between them."""
    brackets = len(name) > 2 and name[0] + name[-1] in ("[]", "()", "{}")
    if brackets and any(mark in name for mark in ",'\""):
        return True
    parts = next((name.split(mark) for mark in "|;,+" if mark in name), [])
    return len(parts) > 1 and all(part.strip() in counts for part in parts)


def unknown_classes(rows: Rows, column: Column, ids: ClassIds) -> list[int]:
    """Return the indices of rows that have a class without an id."""
    if all(ids.get(label) is not None for label, _ in count_labels(rows, column)):
        return []
    return [
        index
        for index, cell in enumerate(rows.column(column.name))
        if any(ids.get(label) is None for label in _listed(cell))
    ]


def unknown_classes_note(
    rows: Rows, indices: Sequence[int], column: Column, ids: ClassIds, known: Iterable[str]
) -> str:
    """Return the known classes, and the others with their numbers of rows and first places.

    `indices` are those of the rows with unknown classes.
    """
    places: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row, place in rows.take(indices).placed():
        for label in _listed(row.get(column.name)):
            if ids.get(label) is None:
                counts[str(label)] += 1
                places.setdefault(str(label), place)
    first = ", ".join(f"`{place}`" for place in list(places.values())[:3])
    return f"{listed(dict.fromkeys(known, ''))}; other classes: {listed(counts)}, first at {first}"


def with_ids(rows: Rows, column: Column, ids: ClassIds) -> Rows:
    """Return the rows with class ids in place of their labels."""
    several = column.type == "labels"

    def numbered(cells: list[Any]) -> list[Any]:
        if several:
            return [[ids.get(label) for label in _listed(cell)] for cell in cells]
        return [ids.get(cell) for cell in cells]

    return rows.replaced(column.name, numbered)


def classes_present(rows: Rows, column: Column, ids: ClassIds) -> set[int | None]:
    """Return the ids of the classes that rows have."""
    return {ids.get(label) for label, _ in count_labels(rows, column)}


def count_classes(rows: Rows, column: Column) -> Counter[int]:
    """Return how many rows have each class id."""
    return Counter(_labels(rows, column))


def _labels(rows: Rows, column: Column) -> Iterator[Any]:
    """Yield the labels of rows, one after the other."""
    if column.type == "labels":
        return chain.from_iterable(map(_listed, rows.column(column.name)))
    return rows.column(column.name)


def _listed(cell: object) -> list[Any]:
    """Return a cell's labels: of a set, none where the row has no such cell."""
    return cell if isinstance(cell, list) else [] if cell is None else [cell]
