"""Long sequences of rows: in memory while they are small, beyond that in a temporary file."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import chain, compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast, overload

from ftr.atomic import writing

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Row = dict[str, object]
Indices: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
"""Of items in a sequence, counted from 0."""

BLOCK = 4096
"""Items that are written and read together."""
IN_MEMORY = 16 * 2**20
"""Bytes of a sequence, as `_bytes` counts them, that stay in memory."""
_CELL = 64
"""Bytes of a cell besides its characters, about."""


class _Blocks(Sequence[T], Generic[T]):
    """A sequence that is read block by block."""

    def block(self, number: int) -> list[T]:
        """Return the items from `number` times `BLOCK` on."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), BLOCK):
            yield from self.block(start // BLOCK)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return self._slice(range(*at.indices(len(self))))
        index = range(len(self))[at]
        return self.block(index // BLOCK)[index % BLOCK]

    def _slice(self, wanted: range) -> list[T]:
        if wanted.step != 1:
            return [self[index] for index in wanted]
        found: list[T] = []
        for number in range(wanted.start // BLOCK, -(-wanted.stop // BLOCK)):
            start = number * BLOCK
            found += self.block(number)[max(wanted.start - start, 0) : wanted.stop - start]
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"{type(self).__name__}([{shown}{', …' if len(self) > 3 else ''}])"


class Store(_Blocks[T]):
    """A sequence that grows at its end; what does not fit into memory goes to a temporary file.

    The items of a block are not to be changed.
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._full: list[list[T] | tuple[int, int]] = []
        self._last: list[T] = []
        self._file: Any = None
        self._used = 0
        self._read: tuple[int, list[T]] = (-1, [])
        self.extend(items)

    def __len__(self) -> int:
        return len(self._full) * BLOCK + len(self._last)

    def extend(self, items: Iterable[T]) -> None:
        """Add items. Raises `RunError` where the disk refuses them."""
        rest = iter(items)
        while more := list(islice(rest, BLOCK - len(self._last))):
            self._last += more
            if len(self._last) == BLOCK:
                if self._file is None:
                    self._used += sum(map(self._bytes, self._last))
                spill = self._used > IN_MEMORY
                self._full.append(self._written(self._packed(self._last)) if spill else self._last)
                self._last = []

    def block(self, number: int) -> list[T]:
        """Return the items from `number` times `BLOCK` on."""
        if number == len(self._full):
            return self._last
        place = self._full[number]
        if isinstance(place, list):
            return place
        if self._read[0] != number:
            self._read = number, self._unpacked(self._stored(place))
        return self._read[1]

    def taken(self, indices: Iterable[int]) -> Taken[T]:
        """Return the items at `indices`, in that order, which should rise where they can."""
        return Taken(self, indices)

    def _written(self, packed: object) -> tuple[int, int]:
        content = pickle.dumps(packed, protocol=pickle.HIGHEST_PROTOCOL)
        folder = Path(tempfile.gettempdir())
        with writing(folder, "Free space, or set another folder with `TMPDIR`."):
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (goes with self)
            start: int = self._file.seek(0, os.SEEK_END)
            view = memoryview(content)
            while view:
                view = view[self._file.write(view) :]
        return start, len(content)

    def _stored(self, place: tuple[int, int]) -> Any:
        start, size = place
        content = bytearray()
        while len(content) < size:
            content += os.pread(self._file.fileno(), size - len(content), start + len(content))
        return pickle.loads(content)  # noqa: S301 (written above, to a file without a name)

    def _bytes(self, item: T) -> int:
        return _CELL + len(item) if isinstance(item, str) else _CELL

    def _packed(self, items: list[T]) -> object:
        return arrow(items)

    def _unpacked(self, packed: Any) -> list[T]:
        return python(packed)


class _Absent(Enum):
    CELL = "a cell that the row does not have"


class RowStore(Store[Row]):
    """Rows, each a mapping of names to cells; on disk their columns are Arrow arrays."""

    def column(self, name: str) -> Iterator[Any]:
        """Return the cell of each row; None for a row without it."""
        return chain.from_iterable(self._cells(place, name) for place in (*self._full, self._last))

    def _cells(self, place: list[Row] | tuple[int, int], name: str) -> list[Any]:
        if isinstance(place, list):
            return [row.get(name) for row in place]
        size, columns = self._stored(place)
        return _given(columns[name]) if name in columns else [None] * size

    def replaced(self, name: str, change: Callable[[list[Any]], list[Any]]) -> RowStore:
        """Return the rows with other cells in a column, which `change` makes of a block's cells."""
        found = RowStore()
        found._used = self._used
        for place in (*self._full, self._last):
            if isinstance(place, list):
                cells = change([row.get(name) for row in place])
                rows = [{**row, name: cell} for row, cell in zip(place, cells, strict=True)]
                if place is self._last:
                    found._last = rows
                else:
                    found._full.append(rows)
                continue
            size, columns = self._stored(place)
            cells = _given(columns[name]) if name in columns else [None] * size
            columns[name] = arrow(change(cells))
            found._full.append(found._written((size, columns)))
        return found

    def _bytes(self, item: Row) -> int:
        cells = item.values()
        return _CELL * (len(cells) + 1) + sum(
            len(cell) for cell in cells if isinstance(cell, (str, list))
        )

    def _packed(self, items: list[Row]) -> object:
        names = dict.fromkeys(name for row in items for name in row)
        absent = _Absent.CELL
        return len(items), {name: arrow([row.get(name, absent) for row in items]) for name in names}

    def _unpacked(self, packed: Any) -> list[Row]:
        size, columns = packed
        if not columns:
            return [{} for _ in range(size)]
        cells = [python(column) for column in columns.values()]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*cells, strict=True)]
        for name, column in columns.items():
            if isinstance(column, list) and any(cell is _Absent.CELL for cell in column):
                for row in rows:
                    if row[name] is _Absent.CELL:
                        del row[name]
        return rows


def arrow(cells: list[Any]) -> Any:
    """Return cells as an Arrow array that gives back equal cells of the same types, where there is
    one, else the list.
    """
    import pyarrow as pa

    kinds = set(map(type, cells)) - {type(None)}
    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    if len(kinds) > 1 or not kinds <= types.keys():
        return cells
    try:
        return pa.array(cells, types[kinds.pop()] if kinds else pa.null())
    except (pa.ArrowException, UnicodeError, OverflowError):
        return cells


def python(column: Any) -> list[Any]:
    """Return the cells of what `arrow` returned."""
    found: list[Any] = column if isinstance(column, list) else column.to_pylist()
    return found


def as_indices(numbers: Iterable[int]) -> Indices:
    """Return numbers as an array."""
    import numpy as np

    return numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, dtype=np.int64)


