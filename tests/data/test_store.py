"""Rows that are in memory, and rows in a temporary file: the same sequence either way."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from ftr.data import store
from ftr.data.rows import Rows
from ftr.data.store import RowStore, Store

CELLS: list[Any] = [
    *("", "a", "é \U0001f600", "half \ud83d", b"\xff", None, True, False, 0, 1, -(2**63), 2**70),
    *(1.5, float("inf"), [], ["a", "b"], [1, None], {"text": ["a"], "answer_start": [3]}),
    date(2026, 1, 2),
]


def mixed(count: int) -> list[dict[str, Any]]:
    """Return rows whose cells change their type from row to row; some lack a cell."""
    return [
        {
            "number": number,
            "text": f"text {number}",
            "any": CELLS[number % len(CELLS)],
            **({"some": number % 2 == 0} if number % 3 else {}),
        }
        for number in range(count)
    ]


@pytest.fixture(params=["in memory", "in a file", "partly"])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    limits = {"in memory": 10**6, "in a file": 0, "partly": 3000}
    monkeypatch.setattr(store, "BLOCK", 4)
    monkeypatch.setattr(store, "IN_MEMORY", limits[request.param])
    kind: str = request.param
    return kind


def test_a_store_is_the_sequence_that_was_put_in(small_blocks: str) -> None:
    rows = mixed(59)
    found = RowStore(rows[:10])
    found.extend(rows[10:])
    in_file = found._file is not None
    assert in_file == (small_blocks != "in memory")
    assert len(found) == 59 and found == rows and list(found) == rows
    kinds = [[type(cell) for cell in row.values()] for row in found]
    assert kinds == [[type(cell) for cell in row.values()] for row in rows]
    assert [list(row) for row in found] == [list(row) for row in rows]
    for part in (
        slice(3, 17),
        slice(0, 0),
        slice(-5, None),
        slice(1, 50, 7),
        slice(None, None, -1),
    ):
        assert found[part] == rows[part]
    assert [found[0], found[-1], found[33]] == [rows[0], rows[-1], rows[33]]
    with pytest.raises(IndexError):
        found[59]
    for name in ("text", "any", "some", "none of them"):
        assert list(found.column(name)) == [row.get(name) for row in rows]
    assert found != rows[:-1] and found != [*rows[:-1], {}] and found != "x"


def test_chosen_rows_may_be_chosen_from(small_blocks: str) -> None:
    rows, places = mixed(40), [f"a.csv:{number}" for number in range(40)]
    every = Rows(rows, places)
    some = every.take([1, 5, 6, 20, 39, 38, 2, 2])
    assert some.rows == [rows[n] for n in (1, 5, 6, 20, 39, 38, 2, 2)]
    assert list(some.places) == [places[n] for n in (1, 5, 6, 20, 39, 38, 2, 2)]
    assert list(some.column("text")) == [rows[n]["text"] for n in (1, 5, 6, 20, 39, 38, 2, 2)]
    fewer = some.take([0, 2, 4]).take([1, 2])
    assert fewer.rows == [rows[6], rows[39]] and list(fewer.places) == ["a.csv:6", "a.csv:39"]
    assert list(fewer.column("some")) == [rows[6].get("some"), rows[39].get("some")]
    assert list(fewer.placed()) == [(rows[6], "a.csv:6"), (rows[39], "a.csv:39")]
    assert len(every.take([])) == 0 and every.take([]).rows == []
    with pytest.raises(TypeError, match="cannot be added to"):
        some.extend([{}], ["x"])


def test_a_column_is_replaced_and_the_rows_before_stay(small_blocks: str) -> None:
    rows = mixed(30)
    every = Rows(rows, map(str, range(30)))
    for before in (every, every.take(range(3, 29))):
        given = list(before.rows)
        after = before.replaced("some", lambda cells: [str(cell) for cell in cells])
        assert after.rows == [{**row, "some": str(row.get("some"))} for row in given]
        assert before.rows == given and list(after.places) == list(before.places)


def test_texts_that_utf8_cannot_hold_are_kept(small_blocks: str) -> None:
    texts = ["a", "\udcff", "", "\ud83d\ude00", "b"] * 5
    assert Store(texts) == texts


def test_what_the_disk_refuses_is_one_clear_error(tmp_path: Any) -> None:
    program = """
import resource, signal, sys
from ftr.data import store
from ftr.errors import RunError
store.IN_MEMORY = 0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    store.Store("x" * 1000 for _ in range(10_000))
except RunError as error:
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 1 and done.stderr.strip().endswith("with `TMPDIR`.")
    assert f"cannot write `{tmp_path}`: File too large" in done.stderr


def test_what_is_on_disk_is_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(store, "IN_MEMORY", 2**18)
    peaks = []
    for count in (20_000, 80_000):
        tracemalloc.start()
        found = RowStore({"text": f"{number} " * 30} for number in range(count))
        assert sum(1 for _ in found) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert all(two < 1.2 * one for one, two in pairwise(peaks)), peaks
