"""Training files read a table at a time, and prepared from disk: the same as at once in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftr.config.schema import AugmentConfig, CvConfig, DataConfig
from ftr.data import pieces, store, tables
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.data.shards import Source
from ftr.errors import DataError
from readers import QA, TEXT, head_of, load

COUNT = 900


def line(number: int) -> dict[str, Any]:
    """Return a row; some have no text, some no label, some repeat another."""
    text = f"a text – of number {number % 800}" if number % 97 else " "
    return {"text": text, "label": ("bad", " good", "so")[number % 3] if number % 89 else None}


def delimited(mark: str) -> str:
    """Return a table with a blank line and lines of another width."""
    rows = [line(number) for number in range(COUNT)]
    lines = [f"{row['text']}{mark}{row['label'] or ''}" for row in rows]
    lines[50], lines[700], lines[800] = "", f"a{mark}b{mark}c", f"text{mark}label"
    return "\n".join([f"text{mark}label", *lines, ""])


def jsonl() -> str:
    """Return JSON lines; a column of the head comes in the last line only."""
    rows = [line(number) for number in range(COUNT)]
    rows[-1]["text_pair"] = "late"
    rows[300] = []  # type: ignore[call-overload]
    return "\n".join(map(json.dumps, rows))


def questions() -> str:
    """Return a table of questions, each answer in a row of its own."""
    rows = ["id,title,context,question,answers,answer_start"]
    for number in range(300):
        context = f"The mill {number // 4} was built by hand."
        for answer in ("mill", "hand"):
            start = context.index(answer) + (number % 50 == 0)
            rows.append(f"q{number},t{number // 9},{context},What is {number}?,{answer},{start}")
    return "\n".join(rows)


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(delimited(";").encode()))


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([line(number) for number in range(COUNT)]), path)


def write_arrow(path: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist([line(number) for number in range(COUNT)])
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)


def write_saved(path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    rows = [{"text": f"a text of {n}", "label": n % 3} for n in range(COUNT)]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["x", "y", "z"])})
    Dataset.from_list(rows, features=features).save_to_disk(path, num_shards=2)


FORMS: dict[str, str | Callable[[Path], None]] = {
    "a.csv": delimited(","),
    "a.tsv": delimited("\t"),
    "a.txt": delimited("\t"),
    "headless.csv": "\n".join(f"{n % 2},a text of {n} words" for n in range(COUNT)),
    "a.jsonl": jsonl(),
    "a.csv.gz": write_gzip,
    "a.parquet": write_parquet,
    "a.arrow": write_arrow,
    "saved": write_saved,
    "questions.csv": questions(),
    "one.json": json.dumps([line(number) for number in range(COUNT)]),
}
FOLDS = DataConfig(
    clean=["whitespace"],
    duplicates="remove",
    bootstrap=3,
    augment=AugmentConfig(copies=1, replace=0.2),
    limit=500,
    sample="random",
    max_invalid=1.0,
)


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def begin() -> None:
        for module in (pieces, tables):
            monkeypatch.setattr(module, "PIECE", 7)
        monkeypatch.setattr(pieces, "HEAD", 2000)
        monkeypatch.setattr(store, "BLOCK", 5)
        monkeypatch.setattr(store, "IN_MEMORY", 0)

    return begin


def prepared(path: Path, data: DataConfig, cv: CvConfig | None) -> tuple[PreparedRows, list[str]]:
    """Return the prepared rows, and the notes and records of reading."""
    schema = QA if path.name == "questions.csv" else TEXT
    loaded = load(path, schema)
    found = prepare_rows(loaded, head_of(schema), data, cv=cv)
    listed = replace(
        found,
        splits={split: list(rows) for split, rows in found.splits.items()},
        rejected=[replace(item, after=0) for item in found.rejected],  # counted in their table
    )
    return listed, [*sorted(loaded.notes), *map(str, loaded.sources)]


@pytest.mark.parametrize("name", FORMS)
def test_a_file_trains_on_the_same_rows_in_pieces(
    name: str, tmp_path: Path, in_pieces: Callable[[], None]
) -> None:
    path, content = tmp_path / name, FORMS[name]
    content(path) if callable(content) else path.write_text(content, encoding="utf-8")
    settings = [(DataConfig(max_invalid=0.5), None), (FOLDS, CvConfig(folds=3))]
    known = [prepared(path, data, cv) for data, cv in settings]
    in_pieces()
    whole = name == "one.json"
    read = list(pieces.source_tables(Source((path,)), "train", _options(), TEXT, whole=False))
    assert [file.whole for file in read] == [whole]
    for (data, cv), (one, notes) in zip(settings, known, strict=True):
        two, others = prepared(path, data, cv)
        assert two == one and others == notes


def _options() -> Any:
    from ftr.config.components import file_options

    return file_options(TEXT)()


@pytest.mark.parametrize(
    ("name", "bad", "error"),
    [
        ("a.csv", b'"never closed,1\n', "row beginning on line 902: the quote that opens on"),
        ("a.csv", b"\xff,1\n", "is not utf-8: byte .*, on line 902, cannot be decoded"),
        ("a.jsonl", b'\n{"text": \n', "not valid JSON at line 901"),
    ],
)
def test_what_breaks_a_large_file_late_is_named(
    name: str, bad: bytes, error: str, tmp_path: Path, in_pieces: Callable[[], None]
) -> None:
    path, content = tmp_path / name, FORMS[name]
    assert isinstance(content, str)
    path.write_bytes(content.encode() + bad)
    in_pieces()
    with pytest.raises(DataError, match=error):
        load(path)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    name: str, tmp_path: Path, in_pieces: Callable[[], None]
) -> None:
    path, content = tmp_path / name, FORMS[name]
    content(path) if callable(content) else path.write_text(content, encoding="utf-8")
    in_pieces()
    (file,) = pieces.source_tables(Source((path,)), "train", _options(), TEXT, whole=False)
    next(file.tables)
    with path.open("ab") as stream:
        stream.write(b"more,good\n")
    with pytest.raises(DataError, match="changed while it was read"):
        list(file.tables)
