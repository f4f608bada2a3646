"""Rows as record batches: the bytes of a whole table, in pieces, and where a batch is cut."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any

import pyarrow as pa
import pytest

from ftr.data import arrow
from ftr.data.arrow import RowBatches, columns_of, rows_sha256
from ftr.errors import DataError

Rows = list[dict[str, Any]]


def whole(rows: Rows) -> str:
    """Return the hash of rows that are made one table, as ftr did before it worked in pieces."""
    table, stream = pa.table(columns_of(rows)), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(stream.getvalue()).hexdigest()


def cell(kind: str, draw: random.Random) -> Any:
    """Draw a cell of a column of that kind."""
    if draw.random() < 0.2:
        return None
    numbers = [cell("number", draw) for _ in range(draw.randrange(3))]
    return {
        "text": draw.choice(["", "é中", "river " * draw.randrange(5)]),
        "number": draw.choice([1, 2.5, 3]),
        "label": draw.randrange(-5, 5),
        "flag": draw.random() < 0.5,
        "list": numbers,
        "answers": {"text": ["a"] * len(numbers), draw.choice(["answer_start", "more"]): numbers},
        "nothing": None,
    }[kind]


@pytest.mark.parametrize("seed", range(40))
def test_rows_in_pieces_have_the_bytes_of_one_table(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(arrow, "PIECE", draw.choice([1, 2, 7]))
    kinds = draw.sample(["text", "number", "label", "flag", "list", "answers", "nothing"], k=4)
    # A column may begin late, and be empty for long: its type is known at the end alone.
    rows: Rows = [
        {
            kind: None if n < 9 and draw.random() < 0.9 else cell(kind, draw)
            for kind in kinds
            if draw.random() < 0.8
        }
        for n in range(40)
    ]
    assert rows_sha256(rows) == whole(rows)


def test_long_rows_are_record_batches_cut_by_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "PIECE", 2)
    rows: Rows = [{"id": str(n), "text": "x" * (1000 if n > 11 else 1)} for n in range(17)]
    rows[16]["score"] = 0.5  # in the last batch alone
    assert len(list(RowBatches(rows))) == 1
    monkeypatch.setattr(arrow, "BATCH_ROWS", 10)
    monkeypatch.setattr(arrow, "BATCH_BYTES", 4096)
    batches = RowBatches(rows)
    tables = list(batches)
    assert [table.num_rows for table in tables] == [10, 4, 3]
    assert {str(table.schema) for table in tables} == {str(pa.table(columns_of(rows)).schema)}
    assert pa.concat_tables(tables).to_pylist() == [{"score": None, **row} for row in rows]
    assert batches.bytes == sum(table.nbytes for table in tables)
    assert rows_sha256(rows[:]) == batches.sha256 != whole(rows)


@pytest.mark.parametrize("other", ["late", 2**53 + 1, [1]], ids=str)
def test_cells_without_a_type_in_common_are_refused_by_column(
    other: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for piece in (1, 100):
        monkeypatch.setattr(arrow, "PIECE", piece)
        with pytest.raises(DataError, match=r"column `score`"):
            RowBatches([{"score": 0.5}, {"score": other}])
