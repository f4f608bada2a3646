"""Tables for a person: one style for every command, fitted to the terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from ftr.terminal import columns_of, styled, visible

GAP = 2
NARROWEST = 8
"""Columns that a text keeps before its table becomes wider than the terminal."""
_NUMBER = re.compile(r"[-+<]?[\d.,]+(?:e[-+]?\d+)?[ %*KMBT]?(?:[–±]| to | ± |$)|-?$")
STATES = {
    "done": "green",
    "loaded": "green",
    "ok": "green",
    "running": "cyan",
    "pending": "dim",
    "interrupted": "magenta",
    "stopped": "magenta",
    "skipped": "magenta",
    "warn": "magenta",
    "warning": "magenta",
    "failed": "red",
    "broken": "red",
    "problem": "red",
    "unreadable": "red",
}
"""Colours of a status; each is readable on a light and on a dark background."""


def width_of(text: str) -> int:
    """Return the columns that a text takes in a terminal: two for a wide letter, none for an
    accent that is a letter of its own.
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def padded(text: str, width: int, right: bool = False) -> str:
    """Return a text with the spaces that fill `width` columns."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` columns, broken between words where that is
    possible.
    """
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width_of(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = word
        while width_of(line) > width:
            end = next(n for n in range(len(line), 0, -1) if n == 1 or width_of(line[:n]) <= width)
            lines.append(line[:end])
            line = line[end:]
    return [*lines, line]


def table(
    rows: Sequence[Sequence[object]],
    *,
    numbers: bool | None = None,
    headers: int = 1,
    indent: int = 0,
    width: int | None = None,
    cut: bool = False,
) -> list[str]:
    """Return rows of cells as lines, `headers` of them first, in columns two spaces apart.

    A column that is empty below its header is left out. Columns of numbers are aligned right; with
    `numbers` all but the first are, with False none. In a terminal the widest texts are wrapped
    until the table and its `indent`, which the caller prints, fit into `width` columns (default:
    the terminal's); elsewhere nothing is. With `cut` they are cut, for one line a row.
    """
    columns = _columns(rows, headers)
    right = [
        place > 0 and (_numeric(column[headers:]) if numbers is None else numbers)
        for place, column in enumerate(columns)
    ]
    widths = [max(map(width_of, column)) for column in columns]
    room = columns_of() if width is None else width
    if room is not None:
        _fit(widths, right, room - indent)
    heads = [column[0].casefold() for column in columns]
    lines = []
    for number, row in enumerate(zip(*columns, strict=True)):
        pieces = list(map(wrapped, row, widths))
        if cut:
            pieces = [_cut(*piece) for piece in zip(pieces, widths, strict=True)]
        for parts in zip_longest(*pieces, fillvalue=""):
            cells = list(map(padded, parts, widths, right))
            if number < headers:
                lines.append(styled((" " * GAP).join(cells).rstrip(), "bold"))
                continue
            cells = [_styled(cell, head) for cell, head in zip(cells, heads, strict=True)]
            lines.append((" " * GAP).join(cells).rstrip())
    return lines


def table_width(rows: Sequence[Sequence[object]]) -> int:
    """Return the columns of a table that nothing is wrapped in."""
    columns = _columns(rows, 1)
    return sum(max(map(width_of, column)) for column in columns) + GAP * (len(columns) - 1)


def _columns(rows: Sequence[Sequence[object]], headers: int) -> list[tuple[str, ...]]:
    cells = [[visible(" ".join(str(cell).split())) for cell in row] for row in rows]
    full = len(rows) == headers
    return [column for column in zip(*cells, strict=True) if full or any(column[headers:])]


def _cut(lines: list[str], width: int) -> list[str]:
    first, *others = lines
    # A number with `…` right behind it would seem to have more digits.
    short = f"{first} …" if width_of(first) + GAP <= width else f"{first[: width - 1]}…"
    return [short if others else first]


def _numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(map(_NUMBER.match, cells))


def _fit(widths: list[int], right: Sequence[bool], room: int) -> None:
    """Narrow the widest texts until the columns fit: the first column, by which a row is known,
    and numbers stay.
    """
    texts = [place for place in range(1, len(widths)) if not right[place]]
    while sum(widths) + GAP * (len(widths) - 1) > room:
        widest = max(texts, key=lambda place: widths[place], default=None)
        if widest is None or widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _styled(cell: str, head: str) -> str:
    """Colour the cell of a status."""
    style = STATES.get(cell.strip().partition(",")[0]) if head in ("status", "state") else None
    return styled(cell, style) if style else cell
