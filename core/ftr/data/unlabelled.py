"""Rows to predict: any file the reader reads, or standard input; labels and answers are not needed."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ftr.data.arrow_tables import is_saved, read_saved
from ftr.data.check import clean_row
from ftr.data.columns import map_columns, rename
from ftr.data.formats import parse, read_table
from ftr.data.options import FileOptions, column_choices, file_options
from ftr.data.rows import PREDICT, Rejected, Row, Table, Unlabelled
from ftr.data.schema import RowSchema
from ftr.data.text_labels import text_table
from ftr.errors import DataError
from ftr.paths import expanded

STDIN = "-"


def read_unlabelled(
    source: str | Path,
    schema: RowSchema,
    options: FileOptions | Mapping[str, object] | None = None,
    stdin: TextIO | None = None,
    check: Callable[[Row], str | None] | None = None,
) -> Unlabelled:
    """Return the usable rows of a file, or of standard input when `source` is `-`, and those left out, with their places in the input.

    Standard input is JSONL, or one text a line where a row needs just one text. `check` says why a row cannot be used (see
    `Head.check`). Raises `DataError`.
    """
    options = options if isinstance(options, FileOptions) else file_options(schema).model_validate(dict(options or {}))
    if str(source) == STDIN:
        table = _read_stdin(_text(stdin or sys.stdin), schema, options)
    else:
        alone = options.model_copy(update={"labels_file": "none"})
        path = expanded(source, "file")
        table, _ = read_saved(path) if is_saved(path) else read_table(path, PREDICT, alone, schema)
    name = "standard input" if str(source) == STDIN else f"`{Path(source).name}`"
    mapping = map_columns(table, schema, column_choices(options, schema), name, labelled=False) if table.records else {}
    raw = Unlabelled(rename(table, mapping), table.places, list(table.rejected), table.notes)
    result = Unlabelled(notes=table.notes)
    seen: set[object] = set()
    for number, item in enumerate(raw.in_order(zip(raw.rows, raw.places, strict=True)), start=1):
        if isinstance(item, Rejected):
            row = {**item.row, "id": item.row.get("id") or f"{PREDICT}-{number}"}
            result.rejected.append(replace(item, row=row, after=len(result)))
            continue
        row, cause = clean_row(item[0], schema, f"{PREDICT}-{number}", labelled=False)
        cause = cause or ("duplicate id" if row["id"] in seen else None) or (check(row) if check else None)
        if cause:
            result.rejected.append(Rejected(item[1], PREDICT, cause, {**item[0], "id": row["id"]}, len(result)))
            continue
        seen.add(row["id"])
        result.rows.append(row)
        result.places.append(item[1])
    return result


def _text(stream: TextIO) -> str:
    """Return all of a stream; bytes that are not UTF-8 are left to the check of their row."""
    buffer = getattr(stream, "buffer", None)
    return stream.read() if buffer is None else buffer.read().decode("utf-8-sig", "surrogateescape")


def _read_stdin(text: str, schema: RowSchema, options: FileOptions) -> Table:
    if not text.strip():
        raise DataError("standard input is empty")
    if options.format != "auto" and options.format not in ("text", "parquet", "arrow"):
        return parse(text, "stdin", PREDICT, options, schema, options.format)
    if options.format == "auto" and text.lstrip().startswith(("{", "[{")):
        return parse(text, "stdin", PREDICT, options, schema, "json" if text.lstrip().startswith("[") else "jsonl")
    texts = [column.name for column in schema.columns if column.type in ("text", "tokens") and column.required]
    if len(texts) != 1:
        names = ", ".join(f"`{name}`" for name in texts)
        raise DataError(f"standard input is plain text, but a row needs {names}: give one JSON object a line")
    return text_table(text, "stdin", texts[0])
