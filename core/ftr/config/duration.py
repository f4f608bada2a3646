"""Lengths of time as people write them: `2h`, `1h30m`, `90s`, or seconds."""

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?)\s*{unit})?\s*" for unit in _UNITS))


def read_duration(value: object) -> object:
    """Return text such as `1h30m` in seconds, and anything but text as it is. Raises `ValueError` for other text."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip().lower())
    if not found or not any(found.groups()):
        raise ValueError("it should be a time such as 2h, 30m, 90s or 1h30m, or a number of seconds")
    return sum(float(number) * _UNITS[unit] for unit, number in found.groupdict().items() if number)
