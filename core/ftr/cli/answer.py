"""What a command hands back: data for `--json`, text for a person, and the exit code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one command. `data` is plain (dicts, lists, strings, numbers); `text` has no final newline."""

    data: object
    text: str
    exit_code: int = 0

    def json(self) -> str:
        """Return `data` as strict JSON: a number that is not finite becomes null, an unknown object its `str`."""
        return dumps(self.data)


def dumps(data: object) -> str:
    """Return `data` as indented JSON that every parser reads (no `NaN`, no `Infinity`)."""
    import json

    return json.dumps(_finite(data), indent=2, ensure_ascii=False, default=str)


def _finite(data: object) -> object:
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
