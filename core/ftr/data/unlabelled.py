"""Rows to predict: any file the reader reads, or standard input; labels and answers are not needed."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ftr.data.check import clean_row
from ftr.data.columns import map_columns, rename
from ftr.data.formats import parse, read_table
from ftr.data.options import FileOptions, column_choices, file_options
from ftr.data.rows import Rejected, Table, Unlabelled
from ftr.data.schema import RowSchema
from ftr.data.text_labels import text_table
from ftr.errors import DataError
from ftr.paths import expanded

STDIN = "-"
SPLIT = "predict"


def read_unlabelled(
    source: str | Path, schema: RowSchema, options: FileOptions | Mapping[str, object] | None = None, stdin: TextIO | None = None
) -> Unlabelled:
    """Return the usable rows of a file, or of standard input when `source` is `-`, and those left out.

    Standard input is JSONL, or one text a line where a row needs just one text. Raises `DataError`.
    """
    options = options if isinstance(options, FileOptions) else file_options(schema).model_validate(dict(options or {}))
    if str(source) == STDIN:
        table = _read_stdin((stdin or sys.stdin).read(), schema, options)
    else:
        alone = options.model_copy(update={"labels_file": "none"})
        table, _ = read_table(expanded(source, "file"), SPLIT, alone, schema)
    name = "standard input" if str(source) == STDIN else f"`{Path(source).name}`"
    mapping = map_columns(table, schema, column_choices(options, schema), name, labelled=False)
    result = Unlabelled(rejected=list(table.rejected), notes=table.notes)
    seen: set[object] = set()
    for number, (raw, place) in enumerate(zip(rename(table, mapping), table.places, strict=True), start=1):
        row, cause = clean_row(raw, schema, f"{SPLIT}-{number}", labelled=False)
        cause = cause or ("duplicate id" if row["id"] in seen else None)
        seen.add(row["id"])
        if cause:
            result.rejected.append(Rejected(place, SPLIT, cause, raw))
        else:
            result.rows.append(row)
            result.places.append(place)
    return result


def _read_stdin(text: str, schema: RowSchema, options: FileOptions) -> Table:
    if not text.strip():
        raise DataError("standard input is empty")
    if options.format != "auto" and options.format not in ("text", "parquet"):
        return parse(text, "stdin", SPLIT, options, schema, options.format)
    if options.format == "auto" and text.lstrip().startswith(("{", "[{")):
        return parse(text, "stdin", SPLIT, options, schema, "json" if text.lstrip().startswith("[") else "jsonl")
    texts = [column.name for column in schema.columns if column.type in ("text", "tokens") and column.required]
    if len(texts) != 1:
        names = ", ".join(f"`{name}`" for name in texts)
        raise DataError(f"standard input is plain text, but a row needs {names}: give one JSON object a line")
    return text_table(text, "stdin", texts[0])
