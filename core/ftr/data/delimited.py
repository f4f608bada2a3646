"""CSV and TSV: how a file is delimited, quoted and headed, decided from its beginning; its rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from ftr.config.schema import FileOptions, Quoting
from ftr.data.files import lines_of, split_lines
from ftr.data.rows import PREDICT, Table
from ftr.data.tables import few_values, reject
from ftr.errors import DataError, NoRowsError, counted
from ftr.registry.isolation import ProcessLock

Line = tuple[int, list[str]]

_DELIMITERS = (",", "\t", ";", "|")
_SEP_LINE = re.compile(r"\"?sep=([^\r\n\"])\"?\r?\n", re.IGNORECASE)
_CSV_LIMIT = ProcessLock()
_LARGEST_CELL = 2**27
"""Characters: a quote that never closes must not bring a large file into memory."""
_AT_ONCE = 1000
UNDECIDED = "a quoted cell, unlike the first rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a delimited text is read. `header` has the cells of the header row, if there is one.

    `undecided`: the text that decided has no quote and is not the whole, so that quotes of later
    rows could mean either.
    """

    name: str
    split: str
    delimiter: str
    quoting: Quoting
    columns: Sequence[str]
    header: Sequence[str] | None
    guessed_header: bool
    sep_line: int
    """Characters of the line `sep=;` that Excel writes above the header; 0: there is none."""
    undecided: bool
    notes: list[str] = field(default_factory=list)

    def lines(self, pieces: Iterable[str]) -> Iterator[Line]:
        """Yield the cells of each row of a text in pieces, with the line that it begins on."""
        first = 2 if self.sep_line else 1
        return _lines(
            _without(pieces, self.sep_line), self.name, self.delimiter, self.quoting, first
        )

    def without_blank(self, lines: Iterable[Line], skipped: Counter[str]) -> Iterator[Line]:
        """Yield the rows that count, and count the others as `blank`.

        Of rows to predict none is left out but lines without any character, so that the output has
        as many; those above the header are no rows.
        """
        begun = self.header is None
        for line in lines:
            blank = not line[1] if self.split == PREDICT and begun else is_blank(line)
            if blank:
                skipped["blank"] += 1
            else:
                begun = True
                yield line

    def table(self, rows: Iterable[Line], *, with_header: bool) -> Table:
        """Return rows as a table; rows of another width are rejected.

        `with_header`: they begin with the header row.
        """
        table = Table(list(self.columns), header=self.header is not None)
        table.guessed_header = self.guessed_header
        rows = iter(rows)
        if with_header and self.header is not None:
            next(rows, None)
        for number, cells in rows:
            cause = self._cause(cells)
            if cause is None:
                table.records.append(cast("list[object]", cells))
                table.places.append(f"{self.name}:{number}")
            else:
                row = {"cells": cells, "expected": len(self.columns)}
                reject(table, f"{self.name}:{number}", self.split, cause, row)
        return table

    def _cause(self, cells: list[str]) -> str | None:
        if cells == self.header:  # files that were joined have the header of each
            return "repeats the header"
        if len(cells) != len(self.columns):
            return "wrong number of cells"
        if self.undecided and any(_well_quoted(cell) and '""' in cell[1:-1] for cell in cells):
            return UNDECIDED
        return None


def read_delimited(
    text: str, name: str, split: str, options: FileOptions, known: frozenset[str], *, tabs: bool
) -> Table:
    """Return the table in `text`; a row with one of the names `known`, in lower case, is a header.

    Rows of another width are rejected. Raises `DataError` for quotes that do not close.
    """
    found, rows = dialect(text, name, split, options, known, tabs=tabs)
    skipped = Counter[str]()
    table = found.table(found.without_blank(rows, skipped), with_header=True)
    table.notes = [*blank_note(name, skipped), *found.notes]
    return table


def is_blank(row: Line) -> bool:
    """Whether a row has no cell with text."""
    return not any(map(str.strip, row[1]))


def blank_note(name: str, skipped: Mapping[str, int]) -> list[str]:
    """Return the note on blank lines, if there are any."""
    return [f"{name}: {counted(skipped['blank'], 'blank line')} skipped"] if skipped else []


def dialect(
    text: str,
    name: str,
    split: str,
    options: FileOptions,
    known: frozenset[str],
    *,
    tabs: bool,
    whole: bool = True,
) -> tuple[Dialect, list[Line]]:
    """Return how a text is read, which may be the beginning of one (not `whole`), and its rows.

    Raises `DataError` for quotes that do not close, and for a text without rows.
    """
    sep = _SEP_LINE.match(text)
    text = text[sep.end() :] if sep else text
    delimiter = options.delimiter or (sep and sep[1]) or ("\t" if tabs else guess_delimiter(text))
    guessed_quoting = options.quoting == "auto" and delimiter == "\t"
    quoting = _tab_quoting(text, whole=whole) if guessed_quoting else options.quoting
    lines = list(_lines([text], name, delimiter, quoting, 2 if sep else 1, whole=whole))
    rows = [line for line in lines if not is_blank(line)]
    if not rows:
        raise NoRowsError(f"file `{name}` holds no rows")
    header = _is_header(rows, known) if options.header == "auto" else options.header
    top = rows[0][1]
    width = len(top) if header else Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    found = Dialect(
        name=name,
        split=split,
        delimiter=delimiter,
        quoting=quoting,
        columns=[cell.strip() for cell in top] if header else [str(n) for n in range(width)],
        header=top if header else None,
        guessed_header=header and options.header == "auto",
        sep_line=sep.end() if sep else 0,
        undecided=guessed_quoting and not whole and '"' not in text,
    )
    if options.delimiter is None and not tabs and delimiter != ",":
        how = "from its `sep=` line" if sep else "guessed (otherwise: `dataset.delimiter=`)"
        found.notes.append(f"{name}: delimiter {delimiter!r} {how}")
    if guessed_quoting and '"' in text:
        how, other = ("text", "standard") if quoting == "none" else ("quoting cells", "none")
        found.notes.append(f"{name}: quotes taken as {how} (otherwise: `dataset.quoting={other}`)")
    if not header:
        how = " (guessed; otherwise: `dataset.header=true`)" if options.header == "auto" else ""
        found.notes.append(f"{name}: no header row{how}")
    return found, lines


