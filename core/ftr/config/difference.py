"""What two configurations disagree on."""

from __future__ import annotations

from collections.abc import Mapping

from ftr.config.validate import shown

ABSENT = object()


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return a few words on each key of two flat configurations whose values differ, such as "`epochs` was 3, is 4"."""
    keys = dict.fromkeys([*old, *new])
    return [f"`{key}` was {_shown(old, key)}, is {_shown(new, key)}" for key in keys if old.get(key, ABSENT) != new.get(key, ABSENT)]


def _shown(values: Mapping[str, object], key: str) -> str:
    return shown(values[key]) if key in values else "not set"
