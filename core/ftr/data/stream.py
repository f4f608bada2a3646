"""Rows to predict, read in pieces: memory does not grow with the file.

How a file is read (format, encoding, delimiter, quoting, header, columns) is decided by its
beginning, `HEAD` bytes, as `ftr.data.read` decides it by all of a training file.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ftr.config.components import column_choices, file_options
from ftr.config.schema import FileOptions, Format
from ftr.data.columns import ID, map_columns, rename
from ftr.data.files import Unpacked, decode, decoded, empty, open_file, split_lines, unpacked_stream
from ftr.data.layout import format_of, known_names, parse, table_of, tabs_form, text_form
from ftr.data.multilabel import LabelSets
from ftr.data.pieces import BINARY, HEAD, binary_pieces, delimited_pieces
from ftr.data.rows import PIECE, PREDICT, Rejected, Table, blank_as_none, harmless
from ftr.data.store import Row
from ftr.data.tables import is_saved, jsonl_pieces, nested_lines, saved_pieces
from ftr.data.text_files import read_conll, text_columns, text_table
from ftr.errors import DataError
from ftr.paths import STDIN, expanded
from ftr.registry.schema import RowSchema

_NAME = re.compile(r"\w[\w .-]{0,40}")
_MARKS = {b"PAR1": "parquet", b"ARRO": "arrow"}
"""How a file of these formats begins."""
_WHOLE = ("json", "squad", "conll")


@dataclass(slots=True)
class Source:
    """Where rows come from: an open file, its path (of which the name counts) and its size in
    bytes, None if that is unknown. A folder of `datasets.save_to_disk` is not opened.
    """

    path: Path
    file: Any = None
    size: int | None = None
    is_stdin: bool = False
    content: Unpacked | None = None

    @classmethod
    def open(cls, given: str | Path, stdin: Any = None) -> Source:
        """Open a file, or standard input for `-`. Raises `DataError`, `RequestError`."""
        if str(given) == STDIN:
            stream = stdin or sys.stdin
            binary = getattr(stream, "buffer", None) or io.BytesIO(stream.read().encode())
            return cls(Path("stdin"), binary, is_stdin=True)
        path = expanded(given, "file")
        if is_saved(path):
            return cls(path)
        file = open_file(path)
        return cls(path, file, os.fstat(file.fileno()).st_size or None)

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return "standard input" if self.is_stdin else f"`{self.path.name}`"

    @property
    def share(self) -> float | None:
        """The share of its bytes that have been read, 0 to 1; None where that is unknown."""
        if self.content is None or not self.content.size:
            return None
        return min(self.content.raw.position / self.content.size, 1.0)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None and not self.is_stdin:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A row of the input: its place, its `cells` under the names of the file, and `row`, those that
    the head reads under its names, with an `id`; not checked yet.

    `cause` says why it cannot even be read.
    """

    place: str
    cells: Mapping[str, object]
    row: Row
    cause: str | None = None


