"""CSV and TSV: delimiter, quoting and header are found when they are not given."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from ftr.data.options import FileOptions, Quoting
from ftr.data.rows import Rejected, Table
from ftr.errors import DataError

Line = tuple[int, list[str]]

_DELIMITERS = (",", "\t", ";", "|")
_FEW = 20
_SEP_LINE = re.compile(r"\"?sep=([^\r\n\"])\"?\r?\n", re.IGNORECASE)


def read_delimited(text: str, name: str, split: str, options: FileOptions, known: frozenset[str], *, tabs: bool) -> Table:
    """Return the table in `text`; `known` holds the column names, in lower case, that mark a header.

    Rows of another width than the first are rejected. Raises `DataError` for quotes that do not close.
    """
    text, hinted = _without_sep_line(text)
    first = 2 if hinted else 1
    delimiter = options.delimiter or hinted or ("\t" if tabs else guess_delimiter(text))
    guessed_quoting = options.quoting == "auto" and delimiter == "\t"
    quoting = _tab_quoting(text, delimiter) if guessed_quoting else options.quoting
    lines = list(_lines(text, name, delimiter, quoting, first))
    rows = [(number, cells) for number, cells in lines if any(cell.strip() for cell in cells)]
    if not rows:
        raise DataError(f"file `{name}` holds no rows")
    header = _is_header(rows, known) if options.header == "auto" else options.header
    top = rows[0][1]
    width = len(top) if header else Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    table = Table(columns=[cell.strip() for cell in top] if header else [str(n) for n in range(width)], header=header)
    table.guessed_header = header and options.header == "auto"
    _fill(table, rows[1:] if header else rows, name, split, top if header else [])
    if len(lines) > len(rows):
        table.notes.append(f"{name}: {len(lines) - len(rows)} blank lines skipped")
    if options.delimiter is None and not tabs and delimiter != ",":
        how = "from its `sep=` line" if hinted else "guessed (otherwise: `dataset.delimiter=`)"
        table.notes.append(f"{name}: delimiter {delimiter!r} {how}")
    if guessed_quoting and '"' in text:
        how = "taken as text" if quoting == "none" else "taken as quoting cells"
        table.notes.append(f"{name}: quotes {how} (otherwise: `dataset.quoting={'standard' if quoting == 'none' else 'none'}`)")
    if not header:
        table.notes.append(f"{name}: no header row" + (" (guessed; otherwise: `dataset.header=true`)" if options.header == "auto" else ""))
    return table


def few_values(values: Sequence[object]) -> bool:
    """Whether a column looks like classes: short values, few distinct ones, each repeated."""
    present = [str(value).strip() for value in values if value is not None and str(value).strip()]
    distinct = set(present)
    return bool(present) and len(distinct) <= min(_FEW, len(present) // 2) and max(map(len, distinct)) <= 40


def _fill(table: Table, rows: list[Line], name: str, split: str, header: list[str]) -> None:
    width = len(table.columns)
    for number, cells in rows:
        place = f"{name}:{number}"
        if len(cells) == width and cells != header:
            table.records.append(list(cells))
            table.places.append(place)
        else:
            # Files that were joined have the header of each.
            cause = "repeats the header" if cells == header else "wrong number of cells"
            table.rejected.append(Rejected(place, split, cause, {"cells": cells, "expected": width}, len(table.records)))


def _without_sep_line(text: str) -> tuple[str, str | None]:
    """Return the text without the line that Excel puts above a header (`sep=;`), and the delimiter in it."""
    match = _SEP_LINE.match(text)
    return (text[match.end() :], match[1]) if match else (text, None)


def _lines(text: str, name: str, delimiter: str, quoting: Quoting, start: int = 1) -> Iterator[Line]:
    if quoting == "none":
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=start):
            yield number, line.removesuffix("\r").split(delimiter)
        return
    csv.field_size_limit(sys.maxsize)
    # newline="" leaves line ends inside cells alone and splits at \n, \r and \r\n only: U+0085 is text.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=quoting != "lenient")
    before = start - 1
    try:
        for cells in reader:
            yield start, cells
            start = before + reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"file `{name}`, row beginning on line {start}: {error}. A quote inside a quoted cell must be doubled; "
            "if quotes are plain text give `dataset.quoting=none`, to read on regardless `dataset.quoting=lenient`"
        ) from None


def guess_delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows one number of cells, above 1; the comma where none does better."""
    csv.field_size_limit(sys.maxsize)
    best, most = ",", 0.5
    for delimiter in _DELIMITERS:
        try:
            rows = [len(cells) for cells in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50) if cells]
        except csv.Error:
            continue
        width, count = Counter(rows).most_common(1)[0] if rows else (0, 0)
        if width > 1 and count / len(rows) > most:
            best, most = delimiter, count / len(rows)
    return best


def _tab_quoting(text: str, delimiter: str) -> Quoting:
    """TSV quotes nothing (GLUE's are full of lone quotes), unless every cell with a quote is a well quoted one."""
    if '"' not in text:
        return "none"
    bare = [cells for _, cells in _lines(text, "", delimiter, "none")]
    cells = [cell for line in bare for cell in line if '"' in cell]
    if len({len(line) for line in bare if line != [""]}) == 1:
        return "standard" if all(map(_well_quoted, cells)) and any('""' in cell[1:-1] for cell in cells) else "none"
    try:
        widths = {len(line) for _, line in _lines(text, "", delimiter, "standard") if line}
    except DataError:
        return "none"
    return "standard" if len(widths) == 1 else "none"


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
    return True
