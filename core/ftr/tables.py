"""Tables for a person: one style for every command, fitted to the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = _columns(rows, headers)
    right = [
        place > 0 and (_numeric(column[headers:]) if numbers is None else numbers)
        for place, column in enumerate(columns)
    ]
    widths = list(map(_width, columns))
    room = columns_of() if width is None else width
    if room is not None:
        _fit(widths, columns, right, room - indent)
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for one, is_right in zip(widths, right, strict=True):
        grid.add_column(
            width=one,
            justify="right" if is_right else "left",
            no_wrap=cut,
            overflow="ellipsis" if cut else "fold",
        )
    heads = [column[0].casefold() for column in columns]
    for number, row in enumerate(zip(*columns, strict=True)):
        styles = ["bold"] * len(row) if number < headers else map(_style, row, heads)
        # A `Text` is no markup, whatever the data is.
        grid.add_row(*(Text.assemble(cell) for cell in zip(row, styles, strict=True)))
    console = Console()
    whole = console.options.update(width=sum(widths) + GAP * len(widths))
    return [
        "".join(_styled(*piece[:2]) for piece in line).rstrip()
        for line in console.render_lines(grid, whole)
    ]


def table_width(rows: Sequence[Sequence[object]]) -> int:
    """Return the columns of a table that nothing is wrapped in."""
    widths = list(map(_width, _columns(rows, 1)))
    return sum(widths) + GAP * (len(widths) - 1)


def _columns(rows: Sequence[Sequence[object]], headers: int) -> list[tuple[str, ...]]:
    cells = [[visible(" ".join(str(cell).split())) for cell in row] for row in rows]
    full = len(rows) == headers
    return [column for column in zip(*cells, strict=True) if full or any(column[headers:])]


def _width(texts: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, texts))


def _numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(map(_NUMBER.match, cells))


def _fit(
    widths: list[int], columns: Sequence[Sequence[str]], right: Sequence[bool], room: int
) -> None:
    """Narrow the widest texts until the columns fit: the first column, by which a row is known,
    and numbers stay. Words are broken only where that is not enough.
    """
    texts = [place for place in range(1, len(widths)) if not right[place]]
    words = [_width(word for cell in one for word in cell.split(" ")) for one in columns]
    for least in ([max(word, NARROWEST) for word in words], [NARROWEST] * len(widths)):
        while sum(widths) + GAP * (len(widths) - 1) > room:
            wide = [place for place in texts if widths[place] > least[place]]
            if not wide:
                break
            widths[max(wide, key=lambda place: widths[place])] -= 1


def _style(cell: str, head: str) -> str:
    """Return the colour of the cell of a status."""
    return STATES.get(cell.partition(",")[0], "") if head in ("status", "state") else ""


def _styled(text: str, style: object) -> str:
    return styled(text, str(style)) if style else text
