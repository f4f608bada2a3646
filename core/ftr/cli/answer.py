"""What a command returns: data for `--json`, text for a person, and the exit code."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return `rows` under `header` in columns two spaces apart; columns that are empty in every row
    are left out.
    """
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    kept = [at for at in range(len(header)) if not cells or any(row[at] for row in cells)]
    lines = [[header[at] for at in kept], *([row[at] for at in kept] for row in cells)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(kept))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one command.

    `data` is plain (dicts, lists, strings, numbers); `text` has no final newline.
    """

    data: object
    text: str
    exit_code: int = 0

    def json(self) -> str:
        """Return `data` as strict JSON: a number that is not finite becomes null, an unknown object
        its `str`.
        """
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
