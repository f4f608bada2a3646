"""Files of predictions: JSONL, CSV, TSV and Parquet, written in parts that are joined at the
end.
"""

from __future__ import annotations

import csv
import functools
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ftr.atomic import json_lines, to_json
from ftr.data.delimited import any_cell_size
from ftr.data.rows import harmless
from ftr.data.tables import python_values
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


def encode(
    records: Records, form: str, columns: Sequence[str], types: Mapping[str, Any] | None = None
) -> bytes:
    """Return records as a part of a file; tables have `columns`, but no header.

    In Parquet columns keep the `types` that they came with.
    """
    if form == "jsonl":
        return json_lines(records).encode()
    if form == "parquet":
        return _parquet(records, columns, types or {})
    text = _Lines()
    writer = csv.writer(text, delimiter=_DELIMITERS[form], lineterminator="\r\n")
    writer.writerows([_as_text(record.get(name)) for name in columns] for record in records)
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


def _as_text(value: object) -> str | None:
    """Return a value as a text: nested ones and booleans as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return str(harmless(value))
    return to_json(value) if isinstance(value, bool | Mapping | list | tuple) else str(value)


_MIXED = "it has values of several types"
_UNKNOWN = "Parquet has no type for its values"
_WHY = b"ftr: text, because"
"""Key of the metadata of a column in a part that says why its values are texts."""


def _parquet(records: Records, columns: Sequence[str], types: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    fields, arrays = [], []
    for name in columns:
        array, why = _array([record.get(name) for record in records], types.get(name))
        fields.append(pa.field(name, array.type, metadata={_WHY: why} if why else None))
        arrays.append(array)
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays, schema=pa.schema(fields)), buffer)
    return buffer.getvalue()


def _array(values: list[Any], kind: pa.DataType | None) -> tuple[pa.Array, str | None]:
    """Return values as an Arrow array, of `kind` if that can be; else as texts, and why."""
    for wanted in dict.fromkeys((kind, None)):
        found = _exact(values, wanted)
        if found is not None and _is_storable(found):
            return found, None
    return _texts(values), _MIXED if found is None else _UNKNOWN


def _exact(values: list[Any], kind: pa.DataType | None) -> pa.Array | None:
    """Return values as an Arrow array, or None where it cannot hold them as they are."""
    import pyarrow as pa

    try:
        found = pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    # Arrow takes a text among bytes for bytes.
    as_bytes = kind is None and pa.types.is_binary(found.type)
    return None if as_bytes and any(isinstance(value, str) for value in values) else found


def _texts(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array(list(map(_as_text, values)), pa.string())


def _is_storable(array: pa.Array) -> bool:
    """Whether Parquet has the type: it has none for objects without any key, for example."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        parquet.write_table(pa.table({"value": array.slice(0, 0)}), io.BytesIO())
    except pa.ArrowException:
        return False
    return True


def _join_parquet(paths: Sequence[Path], columns: Sequence[str], target: BinaryIO) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    schemas = {path: parquet.read_schema(path) for path in paths}
    found = {name: _joined_type(name, schemas) for name in columns}
    schema = pa.schema([pa.field(name, kind) for name, (kind, _) in found.items()])
    with parquet.ParquetWriter(target, schema) as writer:
        for path in paths:
            table = parquet.read_table(path)
            arrays = [_as(table, one) for one in schema]
            writer.write_table(pa.table(arrays, schema=schema))
    return [f"column `{name}` is written as text: {why}" for name, (_, why) in found.items() if why]


def _joined_type(name: str, schemas: Mapping[Path, pa.Schema]) -> tuple[pa.DataType, str | None]:
    """Return the type that holds a column of all parts exactly; or text, and why."""
    import pyarrow as pa

    parts = {path: schema.field(name) for path, schema in schemas.items() if name in schema.names}
    why = next((one.metadata[_WHY].decode() for one in parts.values() if _is_marked(one)), None)
    kinds = dict.fromkeys(one.type for one in parts.values() if not pa.types.is_null(one.type))
    common = functools.reduce(_common, kinds, pa.null())
    if pa.types.is_null(common):
        # A column without any value is one of text: readers know no other type for it.
        return pa.string(), why
    others = [path for path, one in parts.items() if one.type not in (common, pa.null())]
    if why is None and not _is_text(common) and all(_fits(path, name, common) for path in others):
        return common, None
    only_texts = all(map(_is_text, kinds))
    return (common if _is_text(common) else pa.string()), why or (None if only_texts else _MIXED)


def _is_marked(field: pa.Field) -> bool:
    return field.metadata is not None and _WHY in field.metadata


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _fits(path: Path, name: str, kind: pa.DataType) -> bool:
    """Whether a type holds the values of a part: floats, for example, not every large integer."""
    from pyarrow import parquet

    values = python_values(parquet.read_table(path, columns=[name]).column(0))
    return _exact(values, kind) is not None


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return a type for the values of both: text if there is no other."""
    import pyarrow as pa

    if pa.types.is_null(first) or first == second:
        return second
    if _is_text(first) != _is_text(second):
        return pa.string()
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
    values = python_values(column)
    if _is_text(wanted.type):
        return _texts(values).cast(wanted.type)
    return pa.array(values, wanted.type)
