"""`ftr compare`: rows that are the same, rows that are not, what changed, and what fails a build."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import ConfigError, RequestError
from ftr.results.compare import _matched
from ftr.runs.heldout import held_out
from trainings import lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TRUE = {"negative": 0, "neutral": 1, "positive": 2}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def changed(run: RunResult, path: Path, label: str, rows: int = 5) -> Path:
    """Write the predictions of a run with `label` for the first rows."""
    found = lines(run.path / "predictions" / "test.jsonl")
    number = run.record["labels"].index(label)
    for one in found[:rows]:
        one.update(label=label, label_id=number)
    return write(path, found)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_compared_with_itself_differs_in_nothing(classifier: RunResult) -> None:
    found = ftr.compare(classifier.path, classifier.path)
    (one,) = found.against
    assert found.rows == len(lines(classifier.path / "predictions" / "test.jsonl"))
    assert {each.value for each in one.differences.values()} == {0.0}
    assert {each.p for each in one.differences.values()} == {1.0}
    assert one.changed == []
    assert one.settings == {}
    scores = classifier.record["scores"]["test"]
    assert {name: each.first for name, each in one.differences.items()} == {
        name: value for name, value in scores.items() if isinstance(value, float)
    }


def test_changed_rows_are_counted_and_named(classifier: RunResult, tmp_path: Path) -> None:
    label = classifier.record["labels"][0]
    other = changed(classifier, tmp_path / "other.jsonl", label)
    (one,) = ftr.compare(classifier.path, other).against
    before = lines(classifier.path / "predictions" / "test.jsonl")[:5]
    differ = {record["id"] for record in before if record["label"] != label}
    assert one.rows is not None
    assert {row["id"] for row in one.changed} <= differ
    assert len(one.changed) == one.rows["first"] + one.rows["second"]
    for row in one.changed:
        assert row["second"] == label
        assert (row["first"] == row["expected"]) != (row["second"] == row["expected"])
    assert one.settings is None


def test_a_constant_prediction_is_scored(classifier: RunResult, tmp_path: Path) -> None:
    label = classifier.record["labels"][0]
    other = changed(classifier, tmp_path / "other.jsonl", label, rows=10_000)
    (one,) = ftr.compare(classifier.path, other).against
    true = [each["expected"] for each in _expected(classifier)]
    assert one.differences["accuracy"].second == pytest.approx(true.count(label) / len(true))


def test_answers_are_compared_too(reader: RunResult, tmp_path: Path) -> None:
    found = lines(reader.path / "predictions" / "test.jsonl")
    for one in found:
        one["answer"] = ""
    other = write(tmp_path / "empty.jsonl", found)
    comparison = ftr.compare(reader.path, other)
    (one_side,) = comparison.against
    assert comparison.units.name != "rows"
    assert one_side.differences["NoAns_f1"].second == 100.0
    assert one_side.differences["f1"].test == "permutation"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[1:], "1 are missing, 0 have other ids"),
        (lambda rows: [*rows, {**rows[0], "id": "new"}], "0 are missing, 1 have other ids"),
        (lambda rows: [*rows, rows[0]], "0 are missing, 1 have other ids"),
        (lambda rows: [{"id": rows[0]["id"], "error": "no text"}, *rows[1:]], "1 are errors"),
        (lambda rows: [{**rows[0], "label": "wonderful"}, *rows[1:]], "wonderful"),
        (lambda rows: [{"label": "positive"}, *rows[1:]], "`id`"),
    ],
)
def test_predictions_of_other_rows_are_refused_with_counts(
    classifier: RunResult, tmp_path: Path, change: Any, words: str
) -> None:
    found = lines(classifier.path / "predictions" / "test.jsonl")
    path = write(tmp_path / "other.jsonl", change(found))
    with pytest.raises(RequestError, match=words):
        ftr.compare(classifier.path, path)


def test_runs_on_other_rows_are_refused_with_counts(
    classifier: RunResult, tmp_path: Path, reviews: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(classifier.path, copy)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    other = tmp_path / "reviews.csv"
    text = reviews.read_text(encoding="utf-8")
    other.write_text(text.replace("the", "this"), encoding="utf-8")
    assert text != other.read_text(encoding="utf-8")
    moved = json.loads(json.dumps(record).replace(str(reviews), str(other)))
    for split in moved["data"]["splits"].values():
        split.pop("sha256")
    (copy / "run.json").write_text(json.dumps(moved), encoding="utf-8")
    with pytest.raises(RequestError, match=r"have the same id and \d+ also the same content"):
        ftr.compare(classifier.path, copy)


def test_heads_that_differ_are_refused(classifier: RunResult, reader: RunResult) -> None:
    with pytest.raises(RequestError, match="extractive-qa"):
        ftr.compare(classifier.path, reader.path)


def test_files_alone_are_refused(classifier: RunResult) -> None:
    path = classifier.path / "predictions" / "test.jsonl"
    with pytest.raises(RequestError, match="only files of predictions"):
        ftr.compare(path, path)


def test_lost_predictions_are_refused(classifier: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(classifier.path, copy)
    (copy / "predictions" / "test.jsonl").unlink()
    with pytest.raises(RequestError, match=r"test\.jsonl` does not exist"):
        ftr.compare(classifier.path, copy)


def test_rows_that_repeat_are_taken_in_order(classifier: RunResult) -> None:
    found = held_out(classifier.path)
    one, *others = found.rows
    changed_text = {**one, "text": "another text under the same id"}
    base = replace(found, rows=[one, one, changed_text, *others])
    assert _matched("x", base, base) == list(range(len(base.rows)))
    turned = replace(found, rows=[changed_text, one, *others, one])
    assert _matched("x", turned, base) == [
        1,
        len(turned.rows) - 1,
        0,
        *range(2, len(turned.rows) - 1),
    ]


def test_a_worse_run_fails_the_build(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = lines(classifier.path / "predictions" / "test.jsonl")
    true = {one["id"]: one["expected"] for one in _expected(classifier)}
    labels = classifier.record["labels"]
    perfect = write(
        tmp_path / "right.jsonl",
        [
            {**one, "label": true[one["id"]], "label_id": labels.index(true[one["id"]])}
            for one in rows
        ],
    )
    wrong = write(
        tmp_path / "wrong.jsonl",
        [
            {**one, "label": other, "label_id": labels.index(other)}
            for one in rows
            for other in [next(label for label in labels if label != true[one["id"]])]
        ],
    )
    run = classifier.path
    gate = ["--fail-if-worse", "accuracy", "--fail-if-worse", "f1"]
    assert main(["compare", str(wrong), str(perfect), str(run), *gate]) == 3
    shown = capsys.readouterr().out
    assert "worse: accuracy: 1 worse" in shown
    assert max(map(len, shown.splitlines())) <= 80 + len(str(tmp_path))
    assert main(["compare", str(perfect), str(wrong), str(run), *gate]) == 0
    assert main(["compare", str(run), str(run), *gate, "--margin", "0"]) == 0
    assert main(["compare", str(wrong), str(perfect), str(run), *gate, "--margin", "0.5"]) == 3


def _expected(run: RunResult) -> list[dict[str, Any]]:
    found = held_out(run.path)
    return [
        {"id": row["id"], "expected": found.labels[int(str(row["label"]))]} for row in found.rows
    ]


def test_a_score_that_is_none_and_a_margin_alone_are_refused(
    classifier: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(classifier.path)
    with pytest.raises(ConfigError, match="accuracy"):
        ftr.compare(run, run).worse(["acuracy"])
    for arguments in (["--margin", "0.1"], ["--fail-if-worse", "f1", "--margin", "-1"]):
        assert main(["compare", run, run, *arguments]) == 2
    assert main(["compare", run]) == 2
    assert "2 to 26 runs" in capsys.readouterr().err


def test_the_answer_has_every_number(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = classifier.record["labels"][0]
    other = changed(classifier, tmp_path / "other.jsonl", label)
    found = as_json(capsys, classifier.path, other, classifier.path, "--show", 1)
    assert found["worse"] == []
    assert len(found["against"]) == 2
    one = found["against"][0]
    assert len(one["changed"]) <= 1
    each = one["differences"]["accuracy"]
    assert each["difference"] == pytest.approx(each["first"] - each["second"])
    assert each["p_adjusted"] >= each["p"]


@pytest.mark.parametrize(
    ("ending", "content"), [(".csv", b"id,label\n1,a\n"), (".parquet", b"\xff")]
)
def test_tables_of_predictions_are_refused_by_their_form(
    ending: str, content: bytes, classifier: RunResult, tmp_path: Path
) -> None:
    table = tmp_path / f"a{ending}"
    table.write_bytes(content)
    with pytest.raises(RequestError, match=rf"compared as JSON lines, not as `{ending}`"):
        ftr.compare(classifier.path, table)
