"""`ftr report` as a command: its files, its JSON, and requests that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


def test_the_answer_names_the_files_and_has_the_numbers(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["report", str(classifier.path), "--output", str(folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["html"]).resolve() == (folder / "report.html").resolve()
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
    scores = next(one for one in answer["sections"] if one["section"] == "Scores")
    accuracy = classifier.record["scores"]["test"]["accuracy"]
    assert scores["tables"][0]["rows"][0][1].startswith(f"{accuracy:.4f}")
    assert set(answer["missing"]) == {"members and spread", "suspicious labels"}
    assert answer["figures"]["test accuracy"] == f"{accuracy:.4f}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--slice", "colour"], "no such column"),
        (["--slice", ""], "no such column"),
        (["--split", "train"], "invalid choice"),
        (["--output", "{file}"], "is a file"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(
    classifier: RunResult,
    tmp_path: Path,
    words: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "file"
    file.write_text("kept", encoding="utf-8")
    given = [word.format(file=file) for word in words]
    place = [] if "--output" in given else ["--output", str(tmp_path / "out")]
    assert main(["report", str(classifier.path), *place, *given]) == 2
    assert problem in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not (classifier.path / "report.html").exists()


def test_something_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
