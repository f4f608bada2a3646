"""Rows to predict in pieces: the same rows, places and causes as when a file is read at once."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftr.data import files, stream, tables
from ftr.data import pieces as parts
from ftr.errors import DataError
from ftr.registry.schema import RowSchema
from ftr_plugins.token_classification.head import TokenClassificationHead
from readers import QA, TEXT, Unlabelled, unlabelled

CASES = Path(os.environ.get("FTR_CASES", Path(__file__).parents[3] / "shared" / "cases"))
COUNT = 400
NER: RowSchema = TokenClassificationHead().schema


def rows(line: Callable[[int], str], header: str = "") -> str:
    """Return a line for each number, below a header."""
    return header + "".join(map(line, range(COUNT)))


def one_in(share: int, number: int, usual: str, other: str) -> str:
    """Return `other` for one of so many numbers."""
    return other if number % share == share - 1 else usual


TEXTS: dict[str, str | bytes] = {
    "plain.csv": rows(lambda n: f"{n},text {n} é,{n % 3}\n", "id,review,stars\n"),
    "quoted.csv": rows(lambda n: f'"a ""film"", {n}\nand\r\nmore",x\r\n', "text,note\r\n"),
    "semicolon.csv": rows(lambda n: f"good {n};1\n", "text;label\n"),
    "excel.csv": "sep=;\r\n" + rows(lambda n: f"good, {n};1\r\n", "text;label\r\n"),
    "ragged.csv": rows(
        lambda n: one_in(7, n, f"text {n},1\n", one_in(2, n, "\n", "a,b,c\n")), "text,label\n"
    ),
    "joined.csv": rows(lambda n: one_in(50, n, f"text {n},1\n", "text,label\n"), "text,label\n"),
    "headless.csv": rows(lambda n: f"{n % 2},a text of {n} words\n"),
    "empty.csv": rows(lambda n: f"{one_in(5, n, 'a b', ' ')},{n}\n", "text,n\n"),
    "lone.tsv": rows(lambda n: f'{n}\the said "{n}\n', "id\tsentence\n"),
    "quotes.tsv": rows(lambda n: f'{n}\t"a ""b""\tc {n}"\n', "id\ttext\n"),
    "lines.txt": rows(lambda n: one_in(9, n, f"line {n}\u2028x\r\n", "\n")),
    "header.txt": rows(lambda n: f"{n}\ttext {n}\n", "id\ttext\n"),
    "objects.jsonl": rows(
        lambda n: one_in(11, n, json.dumps({"id": n, "text": f"a {n}"}), '{"text":') + "\n"
    ),
    "lists.jsonl": rows(lambda n: one_in(6, n, '{"text": "a"}', "[1]") + "\r\n"),
    "halves.jsonl": rows(lambda n: one_in(4, n, '{"text": "a"}', r'{"text": "\ud83d"}') + "\n"),
    "bytes.csv": rows(lambda n: f"{one_in(8, n, 'a', 'é')},{n}\n", "text,n\n").encode("latin-1"),
    "mark.csv": b"\xef\xbb\xbf" + rows(lambda n: f"a {n},1\n", "text,label\n").encode(),
    "wide.csv": rows(lambda n: f"a {n} é,1\n", "text,label\n").encode("utf-16"),
    "one.json": json.dumps([{"text": f"a {n}"} for n in range(COUNT)]),
    "pretty.jsonl": json.dumps([{"text": f"a {n}"} for n in range(COUNT)], indent=1),
    "after.csv": rows(lambda n: f"a {n},1\r", "text,label\r"),
}
PARAGRAPH = {"context": "Ada met Bo.", "qas": [{"id": "q", "question": "Who?", "answers": []}]}
QUESTIONS = {
    "mrqa.jsonl": '{"header": {}}\n' + rows(lambda n: json.dumps(PARAGRAPH) + "\n"),
    "squad.json": json.dumps({"data": [{"paragraphs": [PARAGRAPH]}] * 100}),
    "lines.jsonl": json.dumps({"data": [{"paragraphs": [PARAGRAPH]}] * 100}, indent=1),
}
SENTENCES = {
    "tags.conll": rows(lambda n: f"Ada{n} B-PER\nruns O\n\n"),
    "words.csv": rows(lambda n: f'"[""Ada"", ""{n}""]"\n', "tokens\n"),
}
ALL = (
    [(name, content, TEXT) for name, content in TEXTS.items()]
    + [(name, content, QA) for name, content in QUESTIONS.items()]
    + [(name, content, NER) for name, content in SENTENCES.items()]
)
OPTIONS: dict[str, dict[str, Any]] = {"wide.csv": {"encoding": "utf-16"}}


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Unlabelled]:
    """Read a file whose first 2000 bytes decide, few rows and bytes at a time."""

    def read(path: Path, schema: RowSchema = TEXT, **options: Any) -> Unlabelled:
        with monkeypatch.context() as patch:
            patch.setattr(stream, "HEAD", 2000)
            for module in (parts, stream, tables):
                patch.setattr(module, "PIECE", 7)
            patch.setattr(files, "_BLOCK", 100)
            return unlabelled(path, schema, **options)

    return read


def same(found: Unlabelled, known: Unlabelled) -> None:
    """Compare all but the notes."""
    assert found.rows == known.rows and found.places == known.places
    assert found.rejected == known.rejected and found.ids == known.ids


@pytest.mark.parametrize(("name", "content", "schema"), ALL, ids=[name for name, _, _ in ALL])
def test_a_file_gives_the_same_rows_in_pieces_as_at_once(
    name: str,
    content: str | bytes,
    schema: RowSchema,
    tmp_path: Path,
    pieces: Callable[..., Unlabelled],
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    known = unlabelled(path, schema, **OPTIONS.get(name, {}))
    found = pieces(path, schema, **OPTIONS.get(name, {}))
    same(found, known)
    assert len(known.ids) >= 100
    whole = name.endswith((".json", ".conll")) or name in ("pretty.jsonl", "lines.jsonl")
    assert any("as a whole" in note for note in found.notes) == whole
    assert [note for note in found.notes if "as a whole" not in note] == [
        note for note in known.notes if "blank" not in note
    ] + [note for note in known.notes if "blank" in note]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
def test_a_packed_file_gives_the_same_rows_in_pieces(
    ending: str, tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    content = str(TEXTS["quoted.csv"]).encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("quoted.csv", content)
    packed = {
        ".gz": gzip.compress(content[:900]) + gzip.compress(content[900:]),
        ".bz2": bz2.compress(content),
        ".xz": lzma.compress(content),
        ".zip": zipped.getvalue(),
    }[ending]
    path = tmp_path / f"quoted.csv{ending}"
    path.write_bytes(packed)
    same(pieces(path), unlabelled(path))
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"damaged or truncated|zip archive that cannot be read"):
        pieces(path)


@pytest.mark.parametrize("form", ["parquet", "arrow", "file.arrow", "saved"])
def test_columns_of_arrow_give_the_same_rows_in_pieces(
    form: str, tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    import datasets
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "text": pa.array([one_in(5, n, f"a {n}", " ") for n in range(COUNT)]),
            "number": pa.array(range(COUNT), pa.int32()),
        }
    )
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=50)
    elif form == "saved":
        datasets.Dataset(table).save_to_disk(path)
    else:
        opened = pa.ipc.new_file if form == "file.arrow" else pa.ipc.new_stream
        with opened(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=33)
    from ftr.data.layout import read_table
    from ftr.data.rows import PREDICT
    from ftr.data.tables import read_saved

    options = stream.Reader.of(stream.Source(path), TEXT).options
    known = read_saved(path)[0] if form == "saved" else read_table(path, PREDICT, options, TEXT)[0]
    found = pieces(path)
    assert len(found.ids) == COUNT and len(found.rejected) == COUNT // 5
    assert sorted(found.places + [place for place, _, _ in found.rejected]) == sorted(known.places)
    texts = [record[0] for record in known.records if str(record[0]).strip()]
    assert [row["text"] for row in found.rows] == texts


@pytest.mark.data
@pytest.mark.skipif(not CASES.is_dir(), reason="no cases: set FTR_CASES")
def test_the_cases_give_the_same_rows_in_pieces(pieces: Callable[..., Unlabelled]) -> None:
    read = 0
    for path in sorted(CASES.rglob("*")):
        if path.is_file():
            for schema in (TEXT, QA):
                answers: list[Unlabelled | str] = []
                for one in (unlabelled, pieces):
                    try:
                        answers.append(one(path, schema))
                    except DataError as error:
                        answers.append(str(error))
                found, known = answers
                if isinstance(found, Unlabelled) and isinstance(known, Unlabelled):
                    same(found, known)
                    read += 1
                else:
                    assert found == known
    assert read > 50


@pytest.mark.parametrize(
    ("name", "later", "message"),
    [
        ("a.csv", '"never closed\n' + "more,1\n" * 9, r"row beginning on line 402: .* line 402 is"),
        ("a.csv", '"a"b,1\n', r"row beginning on line 402"),
    ],
)
def test_a_later_row_that_breaks_the_file_is_named(
    name: str, later: str, message: str, tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    path = tmp_path / name
    path.write_text(rows(lambda n: f"text {n},1\n", "text,label\n") + later, encoding="utf-8")
    for read in (unlabelled, pieces):
        with pytest.raises(DataError, match=message):
            read(path)


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_a_later_byte_of_another_encoding_is_named(
    encoding: str, tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    path = tmp_path / "a.csv"
    text = rows(lambda n: f"text {n},1\n", "text,label\n")
    path.write_bytes(
        text.encode(encoding) + (b"\xff" if encoding == "ascii" else b"\x00\xdc\n\x00")
    )
    found = []
    for read in (unlabelled, pieces):
        with pytest.raises(DataError, match="cannot be decoded") as error:
            read(path, encoding=encoding)
        found.append(str(error.value).partition(" cannot")[0])
    assert found[0] == found[1]


def test_a_quote_that_means_something_after_the_head_is_a_rejected_row(
    tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    path = tmp_path / "a.tsv"
    text = rows(lambda n: f"{n}\ttext {n}\n", "id\ttext\n")
    path.write_text(text + 'x\t"a ""quoted"" cell"\ny\ta "lone quote\n', encoding="utf-8")
    found = pieces(path)
    assert [(place, cause) for place, cause, _ in found.rejected] == [
        ("a.tsv:402", "a quoted cell, unlike the first rows")
    ]
    assert found.rows[-1]["text"] == 'a "lone quote'


def test_a_column_that_the_head_reads_must_be_in_the_first_rows(
    tmp_path: Path, pieces: Callable[..., Unlabelled]
) -> None:
    path = tmp_path / "a.jsonl"
    later = '{"text": "a", "text_pair": "b"}\n{"text": "a", "other": 1}\n{"sentence": "a"}\n'
    path.write_text(rows(lambda n: '{"text": "a"}\n') + later, encoding="utf-8")
    assert [(place, cause) for place, cause, _ in pieces(path).rejected] == [
        ("a.jsonl:401", "the first rows have no column `text_pair`"),
        ("a.jsonl:403", "empty text"),
    ]


def test_standard_input_may_be_packed_and_is_read_in_pieces(
    pieces: Callable[..., Unlabelled], tmp_path: Path
) -> None:
    lines = str(TEXTS["objects.jsonl"])
    (tmp_path / "stdin").write_text(lines, encoding="utf-8")
    known = unlabelled("-", stdin=io.StringIO(lines))
    packed = io.TextIOWrapper(io.BytesIO(gzip.compress(lines.encode())))
    same(pieces(Path("-"), stdin=packed), known)
    assert len(known.ids) == COUNT and known.places[0] == "stdin:1"


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_long_quoted_cell_may_be_cut_by_the_end_of_the_first_bytes(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEAD", 300_000)
    delimiter = "," if ending == ".csv" else "\t"
    cell = '"' + 'a ""word""\n' * 10_000 + '"'
    path = tmp_path / f"a{ending}"
    rows = "".join(f"{cell}{delimiter}{number}\n" for number in range(6))
    path.write_text(f"text{delimiter}n\n{rows}", encoding="utf-8")
    found = unlabelled(path)
    assert len(found.rows) == 6 and {row["text"] for row in found.rows} == {'a "word"\n' * 10_000}
    path.write_text('"' + path.read_text(encoding="utf-8").replace('"', ""), encoding="utf-8")
    if ending == ".csv":
        with pytest.raises(DataError, match="line 1 is never closed"):
            unlabelled(path)