def _given(column: Any) -> list[Any]:
    """Return the cells; None for one that the row does not have."""
    if isinstance(column, list):
        return [None if cell is _Absent.CELL else cell for cell in column]
    return python(column)


class Taken(_Blocks[T]):
    """Chosen items of a store, which may be chosen from again."""

    def __init__(self, source: Store[T] | Taken[T], indices: Iterable[int]) -> None:
        chosen: Indices = as_indices(indices)
        if isinstance(source, Taken):
            chosen = source.indices[chosen]
            source = source.source
        self.source: Store[T] = source
        self.indices: Indices = chosen

    def __len__(self) -> int:
        return len(self.indices)

    def block(self, number: int) -> list[T]:
        """Return the items from `number` times `BLOCK` on."""
        found: list[T] = []
        at, items = -1, found
        for index in self.indices[number * BLOCK : (number + 1) * BLOCK].tolist():
            if index // BLOCK != at:
                at = index // BLOCK
                items = self.source.block(at)
            found.append(items[index % BLOCK])
        return found

    def taken(self, indices: Iterable[int]) -> Taken[T]:
        """Return the items at `indices`, in that order, which should rise where they can."""
        return Taken(self, indices)

    def column(self, name: str) -> Iterator[Any]:
        """Return the cell of each row, as `RowStore.column` does."""
        import numpy as np

        if not isinstance(self.source, RowStore) or np.any(np.diff(self.indices) <= 0):
            return (row.get(name) for row in cast("Sequence[Row]", self))
        wanted = np.zeros(len(self.source), dtype=np.bool_)
        wanted[self.indices] = True
        return compress(self.source.column(name), wanted)
