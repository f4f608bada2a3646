"""Rows as a stream of Arrow record batches, in bounded memory and always the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ftr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from ftr.registry.protocols import Row

T = TypeVar("T")

PIECE = 1024
"""Rows that are made Arrow at a time."""
BATCH_ROWS, BATCH_BYTES = 2**20, 512 * 2**20
"""A record batch ends before the piece with which it would have more: hashes depend on both."""


def columns_of(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Return the cells of rows by column; None for a row that lacks one."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def pieces(rows: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """Yield `size` rows at a time, with the number of the first."""
    start, left = 0, iter(rows)
    while piece := list(islice(left, size)):
        yield start, piece
        start += len(piece)


class RowBatches:
    """Record batches of rows, the `bytes` that they hold, and the `sha256` of their stream.

    Types are those that Arrow infers from all cells of a column. Rows of more than one record batch
    are read three times, and one batch is in memory at a time; others stay there.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        """Read the rows. Raises `DataError` where cells of a column have no type in common."""
        self.rows = rows
        self.types: dict[str, pa.DataType] = {}
        held: list[tuple[int, dict[str, pa.Array]]] | None = []
        size = 0
        for start, piece in pieces(rows, PIECE):
            arrays = _arrays(columns_of(piece), start)
            for name, array in arrays.items():
                known = self.types.get(name)
                self.types[name] = array.type if known is None else common(name, known, array.type)
            size += sum(array.nbytes for array in arrays.values())
            if held is not None:
                held.append((start, arrays))
                if start + len(piece) > BATCH_ROWS or size > BATCH_BYTES:
                    held = None
        self._made = None if held is None else list(self._batches(iter(held)))
        self.bytes, digest = 0, _Digest()
        write_stream(digest, self._counted())
        self.sha256 = digest.hexdigest()

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield tables, each a record batch."""
        if self._made is not None:
            return iter(self._made)
        found = ((start, _arrays(columns_of(piece), start)) for start, piece in self._pieces())
        return self._batches(found)

    def _pieces(self) -> Iterator[tuple[int, list[Row]]]:
        return pieces(self.rows, PIECE)

    def _counted(self) -> Iterator[pa.Table]:
        for table in self:
            self.bytes += table.nbytes
            yield table

    def _batches(self, found: Iterator[tuple[int, dict[str, pa.Array]]]) -> Iterator[pa.Table]:
        batch: dict[str, list[pa.Array]] = {name: [] for name in self.types}
        count = size = 0
        for start, arrays in found:
            typed = self._typed(start, arrays)
            more = sum(array.nbytes for array in typed.values())
            length = min(PIECE, len(self.rows) - start)
            if count and (count + length > BATCH_ROWS or size + more > BATCH_BYTES):
                yield _joined(batch)
                count = size = 0
            for name, array in typed.items():
                batch[name].append(array)
            count, size = count + length, size + more
        yield _joined(batch)

    def _typed(self, start: int, arrays: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """Return the arrays of a piece with the types of the whole, in its order."""
        rows: list[Row] | None = None
        typed = {}
        for name, kind in self.types.items():
            array = arrays.get(name)
            if array is None or array.type != kind:
                rows = rows or list(self.rows[start : start + PIECE])
                array = _array(name, [row.get(name) for row in rows], start, kind)
            typed[name] = array
        return typed


def rows_sha256(rows: Sequence[Row]) -> str:
    """Return the hash of rows that a stored split has of the same rows."""
    return RowBatches(rows).sha256


def common(name: str, one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that Arrow infers from cells of both types in column `name`.

    Raises `DataError` where it infers none.
    """
    import pyarrow as pa
    from pyarrow import types

    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if types.is_list(one) and types.is_list(other):
        return pa.list_(common(name, one.value_type, other.value_type))
    if types.is_struct(one) and types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            known = fields.get(field.name)
            fields[field.name] = field.type if known is None else common(name, known, field.type)
        return pa.struct(list(fields.items()))
    raise DataError(f"column `{name}` has cells of type {one} and others of type {other}.")


def _arrays(columns: dict[str, list[Any]], start: int) -> dict[str, pa.Array]:
    return {name: _array(name, cells, start) for name, cells in columns.items()}


def _array(name: str, cells: list[Any], start: int, kind: pa.DataType | None = None) -> pa.Array:
    import pyarrow as pa

    where = f"column `{name}` of rows {start} to {start + len(cells) - 1}"
    try:
        array = pa.array(cells, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{where} cannot be stored: {error}.") from error
    if isinstance(array, pa.ChunkedArray):
        raise DataError(f"{where} has more than 2 GiB of text: split the texts.")
    return array


def _joined(batch: dict[str, list[pa.Array]]) -> pa.Table:
    """Make one record batch of the arrays of each column, which are taken out."""
    import pyarrow as pa

    columns = {}
    for name, arrays in batch.items():
        columns[name] = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
        arrays.clear()
    return pa.table(columns)


class _Digest:
    """A file that keeps nothing but the sha256 of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.write = self._sha256.update
        self.hexdigest = self._sha256.hexdigest

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        """There is nothing to close."""


def write_stream(to: Any, tables: Iterable[pa.Table]) -> int:
    """Write tables of one schema, that of the first, to a path or stream; return their rows."""
    import pyarrow as pa

    count, writer = 0, None
    for table in tables:
        if writer is None:
            schema = table.schema
            writer = pa.ipc.new_stream(to, schema)
        writer.write_table(table.cast(schema))
        count += table.num_rows
    if writer is not None:
        writer.close()
    return count
