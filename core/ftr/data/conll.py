"""Words and their tags in columns, a blank line between sentences (CoNLL's form), for heads that read lists of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ftr.data.options import FileOptions
from ftr.data.rows import Rejected, Table
from ftr.data.schema import Column, RowSchema
from ftr.errors import DataError

_TAG = re.compile(r"O|[BIESLU]-\S+")
_LOOKED_AT = 2000
WAY_OUT = (
    "words and tags in columns, with a blank line between sentences: each sentence is a list of words, for a head that reads such lists, "
    "such as `token-classification` of the example package `ftr-ner`"
)


def reads_tokens(schema: RowSchema) -> bool:
    """Whether rows of the schema have a list of words."""
    return _words(schema) is not None


def looks_conll(text: str) -> bool:
    """Whether lines have a word and its tag in the first and last column, and a blank line between sentences."""
    lines = text.split("\n", _LOOKED_AT)[:_LOOKED_AT]
    cells = [_cells(line, _delimiter(lines)) for line in lines]
    full = [line for line in cells if len(line) > 1]
    blanks = sum(1 for line in lines[:-1] if not line.strip())
    tags = sum(1 for line in full if _TAG.fullmatch(line[-1]) and not any(char.isspace() for char in line[0]))
    return bool(full) and blanks > 0 and tags >= 0.9 * sum(1 for line in cells if line) and any(line[-1] != "O" for line in full)


def read_conll(text: str, name: str, split: str, options: FileOptions, schema: RowSchema) -> Table:
    """Return a row for each sentence: the column of words, and the last column as its tags, unless options name others by number.

    Lines that begin with `#` and `-DOCSTART-` are no words. A sentence with a line of another width is rejected. Raises `DataError`
    where the schema has no list of words.
    """
    words, tags = _words(schema), schema.classes
    if words is None:
        needed = ", ".join(f"`{column.name}`" for column in schema.columns if column.required)
        raise DataError(f"file `{name}` has {WAY_OUT}; this head reads {needed}")
    lines = text.removesuffix("\n").split("\n")
    delimiter = options.delimiter or _delimiter(lines)
    width = Counter(len(_cells(line, delimiter)) for line in lines if line.strip()).most_common(1)[0][0]
    columns = [str(number) for number in range(width)]
    columns[0] = words.name
    if width > 1 and tags is not None:
        columns[-1] = tags.name
    table = Table(columns)
    for number, sentence, ragged in _sentences(lines, delimiter, width):
        if ragged:
            row = {"line": lines[ragged - 1][:200], "expected": width}
            table.rejected.append(Rejected(f"{name}:{ragged}", split, "wrong number of columns", row, len(table.records)))
        else:
            table.records.append([list(column) for column in zip(*sentence, strict=True)])
            table.places.append(f"{name}:{number}")
    if not table.records and not table.rejected:
        raise DataError(f"file `{name}` holds no sentences")
    if width > 1 and tags is not None:
        table.notes.append(f"{name}: words in column 0, {tags.name} in column {width - 1} (others: `dataset.{tags.name}=NUMBER`)")
    return table


def _sentences(lines: list[str], delimiter: str, width: int) -> Iterator[tuple[int, list[list[str]], int]]:
    """Yield the first line of each sentence, its words with all their columns, and the line that has another width (0: none)."""
    start, ragged = 0, 0
    sentence: list[list[str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        cells = _cells(line, delimiter)
        if not line.strip() or cells[0].startswith("-DOCSTART-"):
            if sentence or ragged:
                yield start, sentence, ragged
            start, sentence, ragged = 0, [], 0
        elif line.startswith("#") and len(cells) != width:
            continue
        else:
            start = start or number
            ragged = ragged or (number if len(cells) != width else 0)
            sentence.append(cells)


def _cells(line: str, delimiter: str) -> list[str]:
    line = line.removesuffix("\r")
    return line.split() if delimiter in ("", " ") else [cell.strip() for cell in line.rstrip().split(delimiter)] if line.strip() else []


def _delimiter(lines: list[str]) -> str:
    """Return the tab where most lines have one, else nothing: any white space."""
    full = [line for line in lines if line.strip()]
    return "\t" if sum("\t" in line for line in full) > len(full) / 2 else ""


def _words(schema: RowSchema) -> Column | None:
    return next((column for column in schema.columns if column.type == "tokens" and column.required), None)
