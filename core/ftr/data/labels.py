"""From labels of any type to a stable list of class names: the index is the class id."""

import re
from collections.abc import Collection, Iterable

from ftr.errors import DataError

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
    if len(names) > max(_MANY, rows // 2):
        raise DataError(
            f"{source}: `{column}` has {len(names)} different values in {rows} rows, so it does not name classes. "
            f"Choose another column with `dataset.{column}=...`"
        )
