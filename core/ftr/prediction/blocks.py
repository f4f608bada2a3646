"""Blocks of rows to predict, and the records that answer them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftr.data.columns import ID
from ftr.data.rows import blank_as_none, harmless, until_full
from ftr.data.stream import Incoming, Reader
from ftr.runs.predicted import Unusable

if TYPE_CHECKING:
    from ftr.registry.protocols import Prediction
    from ftr.runs.predictor import Predictor

BLOCK = 16384
"""Rows that are answered and written at a time, at most: see `ftr.data.rows.until_full`."""
_NUMBER = 8
"""Characters for which a number counts."""
ERROR = ("error", "place")
"""The columns of a row that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of the input, not checked yet; `number` counts blocks and `first` rows, from 0.

    `columns` are those of the input so far, of which the first `known` came with its first block,
    `types` the Arrow types of those that have one, and `id_column` the one that holds ids. It holds
    plain values alone, so that another process can answer it.
    """

    number: int
    first: int
    columns: tuple[str, ...]
    known: int
    types: Mapping[str, Any]
    id_column: str | None
    lines: tuple[Incoming, ...]

    def digest(self) -> str:
        """Return a hash of all its rows."""
        found = hashlib.blake2b(digest_size=16)
        for line in self.lines:
            found.update(repr((line.place, line.cells, line.cause)).encode(errors="surrogatepass"))
        return found.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What goes into a record: the input's `columns` (None: all), what `Predictor.stream` takes,
    and `reserved`, the keys of the predictions (see `prediction_keys`).
    """

    columns: tuple[str, ...] | None = None
    top_k: int | None = None
    abstain_below: float | None = None
    reserved: tuple[str, ...] = ()

    def kept(self, block: Block) -> dict[str, str]:
        """Return the input's columns that are kept, each with its name in the output.

        A later block changes no name: a column that it brings must take one that is free.
        """
        names = block.columns if self.columns is None else self.columns
        known = set(block.columns[: block.known])
        own = {*self.reserved, *ERROR}
        taken = known | own
        found = {}
        for name in names:
            free = name not in own if name in known else name not in taken
            found[name] = name if free else _free(f"input_{name}", taken)
            taken.add(found[name])
        # Where the input's own ids are kept under that name, they stand where they stood.
        if has_own_id(block) and ID.name in found:
            found[ID.name] = ID.name
        return found

    def types(self, block: Block) -> dict[str, Any]:
        """Return the Arrow types of columns of the output."""
        return {
            new: block.types[name] for name, new in self.kept(block).items() if name in block.types
        }


def has_own_id(block: Block) -> bool:
    """Whether the input has a column of ids with the name of that of the output."""
    return block.id_column == ID.name


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def blocks(reader: Reader, size: int | None = None) -> Iterator[Block]:
    """Yield the rows of an input in blocks of at most `size`, by default `BLOCK`.

    Raises what `Reader.rows` raises.
    """
    rows, number, first, known = reader.rows(), 0, 0, 0
    while lines := tuple(until_full(islice(rows, size or BLOCK), _cells, _size)):
        known = known or len(reader.columns)
        yield Block(
            number=number,
            first=first,
            columns=tuple(reader.columns),
            known=known,
            types=dict(reader.types),
            id_column=reader.id_column,
            lines=lines,
        )
        number, first = number + 1, first + len(lines)


def _cells(line: Incoming) -> Mapping[str, object]:
    return line.cells or line.row


def _size(cell: object) -> int:
    """Return about how many characters of memory a cell takes."""
    if isinstance(cell, str | bytes):
        return len(cell)
    if isinstance(cell, Mapping):
        return sum(map(_size, cell.values()))
    return sum(map(_size, cell)) if isinstance(cell, list | tuple) else _NUMBER


def prediction_keys(block: Block, predictor: Predictor, options: Options) -> tuple[str, ...] | None:
    """Return the keys of a prediction, of the first row of a block that can be used; None: there is
    none.
    """
    for number, line in enumerate(block.lines, start=block.first):
        row, cause = predictor.check(line.row, number)
        if line.cause is None and cause is None:
            [found] = predictor.stream([row], **_asked(options))
            if isinstance(found, Unusable):
                continue
            best = range(1, (options.top_k or 0) + 1)
            tables = [f"{name}_{rank}" for rank in best for name in ("label", "score")]
            guess = () if options.abstain_below is None else ("best_guess",)
            return (*found, *tables, *guess)
    return None


def _asked(options: Options) -> dict[str, Any]:
    top_k = {} if options.top_k is None else {"top_k": options.top_k}
    return {"abstain_below": options.abstain_below, "errors": "record", **top_k}


def answer(
    block: Block,
    predictor: Predictor,
    options: Options,
    tick: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Return a record for each row of a block, in order: the columns of the input that are kept, in
    their order, then the prediction; `id`, `error` and `place` of a row that cannot be used.

    `tick` is called with the number of rows of the block that are done.
    """
    checked = [
        (line.row, line.cause) if line.cause else predictor.check(line.row, number)
        for number, line in enumerate(block.lines, start=block.first)
    ]
    usable = [row for row, cause in checked if cause is None]
    predictions = predictor.stream(usable, **_asked(options))
    kept = options.kept(block)
    own_id = has_own_id(block) and ID.name in kept
    # Bytes stay bytes where the column has them, and the pairs of a map tuples.
    exact = {
        name
        for name, kind in block.types.items()
        if any(word in str(kind) for word in ("binary", "map<"))
    }
    records = []
    for line, (row, cause) in zip(block.lines, checked, strict=True):
        found = next(predictions) if cause is None else _error(row, cause, line.place)
        if isinstance(found, Unusable):
            found = _error(row, found["error"], line.place)
        record = {
            name: line.cells.get(column) if column in exact else _plain(line.cells.get(column))
            for column, name in kept.items()
        }
        if own_id and blank_as_none(record[ID.name]) is not None:
            found = {key: value for key, value in found.items() if key != ID.name}
        records.append({**record, **found})
        tick(len(records))
    return records


def is_error(record: Mapping[str, Any]) -> bool:
    """Whether a record is that of a row that cannot be used."""
    return all(name in record for name in ERROR)


def _error(row: Mapping[str, object], cause: str, place: str) -> Prediction:
    return {ID.name: harmless(row.get(ID.name)), "error": cause, "place": place}


def _plain(value: object) -> object:
    """Return a cell of the input that UTF-8 can hold."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return harmless(value)
        return value
    return harmless(value) if isinstance(value, (bytes, list, tuple, Mapping)) else value
