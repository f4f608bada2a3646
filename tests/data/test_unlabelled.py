"""Rows to predict, from files and standard input."""

import io
from pathlib import Path

import pytest

from ftr.errors import DataError
from readers import QA, TEXT, unlabelled


def test_a_file_needs_no_labels_and_bad_rows_are_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review\ngood\nbad\n", encoding="utf-8")
    rows = unlabelled(path, TEXT)
    assert rows.rows == [{"id": "predict-1", "text": "good"}, {"id": "predict-2", "text": "bad"}]
    assert rows.places == ["a.csv:2", "a.csv:3"]
    (tmp_path / "b.jsonl").write_text(
        '{"id": "k", "text": "good", "label": 1}\n{"text": ""}\n{"id": "k", "text": "twice"}\n',
        encoding="utf-8",
    )
    more = unlabelled(tmp_path / "b.jsonl", TEXT)
    assert more.rows == [{"id": "k", "text": "good"}, {"id": "k", "text": "twice"}]
    assert more.rejected == [("b.jsonl:2", "empty text", 1)]


def test_a_text_file_is_one_text_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\nbad\n", encoding="utf-8")
    assert [row["text"] for row in unlabelled(tmp_path / "a.txt", TEXT).rows] == [
        "good",
        "bad",
    ]


def test_standard_input_is_jsonl_or_text() -> None:
    lines = '{"question": "Who?", "context": "Ada."}\n'
    assert unlabelled("-", QA, stdin=io.StringIO(lines)).rows == [
        {"id": "predict-1", "question": "Who?", "context": "Ada."}
    ]
    assert [
        row["text"] for row in unlabelled("-", TEXT, stdin=io.StringIO("good\nbad\n")).rows
    ] == ["good", "bad"]
    with pytest.raises(
        DataError, match="standard input is plain text, but a row needs `question`, `context`"
    ):
        unlabelled("-", QA, stdin=io.StringIO("who?\n"))
    with pytest.raises(DataError, match="standard input is empty"):
        unlabelled("-", TEXT, stdin=io.StringIO(""))
