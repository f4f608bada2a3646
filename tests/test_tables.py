"""Tables: one style, fitted to a terminal, whole through a pipe, and data is never a colour."""

import sys

import pytest
from rich.cells import cell_len

from ftr.tables import table, table_width
from ftr.terminal import answer, styled

ROWS = [
    ("name", "status", "score", "summary"),
    ("a-run", "done", "0.5", "words that are far too many for a terminal so narrow"),
    ("b-run", "failed", "-", "[red]no markup[/red] :bug: \x1b[31mno colour"),
]


def test_a_terminal_wraps_texts_and_colours_header_and_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    answer("\n".join(table(ROWS)))
    coloured = capsys.readouterr().out
    assert "\x1b[1mname" in coloured and "\x1b[32mdone" in coloured and "\x1b[31mfailed" in coloured
    assert "\x1b[31mno" not in coloured and "\\u001b" in coloured and "[red]no" in coloured
    assert ":bug:" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    lines = table(ROWS)
    answer("\n".join(lines))
    assert "\x1b" not in capsys.readouterr().out
    assert max(map(cell_len, lines)) <= 40 and lines[1].split()[:3] == ["a-run", "done", "0.5"]
    words = {word for line in lines for word in line.split()}
    assert words >= set(str(ROWS[1][3]).split())
    assert [line.rstrip()[-1] for line in table(ROWS, cut=True)[1:]] == ["…", "…"]


def test_a_pipe_gets_all_of_a_row_in_one_line_and_colours_only_if_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "")
    assert len(table(ROWS)) == 3 and max(map(len, table(ROWS))) == table_width(ROWS) > 40
    assert styled("text", "red") == "text"
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer(styled("text", "red"))
    assert capsys.readouterr().out == "\x1b[31mtext\x1b[0m\n"


def test_words_break_only_where_nothing_else_fits() -> None:
    rows = [("kind", "name", "about"), ("a", "multi-label-classification", "some more words " * 2)]
    assert "multi-label-classification" in table(rows, width=44)[1]
    narrow = table(rows, width=30)
    assert max(map(cell_len, narrow)) <= 30 and "multi-label-classification" not in narrow[1]


def test_wide_letters_count_twice() -> None:
    lines = table([("name", "value"), ("日本", "x"), ("e\u0301", "y")])
    assert [cell_len(line) for line in lines[1:]] == [7, 7]
