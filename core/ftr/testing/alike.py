"""Comparing what a head gives: nested values whose numbers may differ in their last digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

CLOSE = 1e-4


def difference(one: object, other: object, place: str = "") -> str | None:
    """Return where two nested values differ, and how, or None; numbers may differ by `CLOSE`, lists
    be tuples or arrays.
    """
    first, second = _plain(one), _plain(other)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if first.keys() != second.keys():
            return (
                f"{place or 'it'} has the keys {sorted(map(str, first))}, then "
                f"{sorted(map(str, second))}"
            )
        pairs: list[tuple[object, object, object]] = [
            (key, first[key], second[key]) for key in first
        ]
    elif isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            return f"{place or 'it'} has {len(first)} items, then {len(second)}"
        pairs = [(number, *pair) for number, pair in enumerate(zip(first, second, strict=True))]
    else:
        return None if _same(first, second) else f"{place or 'it'} is {first!r}, then {second!r}"
    found = (difference(mine, theirs, f"{place}[{key!r}]") for key, mine, theirs in pairs)
    return next((text for text in found if text is not None), None)


def _plain(value: Any) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _same(one: object, other: object) -> bool:
    if (
        isinstance(one, int | float)
        and isinstance(other, int | float)
        and isinstance(one + other, float)
    ):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) or (
            math.isnan(one) and math.isnan(other)
        )
    return one == other
