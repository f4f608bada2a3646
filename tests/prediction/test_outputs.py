"""Parts of an output, and the file that they become."""

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ftr.cli.main import main
from ftr.data import tables
from ftr.prediction import blocks
from ftr.prediction.job import Job
from ftr.prediction.outputs import Layout
from ftr.runs.run import RunResult


@pytest.mark.parametrize("odd", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a\u2028b", " a,b "])
def test_any_text_is_read_back_from_a_table_also_where_a_column_comes_late(
    odd: str, tmp_path: Path
) -> None:
    job = Job(tmp_path / "out.csv", "csv", {"model": {"name": "a"}}, Layout())
    with job.opened(resume=False):
        job.remember({"reserved": ["id"]})
        job.add([{"s": odd, "id": "1"}], "first")
    again = Job(tmp_path / "out.csv", "csv", {"model": {"name": "a"}}, Layout())
    with again.opened(resume=True):
        assert [part.digest for part in again.parts] == ["first"]
        again.add([{"s": "c", odd: "late", "id": "2"}], "second")
        again.finish()
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["s"] for row in rows] == [odd, "c"] and rows[1][odd] == "late"


def test_columns_of_one_name_are_numbered(classifier: RunResult, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,x,x,x\na good film,1,2,3\n", encoding="utf-8")
    output = tmp_path / "out.csv"
    words = ["predict", str(classifier.path), str(tmp_path / "a.csv"), "--output", str(output)]
    assert main(words) == 0
    with output.open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["x"], row["x_2"], row["x_3"]) == ("1", "2", "3")