@dataclass(slots=True)
class Reader:
    """Reads the rows of a source once; `notes` has what was guessed or found so far.

    `columns` are those of the file so far, `types` the Arrow types of those that have one, and
    `id_column` the one that holds ids.
    """

    source: Source
    schema: RowSchema
    options: FileOptions
    notes: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    types: dict[str, Any] = field(default_factory=dict)
    id_column: str | None = None
    _mapping: dict[str, int] | None = None

    @classmethod
    def of(
        cls,
        source: Source,
        schema: RowSchema,
        options: FileOptions | Mapping[str, object] | None = None,
    ) -> Reader:
        """Return the reader of a source with options that are not validated yet."""
        if not isinstance(options, FileOptions):
            options = file_options(schema).model_validate(dict(options or {}))
        return cls(source, schema, options)

    def rows(self) -> Iterator[Incoming]:
        """Yield the rows in order. Raises `DataError`, before the first or later."""
        sets = LabelSets(self.schema, self.options)
        number = 0
        for table in self._tables():
            self._add_notes(table.notes)
            table.columns[:] = [str(harmless(name)) for name in table.columns]
            deciding = self._mapping is None
            if deciding and table.records:
                self._map(table)
            # The ids of classes have become names.
            named = {index for index, name in enumerate(table.columns) if name in table.classes}
            _number_copies(table.columns)
            for index, kind in enumerate(table.types):
                if index not in named:
                    self.types[table.columns[index]] = kind
            late = self._align(table)
            if deciding:
                late = []
            cells = [dict(zip(self.columns, record, strict=True)) for record in table.records]
            sets.divide(table, self._dividing(), self.source.shown)
            rows = rename(table, self._mapping or {})
            rejected = table.rejected[::-1]
            for index, raw in enumerate(rows):
                while rejected and rejected[-1].after <= index:
                    number += 1
                    yield _unreadable(rejected.pop(), number)
                number += 1
                row = _with_id(raw, number)
                yield Incoming(table.places[index], cells[index], row, _late(cells[index], late))
            for item in reversed(rejected):
                number += 1
                yield _unreadable(item, number)

    def _map(self, table: Table) -> None:
        choices = column_choices(self.options, self.schema)
        shown = self.source.shown
        self._mapping = map_columns(table, self.schema, choices, shown, labelled=False)
        self._add_notes(table.notes)
        if (index := self._mapping.get(ID.name)) is not None:
            self.id_column = table.columns[index]

    def _add_notes(self, notes: list[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def _dividing(self) -> dict[str, int]:
        """Return the columns whose cells are divided: those that are predicted do not matter."""
        targets = {column.name for column in self.schema.columns if column.target}
        return {name: index for name, index in (self._mapping or {}).items() if name not in targets}

    def _align(self, table: Table) -> list[str]:
        """Give a table the columns of the tables before it; return those among its new columns that
        the head would read.
        """
        new = [name for name in table.columns if name not in self.columns]
        self.columns += new
        if table.columns != self.columns:
            found = [dict(zip(table.columns, record, strict=True)) for record in table.records]
            table.records = [[cells.get(name) for name in self.columns] for cells in found]
            table.columns = list(self.columns)
        if self._mapping is None:
            return []
        read = {
            name.lower()
            for column in (*self.schema.columns, ID)
            if not column.target and column.name not in self._mapping
            for name in (column.name, *column.aliases)
        }
        return [name for name in new if name.lower() in read]

    def _tables(self) -> Iterator[Table]:
        source, options = self.source, self.options.model_copy(update={"labels_file": "none"})
        if source.file is None:
            yield from saved_pieces(source.path)
            return
        source.content = content = unpacked_stream(source.file, source.path, source.size)
        form: Format = options.format
        if form == "auto" and not source.is_stdin:
            form = format_of(source.path, content.inner)
        if form in BINARY:
            yield from binary_pieces(content, source.path, form, PREDICT)
            return
        start = content.stream.read(HEAD)
        if not start.strip() and len(start) < HEAD:
            raise DataError("standard input is empty") if source.is_stdin else empty(source.path)
        if source.is_stdin and (kind := _MARKS.get(start[:4])):
            raise DataError(
                f"standard input is {kind}: give `dataset.format={kind}`, or the file by its name"
            )
        if len(start) == HEAD:
            yield from self._text_pieces(start, content, form, options)
        elif source.is_stdin:
            text = decode(start, source.path, options.encoding, by_row=True)
            form = self._stdin_form(text, form)
            if form == "text":
                yield text_table(text, source.path.name, text_columns(self.schema)[0])
            else:
                yield parse(text, source.path.name, PREDICT, options, self.schema, form)
        else:
            yield table_of(start, content.inner, source.path, PREDICT, options, self.schema)[0]

    def _stdin_form(self, text: str, form: Format) -> Format:
        """Return the format of standard input, by its beginning where none is given."""
        if form == "auto" and text.lstrip().startswith(("{", "[{")):
            return "json" if text.lstrip().startswith("[") else "jsonl"
        if form == "auto" and (found := self._header_form(text)):
            return found
        if form not in ("auto", "text"):
            return form
        texts = text_columns(self.schema)
        if len(texts) != 1:
            names = ", ".join(f"`{name}`" for name in texts)
            raise DataError(
                f"standard input is plain text, but a row needs {names}: give one JSON object a "
                "line, or a table with a header"
            )
        return "text"

    def _header_form(self, text: str) -> Format | None:
        """Return the format of a table whose first line names columns that the head reads."""
        first, known = text.split("\n", 1)[0].strip(), known_names(self.schema, self.options)
        forms: tuple[tuple[Format, str], ...] = (("tsv", "\t"), ("csv", ","))
        for form, delimiter in forms:
            cells = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
            if len(cells) > 1 and known & set(cells) and all(map(_NAME.fullmatch, cells)):
                self.notes.append(
                    f"standard input: read as {form.upper()}, by its first line (otherwise: "
                    "`dataset.format=text`)"
                )
                return form
        return None

    def _text_pieces(
        self, start: bytes, content: Unpacked, form: Format, options: FileOptions
    ) -> Iterator[Table]:
        """Yield the table of a text that is larger than its `start`."""
        name, schema = self.source.path.name, self.schema
        pieces = decoded(start, content.stream, self.source.path, options.encoding)
        first = next(pieces)
        head = first[: first.rfind("\n") + 1] or first
        everything = _chained(first, pieces)
        if self.source.is_stdin:
            form = self._stdin_form(head, form)
        elif form == "text":
            form = text_form(head, options, schema)
        if form == "tsv":
            form = tabs_form(head, name, options, schema)
        nested = nested_lines(head, name) if form == "jsonl" else None
        if nested is not None:
            yield from jsonl_pieces(everything, name, PREDICT, nested=nested)
        elif form in (*_WHOLE, "jsonl"):
            what = "CoNLL" if form == "conll" else "one JSON document"
            self.notes.append(f"{name}: read as a whole into memory, because it is {what}")
            text = "".join(everything)
            if form == "conll":
                yield read_conll(text, name, PREDICT, options, schema)
            else:
                yield parse(text, name, PREDICT, options, schema, form)
        elif form == "text":
            yield from _text_lines(everything, name, _text_column(self.source.path, schema))
        else:
            yield from delimited_pieces(
                head, everything, name, PREDICT, options, schema, tabs=form == "tsv"
            )


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _number_copies(columns: list[str]) -> None:
    """Number columns of the same name: `a`, `a_2`."""
    for index, name in enumerate(columns):
        free, number = name, 1
        while free in columns[:index]:
            number += 1
            free = f"{name}_{number}"
        columns[index] = free


def _with_id(raw: Row, number: int) -> Row:
    known = blank_as_none(raw.get(ID.name))
    return raw if known is not None else {**raw, ID.name: f"{PREDICT}-{number}"}


def _unreadable(item: Rejected, number: int) -> Incoming:
    row = {ID.name: item.row.get(ID.name) or f"{PREDICT}-{number}"}
    return Incoming(item.place, {}, row, item.cause)


def _late(cells: Mapping[str, object], late: list[str]) -> str | None:
    name = next((name for name in late if blank_as_none(cells.get(name)) is not None), None)
    return None if name is None else f"the first rows have no column `{name}`"


def _text_column(path: Path, schema: RowSchema) -> str:
    texts = text_columns(schema)
    if len(texts) != 1:
        names = ", ".join(f"`{name}`" for name in texts)
        raise DataError(
            f"file `{path}` is plain text, but a row needs {names}. Give CSV, JSON or JSONL"
        )
    return texts[0]


def _text_lines(pieces: Iterator[str], name: str, column: str) -> Iterator[Table]:
    lines, number = split_lines(pieces), 0
    while group := list(islice(lines, PIECE)):
        places = [f"{name}:{number + index}" for index in range(1, len(group) + 1)]
        texts = [line.removesuffix("\n").removesuffix("\r") for line in group]
        yield Table([column], [[text] for text in texts], places)
        number += len(group)
