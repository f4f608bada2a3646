"""The compact list of rows, and lines of texts that are longer than a part."""

import io

import pytest

from ftr.data import files
from ftr.data.encode import rows_sha256
from ftr.data.files import split_lines
from ftr.data.rows import Row, RowList, column_of

ROWS: list[Row] = [{"id": "a", "text": "x"}, {"id": "b", "n": 1, "text": "y"}, {"text": "z"}]


def test_a_row_list_holds_what_a_list_of_the_same_rows_holds() -> None:
    rows = RowList(ROWS)
    assert rows == ROWS and list(rows) == ROWS and rows[-1] == ROWS[-1] and len(rows) == 3
    assert list(rows[1]) == ["id", "n", "text"]  # the order of the columns decides the hash
    assert rows[1:] == ROWS[1:] and rows.take([2, 0]) == [ROWS[2], ROWS[0]]
    assert rows_sha256(rows) == rows_sha256(ROWS)
    rows[1] = {"text": "changed"}
    rows.insert(0, {"new": 0})
    del rows[-1]
    assert rows == [{"new": 0}, ROWS[0], {"text": "changed"}]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[:2], []])
def test_a_column_is_the_same_of_both_lists(rows: list[Row]) -> None:
    for name in ("id", "text", "n", "none"):
        expected = [row.get(name, "-") for row in rows]
        assert list(column_of(RowList(rows), name, "-")) == expected
        assert list(column_of(rows, name, "-")) == expected
    for several in (rows, RowList(rows)):
        if rows:
            with pytest.raises(KeyError):
                list(column_of(several, "none"))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_lines_do_not_depend_on_the_size_of_the_parts(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a\r\nbb\rc\n\n\r\r\n\x85ü\r"
    monkeypatch.setattr(files, "_BLOCK", size)
    for universal in (True, False):
        whole = io.StringIO(text, newline="" if universal else "\n").readlines()
        assert list(split_lines([text], universal=universal)) == whole
