"""Files that are too large to hold, a table of some rows at a time.

How a file is read (format, delimiter, quoting, header) is decided by its beginning, `HEAD` bytes; a
smaller file is read at once, and decided by all of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from ftr.atomic import sha256
from ftr.config.schema import FileOptions, Format
from ftr.data.delimited import blank_note, dialect
from ftr.data.files import Unpacked, decoded, open_file, unchanged, unpacked_stream
from ftr.data.layout import (
    form_of,
    known_names,
    may_lack_columns,
    read_table,
    tabs_form,
    text_form,
)
from ftr.data.rows import PIECE, SourceFile, Table
from ftr.data.shards import SameColumns, Source
from ftr.data.squad import nest_questions, read_nested
from ftr.data.tables import (
    arrow_pieces,
    jsonl_pieces,
    nested_lines,
    parquet_pieces,
    read_saved,
    saved_pieces,
    saved_sources,
)
from ftr.data.text_files import read_classes
from ftr.errors import NoRowsError
from ftr.registry.schema import RowSchema

HEAD = 4 * 2**20
"""Bytes that decide how a file is read."""
BINARY = ("parquet", "arrow")
IN_PIECES = ("csv", "tsv", "jsonl", *BINARY)
"""Formats that have rows one after the other."""


@dataclass(slots=True)
class FileTables:
    """The tables of one file of a split; `sources` has the files read for them once all are taken.

    `whole`: there is one table.
    """

    path: Path
    tables: Iterator[Table]
    sources: list[SourceFile] = field(default_factory=list)
    whole: bool = False


def source_tables(
    source: Source,
    split: str,
    options: FileOptions,
    schema: RowSchema,
    *,
    whole: bool,
    notes: list[str] | None = None,
) -> Iterator[FileTables]:
    """Yield the tables of each file of a split, or of its classes as one.

    `whole`: those of a file are to be one table. Shards without rows are left out, and noted.
    Raises `DataError`, also while tables are taken, and for a shard with other columns than the
    first.
    """
    if source.classes:
        classes = list(zip(source.classes, source.paths, strict=True))
        table, sources = read_classes(classes, split, options, schema)
        yield FileTables(source.paths[0], iter([table]), sources, whole=True)
        return
    columns, empty = SameColumns(known_names(schema, options)), list[Path]()
    for path in source.paths:
        try:
            file = _opened(path, split, options, schema, whole=whole)
            first = next(file.tables)
        except NoRowsError:
            empty.append(path)
            if len(empty) == len(source.paths):
                raise
            continue
        columns.check(path, first, optional=may_lack_columns(path, options))
        file.tables = chain([first], file.tables)
        yield file
    if empty and notes is not None:
        names = ", ".join(path.name for path in empty[:6]) + (", …" if len(empty) > 6 else "")
        notes.append(f"{split}: {len(empty)} of {len(source.paths)} shards have no rows: {names}")


def _opened(
    path: Path, split: str, options: FileOptions, schema: RowSchema, *, whole: bool
) -> FileTables:
    file = FileTables(path, iter(()))
    tables = None
    if not whole:
        tables = _saved(file) if path.is_dir() else _pieces(file, split, options, schema)
    if tables is None:
        read = read_saved(path) if path.is_dir() else read_table(path, split, options, schema)
        return FileTables(path, iter([read[0]]), read[1], whole=True)
    file.tables = tables
    return file


def _saved(file: FileTables) -> Iterator[Table] | None:
    size = sum(path.stat().st_size for path in file.path.iterdir() if path.is_file())
    return _with_sources(file, saved_pieces(file.path)) if size > HEAD else None


def _with_sources(file: FileTables, tables: Iterator[Table]) -> Iterator[Table]:
    """Yield the tables, then put the records of what was read into `file`.

    Raises `DataError` for a file that changed meanwhile.
    """
    if file.path.is_dir():
        yield from tables
        file.sources += saved_sources(file.path)
        return
    with open_file(file.path) as stream, unchanged(stream, file.path):
        yield from tables
        digest = sha256(file.path)
        size = os.fstat(stream.fileno()).st_size
    file.sources.append(SourceFile(str(file.path), digest, size))


def _pieces(
    file: FileTables, split: str, options: FileOptions, schema: RowSchema
) -> Iterator[Table] | None:
    """Return the tables of a file that is large and of a format that has rows one after the other,
    else None.
    """
    path = file.path
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = unpacked_stream(stream, path, size)
        form = form_of(path, content.inner, options)
        large = size > HEAD if form in BINARY else len(content.stream.read(HEAD)) == HEAD
    if not large:
        return None
    if form in BINARY:
        return _with_sources(file, _binary(path, form, split))
    first = next(_texts(path, options))
    head = first[: first.rfind("\n") + 1] or first
    if form == "text":
        form = text_form(head, options, schema)
    if form == "tsv":
        form = tabs_form(head, path.name, options, schema)
    if form in ("csv", "tsv"):
        found = delimited_pieces(
            head, _texts(path, options), path.name, split, options, schema, tabs=form == "tsv"
        )
        return _with_sources(file, found)
    if form == "jsonl" and nested_lines(head, path.name) is False:
        columns: dict[str, None] = {}
        for table in jsonl_pieces(_texts(path, options), path.name, split):
            columns |= dict.fromkeys(table.columns)
        found = jsonl_pieces(_texts(path, options), path.name, split, columns=list(columns))
        return _with_sources(file, found)
    return None


def _texts(path: Path, options: FileOptions) -> Iterator[str]:
    """Yield the text of a file in pieces, of which the first has `HEAD` bytes."""
    with open_file(path) as stream:
        content = unpacked_stream(stream, path, None)
        start = content.stream.read(HEAD)
        yield from decoded(start, content.stream, path, options.encoding, by_row=False)


def _binary(path: Path, form: Format, split: str) -> Iterator[Table]:
    with open_file(path) as stream:
        yield from binary_pieces(unpacked_stream(stream, path, None), path, form, split)


def binary_pieces(content: Unpacked, path: Path, form: Format, split: str) -> Iterator[Table]:
    """Yield the tables of a Parquet or Arrow file; of questions, if its first rows nest them."""
    read = parquet_pieces if form == "parquet" else arrow_pieces
    nested: bool | None = None
    for table in read(content.random_access(), path):
        records = [dict(zip(table.columns, record, strict=True)) for record in table.records]
        if nested is None:
            named = bool({"qas", "paragraphs", "data"} & set(table.columns))
            nested = named and nest_questions(records)
        if nested:
            yield read_nested(list(zip(table.places, records, strict=True)), split)
        else:
            yield table


def delimited_pieces(
    head: str,
    pieces: Iterable[str],
    name: str,
    split: str,
    options: FileOptions,
    schema: RowSchema,
    *,
    tabs: bool,
) -> Iterator[Table]:
    """Yield the tables of a CSV or TSV text that begins with `head`; `pieces` are all of it."""
    known = known_names(schema, options)
    found, _ = dialect(head, name, split, options, known, tabs=tabs, whole=False)
    skipped = Counter[str]()
    lines = found.without_blank(found.lines(pieces), skipped)
    notes = found.notes
    while rows := list(islice(lines, PIECE)):
        table = found.table(rows, with_header=notes is found.notes)
        table.notes, notes = [*notes], []
        yield table
    yield Table(
        list(found.columns), header=found.header is not None, notes=blank_note(name, skipped)
    )
