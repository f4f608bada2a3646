"""The report of a sweep and of a cross-validation, and the slices and pictures by themselves."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import trainings
from browser import Page
from ftr.errors import DataError
from ftr.results.report import pictures, slices
from ftr.results.report.blocks import Note, Report, Table
from ftr.results.report.collect import collect
from ftr.results.report.write import write_report
from ftr.study.directory import SweepDirectory
from trainings import CLASSES, REVIEWS, write_csv

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

RATES = (1e-5, 3e-4, 1e-4, 2e-5, 5e-5, 2e-4, 7e-5, 4e-4, 6e-5)


def tables(report: Report, title: str) -> list[Table]:
    found = next(one for one in report.sections if one.title == title)
    return [block for block in found.simple if isinstance(block, Table)]


def sweep_of(folder: Path, best: Path | None, values: list[float]) -> Path:
    """Write a sweep that searched the learning rate and the epochs, one trial for each value."""
    directory = SweepDirectory.create(str(folder), "made")
    for number, value in enumerate(values):
        searched = {"learning_rate": RATES[number], "epochs": 1 + number % 2}
        directory.journal.append("trial", trial=number, values=searched)
        directory.journal.append("start", trial=number, attempt=1)
        directory.journal.append(
            "result",
            trial=number,
            epoch=1,
            step=3,
            value=value,
            scores={"accuracy": value},
            seconds=1,
        )
        directory.journal.append("end", trial=number, status="done", cause=None)
    record: dict[str, Any] = {
        "status": "done",
        "created": 1.0,
        "primary": "accuracy",
        "mode": "max",
        "config": {
            "task": "sentiment",
            "head": {"name": "h"},
            "model": {"name": "m"},
            "dataset": {"name": "d"},
        },
        "sweep": {"trials": len(values), "searcher": "random", "metric": None},
        "space": {"learning_rate": "loguniform(1e-5,5e-4)", "epochs": "choice(1,2)"},
        "counts": {"done": len(values), "failed": 0},
        "winner": int(np.argmax(values)) if values else None,
        "best": {"value": max(values)} if values else None,
    }
    directory.write(record)
    if best is not None:
        shutil.copytree(best, directory.best)
    return directory.path


def test_a_sweep_has_its_ranking_its_trials_and_the_report_of_the_best_run(
    classifier: RunResult, tmp_path: Path
) -> None:
    values = [0.5 + 0.05 * rate for rate in range(len(RATES))]
    sweep = sweep_of(tmp_path, classifier.path, values)
    written = write_report(sweep)
    report = written.report
    assert written.html.parent == sweep
    titles = [one.title for one in report.sections]
    assert titles[:5] == [
        *("Leaderboard", "All trials", "Importance of parameters", "Expected best"),
        "The best run",
    ]
    assert "Scores" in titles and "Calibration" in titles
    rows = tables(report, "Leaderboard")[0].rows
    assert [row[1] for row in rows] == [str(number) for number in reversed(range(len(RATES)))]
    assert [row[4] for row in rows] == [f"{value:.4f}" for value in sorted(values, reverse=True)]
    noise = [one.text for one in report.sections[0].simple if isinstance(one, Note) and one.warning]
    assert len(noise) == 1 and "trial 7 is 0.0500 behind" in noise[0]
    best = {row[0]: row[1] for row in tables(report, "Expected best")[0].rows}
    assert best["1"] == f"{np.mean(values):.4f}" and best["9"] == f"{max(values):.4f}"
    assert report.headlines[0].value == f"{max(values):.4f}"
    assert Page(written.html.read_text(encoding="utf-8")).dangers() == []


def test_a_sweep_without_a_score_says_what_it_lacks(tmp_path: Path) -> None:
    report = collect(sweep_of(tmp_path, None, []))
    assert report.missing["all trials"] == "no trial has a score yet"
    assert "none yet" in report.missing["the best run"]
    short = collect(sweep_of(tmp_path / "two", None, [0.5, 0.6]))
    assert "fewer than 8 configurations" in short.missing["importance of parameters"]
    assert tables(short, "Expected best")


def test_a_cross_validation_has_members_spread_and_suspicious_labels(
    tiny_bert: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    rows = [(trainings.review(label, rng), label) for label in list(CLASSES) * 20]
    # Two reviews have the label of another class than their words.
    swapped = {0: ("bad", "good"), 4: ("good", "bad")}
    for number, (words, label) in swapped.items():
        rows[number] = (" ".join([*CLASSES[words]] * 4), label)
    data = write_csv(tmp_path / "reviews.csv", ("text", "label"), rows)
    settings = {**REVIEWS, "data.test_size": 0, "epochs": 4, "cv.folds": 2}
    run = trainings.train(settings, dataset=data, model=tiny_bert, output=tmp_path / "runs")
    report = collect(run.path)
    assert not {"suspicious labels", "members and spread", "calibration"} & set(report.missing)
    over, each = tables(report, "Members and spread")
    mean = run.record["summary"]["validation"]["accuracy"]["mean"]
    assert over.rows[0][:2] == ("accuracy", f"{mean:.4f}")
    assert [row[1] for row in each.rows] == ["fold 0", "fold 1"]
    doubted = tables(report, "Suspicious labels")[0].rows
    assert {"train-1", "train-5"} <= {row[0] for row in doubted}
    assert all(row[1] != row[2] for row in doubted)
    everything = tables(report, "Scores by slices")[0].rows[0]
    assert everything[2] == "60"


def test_slices_of_numbers_are_quarters_and_equal_numbers_stay_together() -> None:
    found = slices.by_quantile([1, 2, 3, 4, 5, 6, 7, 8])
    assert [str(one) for one in found] == ["1 to 2"] * 2 + ["3 to 4"] * 2 + ["5 to 6"] * 2 + [
        "7 to 8"
    ] * 2
    assert {str(one) for one in slices.by_quantile([0] * 9 + [5])} == {"0", "5"}
    assert {str(one) for one in slices.by_value([*range(40)])} == {
        *("0 to 9", "10 to 19", "20 to 29", "30 to 39")
    }


def test_slices_of_a_column_with_many_values_keep_the_most_frequent() -> None:
    cells = [f"v{number}" for number in range(20) for _ in range(20 - number)] + [None, ""]
    found = slices.by_value(cells)
    assert len(set(found)) == slices.MOST + 1
    assert found[0] == "v0" and found[-3] == "other values (9)"
    assert slices.by_value(["a", None]) == ["a", "(empty)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "Latin"),
        ("Это хорошо", "Cyrillic"),
        ("很好的电影", "Han"),
        ("これは良い映画", "Japanese"),
        ("영화가 좋다", "Hangul"),
        ("فيلم جيد", "Arabic"),
        ("12 !? 👍", "no letters"),
        ("", "no letters"),
    ],
)
def test_the_script_of_a_text(text: str, expected: str) -> None:
    assert slices.script(text) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("In what year did it end?", "what"),
        ("How many people came?", "how many"),
        ("How is it made?", "how"),
        ("Whose book is it?", "who"),
        ("Name the river.", "none of these"),
    ],
)
def test_the_question_word(question: str, expected: str) -> None:
    assert slices.question_word(question) == expected


def test_pictures_have_no_style_of_their_own_and_take_hostile_colours_as_text() -> None:
    drawn = pictures.dots("t", [("#000004", 0.5, 0.4, 0.6), ("\x00\u202eb", 0.3, None, None)], "x")
    assert "style=" not in drawn.svg and 'stroke="var(--accent)"' in drawn.svg
    assert ">#000004</text>" in drawn.svg
    assert "\\u202eb" in drawn.svg and "\u202e" not in drawn.svg
    for picture in (
        pictures.line("l", {"a": [(1, 2)], "b": [(1, 1)]}, "x", "y"),
        pictures.confusion("c", [[0] * 20] * 20, [f"label {n}" * 9 for n in range(20)]),
        pictures.bars("b", {"k": 0.0}, "x"),
        pictures.parallel("p", {"a": [(0.0, "1"), (1.0, "2")], "s": [(0.5, "x"), (0.5, "x")]}, 0),
        pictures.reliability("r", [(0.5, 0.5, 1)]),
        pictures.expected("e", [0.1, 0.1], [0.1, 0.1], "y"),
    ):
        assert picture.svg.startswith("<svg") and "#0000" not in picture.svg


def test_a_journal_that_is_damaged_is_named_and_the_rest_is_there(
    classifier: RunResult, tmp_path: Path
) -> None:
    sweep = sweep_of(tmp_path, classifier.path, [0.5, 0.6])
    (sweep / "journal.jsonl").write_text("nothing\n", encoding="utf-8")
    report = collect(sweep)
    assert "journal" in report.missing["leaderboard"]
    assert tables(report, "Scores")
    with pytest.raises(DataError):
        SweepDirectory(sweep).events()
    assert json.loads((sweep / "sweep.json").read_text())["format"] == 1