def test_names_of_columns_that_are_no_utf_8_are_escaped(
    classifier: RunResult, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes("text,caf\xe9\na good film,1\n".encode("latin-1"))
    output = tmp_path / "out.csv"
    words = ["predict", str(classifier.path), str(tmp_path / "a.csv"), "--output", str(output)]
    assert main(words) == 0
    header = output.read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("text,caf")


def test_the_best_labels_replace_no_column_of_the_input(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("text,label_1,score_1\na good film,AAA,0.1\n", encoding="utf-8")
    output = tmp_path / "out.csv"
    words = ["predict", str(classifier.path), str(tmp_path / "a.csv"), "--output", str(output)]
    assert main([*words, "--top-k", "1"]) == 0
    with output.open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["input_label_1"], row["input_score_1"]) == ("AAA", "0.1")
    assert row["label_1"] == row["label"]
    assert "`label_1` is `input_label_1`" in capsys.readouterr().err


def joined(folder: Path, *parts: list[object]) -> tuple[list[object], str, list[str]]:
    """Return the values of a column written in parts as Parquet, its type, and the notes."""
    from pyarrow import parquet

    job = Job(folder / "out.parquet", "parquet", {"model": {"name": "a"}}, Layout())
    with job.opened(resume=False):
        job.remember({"reserved": ["id"]})
        for part in parts:
            job.add([{"n": value, "id": "1"} for value in part], "digest")
        notes = job.finish()
    table = parquet.read_table(folder / "out.parquet")
    return table["n"].to_pylist(), str(table.schema.field("n").type), notes


LARGE = 2**53 + 1
MIXED = ["column `n` is written as text: it has values of several types"]


@pytest.mark.parametrize(
    ("parts", "values", "kind", "notes"),
    [
        (([LARGE], [1.5]), [str(LARGE), "1.5"], "string", MIXED),
        (([LARGE, 1.5],), [str(LARGE), "1.5"], "string", MIXED),
        (([2**53], [1.5]), [2.0**53, 1.5], "double", []),
        (([2**64 - 1], [-3]), [str(2**64 - 1), "-3"], "string", MIXED),
        (([[LARGE]], [[0.5]]), [f"[{LARGE}]", "[0.5]"], "string", MIXED),
        (([{}], [{"a": None}]), ["{}", '{"a": null}'], "string", None),
        (([[{}]],), ["[{}]"], "string", None),
        (([True], [None], [2]), ["true", None, "2"], "string", MIXED),
        (([[]], [["a"]]), [[], ["a"]], "list<element: string>", []),
        (([None], [None]), [None, None], "string", []),
    ],
)
def test_parquet_holds_every_value_or_its_text(
    parts: tuple[list[object], ...],
    values: list[object],
    kind: str,
    notes: list[str] | None,
    tmp_path: Path,
) -> None:
    unknown = ["column `n` is written as text: Parquet has no type for its values"]
    assert joined(tmp_path, *parts) == (values, kind, unknown if notes is None else notes)


def predicted(run: RunResult, given: Path, output: Path) -> Path:
    """Predict a file by the command."""
    assert main(["predict", str(run.path), str(given), "--output", str(output)]) == 0
    return output


def test_columns_of_parquet_keep_their_types_and_are_exact_texts_elsewhere(
    classifier: RunResult, tmp_path: Path
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    text, stamp = pa.string(), pa.timestamp("ns")
    given = pa.table(
        {
            "text": ["a good film", "bad"],
            "time": pa.array([1577836800123456789, None], stamp),
            "times": pa.array([[1577836800123456789], None], pa.list_(stamp)),
            "clock": pa.array([123456789000, None], pa.time64("ns")),
            "day": pa.array([dt.date(2020, 1, 1), None]),
            "bytes": pa.array([b"\xff\x00", None]),
            "pairs": pa.array([[("a", 1)], None], pa.map_(text, pa.int64())),
            "share": pa.array([0.1, None], pa.float32()),
        }
    )
    parquet.write_table(given, tmp_path / "in.parquet")
    given = parquet.read_table(tmp_path / "in.parquet")
    output = predicted(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert parquet.read_table(output).select(given.column_names).equals(given)
    row = json.loads(
        predicted(classifier, tmp_path / "in.parquet", tmp_path / "o.jsonl")
        .read_text()
        .split("\n")[0]
    )
    with predicted(classifier, tmp_path / "in.parquet", tmp_path / "o.csv").open() as stream:
        cells = next(csv.DictReader(stream))
    for found in (row, cells):
        assert found["time"] == "2020-01-01 00:00:00.123456789" and found["day"] == "2020-01-01"
        assert found["bytes"] == "\\xff\x00"


@pytest.mark.parametrize("kind", ["timestamp", "date", "clock", "list"])
def test_times_that_python_has_no_room_for_are_their_texts(
    kind: str, classifier: RunResult, tmp_path: Path
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    far = 253402300800 * 10**6
    column, expected = {
        "timestamp": (pa.array([far], pa.timestamp("us")), "10000-01-01 00:00:00.000000"),
        "date": (pa.array([4_000_000], pa.date32()), "12921-08-18"),
        "clock": (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
        "list": (
            pa.array([[far]], pa.list_(pa.timestamp("us"))),
            '["10000-01-01 00:00:00.000000"]',
        ),
    }[kind]
    parquet.write_table(pa.table({"text": ["a good film"], "when": column}), tmp_path / "a.parquet")
    for name in ("o.csv", "o.parquet"):
        output = predicted(classifier, tmp_path / "a.parquet", tmp_path / name)
        rows: list[dict[str, Any]]
        if name == "o.csv":
            rows = list(csv.DictReader(output.open()))
        else:
            rows = parquet.read_table(output).to_pylist()
        found = rows[0]["when"]
        assert (json.dumps(found) if isinstance(found, list) else found) == expected


def test_a_column_that_comes_late_changes_no_name(
    classifier: RunResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    monkeypatch.setattr("ftr.data.stream.HEAD", 100)
    monkeypatch.setattr(tables, "PIECE", 2)
    rows = [{"text": "a good film", "label": f"L{n}"} for n in range(4)]
    rows += [{**row, "input_label": "late", "score": "mine"} for row in rows]
    given = tmp_path / "a.jsonl"
    given.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with predicted(classifier, given, tmp_path / "o.csv").open() as stream:
        found = list(csv.DictReader(stream))
    assert [row["input_label"] for row in found] == [row["label"] for row in rows]
    assert [row["input_input_label"] for row in found] == [""] * 4 + ["late"] * 4
    assert [row["input_score"] for row in found] == [""] * 4 + ["mine"] * 4
    err = capsys.readouterr().err
    assert "renamed: `label` is `input_label`\n" in err
    assert "`input_label` is `input_input_label`, `score` is `input_score`" in err


def test_json_lines_have_no_numbers_that_json_lacks(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "a.jsonl"
    given.write_text('{"text": "good", "n": NaN, "m": [1e999, 1.5]}\n', encoding="utf-8")
    written = predicted(classifier, given, tmp_path / "o.jsonl").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(classifier.path), str(given), "--columns", "all"]) == 0
    for line in (written, capsys.readouterr().out):
        row = json.loads(line, parse_constant=pytest.fail)
        assert row["n"] is None and row["m"] == [None, 1.5]


def test_large_cells_that_the_model_does_not_read_end_a_block_too(tmp_path: Path) -> None:
    from ftr.data.stream import Reader, Source
    from readers import TEXT

    given = tmp_path / "a.jsonl"
    cells: list[object] = ["x" * 300_000, ["x" * 300_000], {"a": "x" * 300_000}, "x" * 300_000]
    lines = [json.dumps({"text": "good", "extra": cell}) + "\n" for cell in cells]
    given.write_text("".join(lines), encoding="utf-8")
    source = Source.open(given)
    assert [len(block.lines) for block in blocks.blocks(Reader.of(source, TEXT))] == [4]
    source.close()
    given.write_text("".join(lines * 2), encoding="utf-8")
    source = Source.open(given)
    assert [len(block.lines) for block in blocks.blocks(Reader.of(source, TEXT))] == [4, 4]
    source.close()


def test_a_row_of_empty_cells_is_answered_by_an_error(
    classifier: RunResult, tmp_path: Path
) -> None:
    given = tmp_path / "a.csv"
    given.write_text(',\ntext,n\ngood,1\n,\n\n"",\nbad,2\n', encoding="utf-8")
    with predicted(classifier, given, tmp_path / "o.csv").open() as stream:
        found = list(csv.DictReader(stream))
    assert [row["n"] for row in found] == ["1", "", "", "2"]
    assert [(row["error"], row["place"]) for row in found if row["error"]] == [
        ("empty text", "a.csv:4"),
        ("empty text", "a.csv:6"),
    ]


def test_a_folder_may_have_an_equals_sign_in_its_name(
    classifier: RunResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ftr.cli.predict import _words

    monkeypatch.chdir(tmp_path)
    (tmp_path / "year=2026").mkdir()
    (tmp_path / "year=2026" / "a.csv").write_text("text\na good film\n", encoding="utf-8")
    words = ["year=2026/*.csv", "dataset.text=text", "year=2026/a.csv", "no/year=1/*.csv"]
    assert _words(words) == ([words[0], *words[2:]], [words[1]])
    assert main(["predict", str(classifier.path), "no/year=1/a.csv"]) == 2
    assert "`no/year=1/a.csv` does not exist" in capsys.readouterr().err
