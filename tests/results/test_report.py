"""The report of a run, a sweep and a run of several: its numbers are those of the record and of the
rows, and a part that cannot be had is named.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trainings
from browser import Page
from ftr.errors import RequestError
from ftr.results.report.blocks import Facts, Section, Table
from ftr.results.report.collect import collect
from ftr.results.report.write import write_report
from ftr.runs.heldout import held_out
from trainings import ALL_OF_REVIEWS, CLASSES, lines, write_csv

if TYPE_CHECKING:
    from ftr.results.report.blocks import Report
    from ftr.runs.run import RunResult


def section(report: Report, title: str) -> Section:
    return next(one for one in report.sections if one.title == title)


def tables(report: Report, title: str) -> list[Table]:
    return [block for block in section(report, title).simple if isinstance(block, Table)]


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> RunResult:
    """A finished run with errors; its data has columns that the task does not use."""
    folder, rng = tmp_path_factory.mktemp("weak"), random.Random(3)
    rows: list[tuple[object, ...]] = [
        (trainings.review(label, rng), label, f"shop {number % 2}", number, "same")
        for number, label in enumerate(list(CLASSES) * 40)
    ]
    # One in eight has another label than its words say.
    rows = [
        (*row[:1], "good", *row[2:]) if number % 8 == 0 else row for number, row in enumerate(rows)
    ]
    rows.append(("", "good", "shop 0", 0, "same"))
    header = ("review", "sentiment", "Source", "votes", "constant")
    data = write_csv(folder / "reviews.csv", header, rows)
    return trainings.train(
        ALL_OF_REVIEWS, dataset=data, model=tiny_bert, epochs=2, output=folder / "runs"
    )


@pytest.fixture
def copied(weak: RunResult, tmp_path: Path) -> Callable[..., Path]:
    """Copy the finished run, with other values in its record, a value of None leaves a key out."""

    def copy(**changes: Any) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(weak.path, folder, dirs_exist_ok=True)
        record = {**weak.record, **changes}
        kept = {key: value for key, value in record.items() if value is not None}
        (folder / "run.json").write_text(json.dumps(kept), encoding="utf-8")
        return folder

    return copy


def test_a_report_has_the_numbers_of_the_record_and_of_the_rows(
    weak: RunResult, tmp_path: Path
) -> None:
    written = write_report(weak.path, tmp_path / "out")
    report, scores = written.report, weak.record["scores"]["test"]
    assert set(report.missing) == {"members and spread", "suspicious labels"}
    assert report.headlines[0].value == f"{scores['accuracy']:.4f}"
    shown = {row[0]: row[1] for row in tables(report, "Scores")[0].rows}
    ends = weak.record["intervals"]["test"]["accuracy"]
    between = f"{ends['low']:.4f}–{ends['high']:.4f}"
    rounded = f"{ends['low']:.3f}–{ends['high']:.3f}"
    assert shown["accuracy"] == f"{scores['accuracy']:.4f} ({rounded})"
    assert report.headlines[0].detail == f"95 % interval {between}"
    assert shown["f1"].startswith(f"{scores['f1']:.4f}")
    wrong = [one for one in held_out(weak.path).outcomes or () if not one.right]
    mistakes, each = (table.rows for table in tables(report, "Classes"))
    rows = {
        name: str(count) for name, count in weak.record["data"]["splits"]["test"]["labels"].items()
    }
    assert {row[0]: row[1] for row in each} == rows
    assert sum(int(row[2]) for row in mistakes) == len(wrong)
    assert wrong
    every = tables(report, "Scores by slices")[0].rows[0]
    assert every[2:4] == ("24", f"{scores['accuracy']:.3f}")
    low, high = map(float, every[4].split(" to "))
    assert (low, high) == pytest.approx((ends["low"], ends["high"]), abs=0.06)
    by_class = [row for row in tables(report, "Scores by slices")[0].rows if row[1] in CLASSES]
    recall = {name: f"{value:.3f}" for name, value in scores["recall_per_class"].items()}
    assert {row[1]: row[3] for row in by_class} == recall
    abstained = {row[0]: row for row in tables(report, "Abstaining")[0].rows}
    assert abstained["0"][1:] == ("24", "100.0%", f"{1 - scores['accuracy']:.1%}")
    left_out = tables(report, "Data")[2].rows
    assert left_out == [("empty text", "train", "1")]
    for path in (written.html, written.markdown):
        text = path.read_text(encoding="utf-8")
        assert f"{scores['accuracy']:.4f}" in text and "empty text" in text


def test_the_page_names_data_model_settings_and_machine(weak: RunResult) -> None:
    report = collect(weak.path)
    trained = section(report, "What was trained on what")
    facts = next(block for block in trained.blocks if isinstance(block, Facts)).facts
    assert facts["task"] == "sentiment" and "cores" in facts["machine"]
    settings, sources = tables(report, "What was trained on what")
    assert ("learning_rate", "0.005") in [row[:2] for row in settings.rows]
    known = weak.record["data"]["sources"][0]
    assert sources.rows[0][1] == f"{known['sha256'][:16]}…"
    assert not any(origin.startswith("built-in") for *_, origin in settings.rows)


def test_the_page_is_one_file_that_loads_and_runs_nothing(weak: RunResult, tmp_path: Path) -> None:
    page = Page(write_report(weak.path, tmp_path).html.read_text(encoding="utf-8"))
    assert page.dangers() == []
    policy = next(value for _, name, value in page.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert page.tags.count("svg") >= 5
    anchors = {value for _, name, value in page.attributes if name == "id"}
    links = [value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links and set(links) <= anchors
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_reader_has_answers_slices_of_questions_and_excerpts(reader: RunResult) -> None:
    report = collect(reader.path)
    answerable = tables(report, "Classes")[0]
    scores = reader.record["scores"]["test"]
    counts = {row[0]: list(map(int, row[1:])) for row in answerable.rows}
    assert sum(counts["has an answer"]) == scores["HasAns_total"]
    assert sum(counts["has no answer"]) == scores["NoAns_total"]
    rows = tables(report, "Scores by slices")[0].rows
    assert float(rows[0][3]) == pytest.approx(scores["f1"] / 100, abs=6e-4)
    assert {"who", "when", "where"} <= {row[1] for row in rows}
    yes = next(row for row in rows if row[1] == "yes")
    assert float(yes[3]) == pytest.approx(scores["HasAns_f1"] / 100, abs=6e-4)


def test_any_column_of_the_data_can_be_a_slice(weak: RunResult) -> None:
    report = collect(weak.path, ["source", "votes", "constant", "label"])
    shown = tables(report, "Scores by slices")[0].rows
    found = {row[1]: int(row[2]) for row in shown if row[1].startswith("shop")}
    # Made ids count from 1.
    numbers = [int(str(row["id"]).rpartition("-")[2]) - 1 for row in held_out(weak.path).rows]
    expected = Counter(f"shop {number % 2}" for number in numbers)
    assert found == expected
    places = [place for place, row in enumerate(shown) if row[0] == "votes"]
    assert sum(int(row[2]) for row in shown[places[0] : places[0] + 4]) == 24
    assert shown[places[0]][1] == f"{min(numbers)} to {sorted(numbers)[5]}"
    with pytest.raises(RequestError, match=r"--slice colour.*no such column"):
        collect(weak.path, ["colour"])
    with pytest.raises(RequestError, match=r"This column is `text` here"):
        collect(weak.path, ["review"])


def test_a_run_that_failed_or_is_interrupted_has_a_report_of_what_there_is(
    copied: Callable[..., Path],
) -> None:
    run = copied(
        status="failed",
        error="RunError: no space left",
        **dict.fromkeys(("scores", "timings", "best", "heldout", "primary", "untrained")),
    )
    report = collect(run)
    assert "This run failed. RunError: no space left" in report.warnings
    assert {"scores", "calibration", "cost", "most confident errors"} <= set(report.missing)
    assert "not done" in report.missing["calibration"]
    assert section(report, "Learning curve") and section(report, "Data")
    (run / "metrics.jsonl").unlink()
    assert "no step" in collect(run).missing["learning curve"]


def test_a_run_whose_process_is_gone_is_called_stopped(copied: Callable[..., Path]) -> None:
    report = collect(copied(status="running", scores=None, timings=None))
    assert "stopped" in report.subtitle
    assert "killed" in report.warnings[0]


def test_without_predictions_or_data_the_record_is_shown_and_the_page_says_so(
    copied: Callable[..., Path],
) -> None:
    run = copied()
    (run / "predictions" / "test.jsonl").unlink()
    report = collect(run)
    assert (
        "does not exist" in report.warnings[0] and "does not exist" in report.missing["calibration"]
    )
    assert section(report, "Scores") and section(report, "Classes")
    config = json.loads((run / "run.json").read_text(encoding="utf-8"))["config"]
    config["dataset"]["name"] = "/nowhere/reviews.csv"
    moved = collect(copied(config=config))
    assert "/nowhere/reviews.csv" in moved.missing["scores by slices"]
    assert section(moved, "Scores")
    asked = collect(copied(config=config), ["source"])
    assert "/nowhere/reviews.csv" in asked.missing["slices asked for"]


def test_an_older_record_without_intervals_is_shown_and_a_damaged_one_named(
    copied: Callable[..., Path],
) -> None:
    shown = collect(copied(intervals=None, interval=None))
    assert "(" not in tables(shown, "Scores")[0].rows[0][1]
    assert shown.headlines[0].detail == "no interval"
    damaged = collect(copied(timings=["never"], notes=7, best={"epoch": "x"}))
    assert "damaged" in damaged.missing["cost"]
    assert "damaged" in damaged.missing["data"]
    assert section(damaged, "Scores")


def constant(run: Path, **fields: object) -> None:
    """Change all predictions of the test split."""
    path = run / "predictions" / "test.jsonl"
    changed = [{**one, **fields} for one in lines(path)]
    path.write_text("".join(json.dumps(one) + "\n" for one in changed), encoding="utf-8")


def test_constant_confidences_are_named_not_drawn(copied: Callable[..., Path]) -> None:
    run = copied()
    constant(run, score=0.4)
    report = collect(run)
    assert "same confidence, 0.4" in report.missing["calibration"]
    assert "same confidence, 0.4" in report.missing["abstaining"]
    assert section(report, "Most confident errors")


def test_a_split_that_is_not_there_and_something_that_is_no_run_are_refused(
    weak: RunResult, copied: Callable[..., Path], tmp_path: Path
) -> None:
    found = tables(collect(weak.path, split="validation"), "Classes")[1]
    assert found.caption == "Each class of validation"
    splits = {name: one for name, one in weak.record["data"]["splits"].items() if name != "test"}
    record = {"data": {**weak.record["data"], "splits": splits}, "heldout": "validation"}
    config = {**weak.record["config"]}
    config["data"] = {**config["data"], "test_size": 0.0}
    with pytest.raises(RequestError, match="has no test rows"):
        collect(copied(**record, config=config), split="test")
    with pytest.raises(RequestError, match="is not a run directory"):
        collect(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RequestError, match="is a file"):
        write_report(weak.path, tmp_path / "file")


def test_the_same_run_gives_the_same_page(weak: RunResult, tmp_path: Path) -> None:
    pages = [write_report(weak.path, tmp_path / name).html for name in ("one", "two")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
