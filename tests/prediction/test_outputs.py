"""Parts of an output, and the file that they become."""

import csv
from pathlib import Path

import pytest

from ftr.cli.main import main
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
