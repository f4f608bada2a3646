"""Files of predictions: JSONL, CSV, TSV and Parquet, written in parts that are joined at the
end.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ftr.atomic import json_lines
from ftr.data.delimited import any_cell_size
from ftr.errors import RequestError
from ftr.prediction.blocks import ERROR

if TYPE_CHECKING:
    import pyarrow as pa

Records = Sequence[Mapping[str, Any]]

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_PROBABILITIES = "probabilities"


def format_of(output: Path, given: str | None) -> str:
    """Return the format of an output file: `given`, else by its suffix, JSON lines without one.

    Raises `RequestError`.
    """
    form = given or (FORMATS.get(output.suffix.lower()) if output.suffix else "jsonl")
    if form is None:
        raise RequestError(
            f"`--output {output}`: the ending `{output.suffix}` tells no format. Known endings: "
            f"{', '.join(FORMATS)}; or give `--output-format`."
        )
    return form


@dataclass(slots=True)
class Layout:
    """The columns of a table of predictions so far: those of the input, those of predictions, and
    last those of rows that cannot be used.

    With `top_k` each of the most probable labels has columns of its own: `label_1`, `score_1`.
    """

    top_k: int | None = None
    columns: list[str] = field(default_factory=list)

    def flat(self, records: Records) -> list[dict[str, Any]]:
        """Return records as rows of the table, and note their columns."""
        rows = [self._flat(record) for record in records]
        known = dict.fromkeys(self.columns)
        for row in rows:
            known.update(dict.fromkeys(row))
        self.columns = [name for name in known if name not in ERROR] + list(ERROR)
        return rows

    def _flat(self, record: Mapping[str, Any]) -> dict[str, Any]:
        if self.top_k is None or _PROBABILITIES not in record:
            return dict(record)
        row = {name: value for name, value in record.items() if name != _PROBABILITIES}
        best = list((record[_PROBABILITIES] or {}).items())
        for number in range(1, self.top_k + 1):
            label, score = best[number - 1] if number <= len(best) else (None, None)
            row |= {f"label_{number}": label, f"score_{number}": score}
        return row


def encode(records: Records, form: str, columns: Sequence[str]) -> bytes:
    """Return records as a part of a file; tables have `columns`, but no header."""
    if form == "jsonl":
        return json_lines(records).encode()
    if form == "parquet":
        return _parquet(records, columns)
    text = _Lines()
    writer = csv.writer(text, delimiter=_DELIMITERS[form], lineterminator="\r\n")
    writer.writerows([_cell(record.get(name)) for name in columns] for record in records)
    return "".join(text.lines).encode()


class _Lines:
    """Takes rows of `csv.writer`, which quotes a lone carriage return only where its line ends have
    one; here lines end in a line feed.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, row: str) -> None:
        self.lines.append(f"{row[:-2]}\n")


def header(form: str, columns: Sequence[str]) -> bytes:
    """Return what stands before the parts of a file that is not joined by `join`."""
    return (
        encode([dict(zip(columns, columns, strict=True))], form, columns)
        if form != "jsonl"
        else b""
    )


def join(
    parts: Sequence[tuple[Path, Sequence[str]]], form: str, columns: Sequence[str], target: BinaryIO
) -> list[str]:
    """Write parts, each with its columns, as one file with `columns`; return notes.

    Raises `OSError`.
    """
    if form == "parquet":
        return _join_parquet([path for path, _ in parts], columns, target)
    target.write(header(form, columns))
    for path, own in parts:
        if form == "jsonl" or list(own) == list(columns):
            with path.open("rb") as part:
                shutil.copyfileobj(part, target, 1 << 20)
        else:
            text = path.read_bytes().decode()
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=_DELIMITERS[form])
            with any_cell_size():
                records = [dict(zip(own, cells, strict=True)) for cells in rows]
            target.write(encode(records, form, columns))
    return []


def _cell(value: object) -> object:
    """Return a value as a cell of CSV: nested ones and booleans as JSON, None as nothing."""
    if isinstance(value, (bool, Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _parquet(records: Records, columns: Sequence[str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    arrays = [_array([record.get(name) for record in records]) for name in columns]
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays, names=list(columns)), buffer)
    return buffer.getvalue()


def _array(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """Return values as an Arrow array; those of several types as text."""
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array(list(map(_as_text, values)), pa.string())


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _join_parquet(paths: Sequence[Path], columns: Sequence[str], target: BinaryIO) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, pa.DataType] = {}
    mixed: list[str] = []
    for path in paths:
        for one in parquet.read_schema(path):
            known = kinds.get(one.name, pa.null())
            kinds[one.name] = _common(known, one.type)
            if kinds[one.name] == pa.string() and not {known, one.type} <= {pa.string(), pa.null()}:
                mixed.append(one.name)
    # A column without any value is one of text: readers know no other type for it.
    fields = [
        pa.field(name, pa.string() if pa.types.is_null(kinds[name]) else kinds[name])
        for name in columns
    ]
    schema = pa.schema(fields)
    with parquet.ParquetWriter(target, schema) as writer:
        for table in _tables(paths):
            arrays = [_as(table, one) for one in schema]
            writer.write_table(pa.table(arrays, schema=schema))
    return [
        f"column `{name}` has values of several types: it is written as text"
        for name in dict.fromkeys(mixed)
    ]


def _tables(paths: Iterable[Path]) -> Iterator[pa.Table]:
    from pyarrow import parquet

    for path in paths:
        yield parquet.read_table(path)


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both: text if there is no other."""
    import pyarrow as pa

    try:
        schemas = [pa.schema([("value", kind)]) for kind in (first, second)]
        return pa.unify_schemas(schemas, promote_options="permissive").field("value").type
    except pa.ArrowException:
        return pa.string()


def _as(table: pa.Table, wanted: pa.Field) -> pa.ChunkedArray | pa.Array:
    import pyarrow as pa

    if wanted.name not in table.column_names:
        return pa.nulls(len(table), wanted.type)
    column = table[wanted.name]
    if column.type == wanted.type:
        return column
    values = column.to_pylist()
    if pa.types.is_string(wanted.type):
        values = list(map(_as_text, values))
    return pa.array(values, wanted.type)