@contextmanager
def any_cell_size() -> Iterator[None]:
    """Raise the limit of `csv`, which belongs to the whole process, until the block ends."""
    with _CSV_LIMIT:
        limit = csv.field_size_limit(_LARGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _without(pieces: Iterable[str], count: int) -> Iterator[str]:
    """Yield pieces of text without the first `count` characters, all of which are in the first."""
    for piece in pieces:
        yield piece[count:]
        count = 0


def _lines(
    pieces: Iterable[str],
    name: str,
    delimiter: str,
    quoting: Quoting,
    first: int = 1,
    *,
    whole: bool = True,
) -> Iterator[Line]:
    """Yield the cells of each row, with the number of the line that it begins on.

    Of a text that is not `whole` the last row may be incomplete: it is left out.
    """
    if quoting == "none":
        for number, line in enumerate(split_lines(pieces), start=first):
            text = line.removesuffix("\n").removesuffix("\r")
            yield number, text.split(delimiter) if text else []
        return
    # Line ends inside cells are left alone. U+0085 and its like are text.
    lines = split_lines(pieces, universal=True)
    pending: list[str] = []
    reader = csv.reader(_noted(lines, pending), delimiter=delimiter, strict=quoting != "lenient")
    number, failure, rows = first, None, [(0, [""])]
    while rows and failure is None:
        rows = []
        try:
            with any_cell_size():
                for cells in islice(reader, _AT_ONCE):
                    rows.append((number, cells))
                    number = first + reader.line_num
                    pending.clear()
        except csv.Error as error:
            failure = error
        yield from rows
    # The last row of a beginning may be cut off; a first row that never ends is a lone quote.
    cut = not whole and number > first and "end of data" in str(failure)
    if failure is not None and not cut:
        raise _unreadable(failure, "".join(pending), name, number, delimiter) from None


def _noted(lines: Iterable[str], pending: list[str]) -> Iterator[str]:
    for line in lines:
        pending.append(line)
        yield line


def _unreadable(error: csv.Error, row: str, name: str, number: int, delimiter: str) -> DataError:
    why = str(error)
    if "end of data" in why:
        opened = number + _unclosed(row, delimiter)
        why = f"the quote that opens on line {opened} is never closed"
    elif "field limit" in why:
        why = f"a cell has more than {_LARGEST_CELL} characters, as if a quote were never closed"
    return DataError(
        f"file `{name}`, row beginning on line {number}: {why}. A quote inside a quoted cell "
        "must be doubled; if quotes are plain text give `dataset.quoting=none`, to read on "
        "regardless `dataset.quoting=lenient`"
    )


def _unclosed(row: str, delimiter: str) -> int:
    """Return the index of the line, in the text of a row, whose quote never closes."""
    cells = re.finditer(rf'(?:\A|(?<=[{re.escape(delimiter)}\r\n]))"[^"]*+(?:""[^"]*+)*+("?)', row)
    opened = next((cell.start() for cell in cells if not cell[1]), 0)
    return len(io.StringIO(row[:opened] + '"', newline="").readlines()) - 1


def guess_delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows one width above 1, else the comma."""
    best, most = ",", 0.5
    for delimiter in _DELIMITERS:
        reader = csv.reader(split_lines([text], universal=True), delimiter=delimiter)
        try:
            with any_cell_size():
                rows = [len(cells) for cells in islice(reader, 50) if cells]
        except csv.Error:
            continue
        width, count = Counter(rows).most_common(1)[0] if rows else (0, 0)
        if width > 1 and count / len(rows) > most:
            best, most = delimiter, count / len(rows)
    return best


def _tab_quoting(text: str, *, whole: bool) -> Quoting:
    """TSV quotes nothing (GLUE has lone quotes), unless all cells with a quote are well quoted."""
    if '"' not in text:
        return "none"
    bare = [line.split("\t") for line in lines_of(text)]
    cells = [cell for line in bare for cell in line if '"' in cell]
    if len({len(line) for line in bare if line != [""]}) == 1:
        quoted = all(map(_well_quoted, cells)) and any('""' in cell[1:-1] for cell in cells)
    else:
        try:
            lines = list(_lines([text], "", "\t", "standard", whole=whole))
        except DataError:
            return "none"
        quoted = len({len(line) for _, line in lines if line}) == 1
    return "standard" if quoted else "none"


def _well_quoted(cell: str) -> bool:
    inner = cell[1:-1]
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")


def _is_header(rows: list[Line], known: frozenset[str]) -> bool:
    first = rows[0][1]
    if any(cell.strip().lower() in known for cell in first):
        return True
    body = [cells for _, cells in rows[1:1001] if len(cells) == len(first)]
    for index, cell in enumerate(first):
        values = [cells[index] for cells in body]
        if few_values(values) and cell.strip() in {value.strip() for value in values}:
            return False
        if values and all(map(_is_number, [cell, *values])):
            return False
    return True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
