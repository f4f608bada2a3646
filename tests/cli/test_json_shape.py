"""A run has `id`, `path`, `status` and `scores` in the JSON of every command that is about one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftr.cli.main import main
from ftr.runs.run import RunResult


@pytest.fixture
def run(classifier: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a finished run."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"text": "a good film"}\n', encoding="utf-8")
    return Path(shutil.copytree(classifier.path, tmp_path / "runs" / "one").relative_to(tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "RUN"],
        ["evaluate", "RUN"],
        ["report", "RUN"],
        ["push", "RUN", "owner/name", "--dry-run"],
        ["resume", "RUN"],
        ["predict", "RUN", "rows.jsonl", "--output", "labels.csv"],
    ],
    ids=lambda words: words[0],
)
def test_a_run_has_the_same_shape_in_every_answer(
    words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    code, found = answer([str(run) if word == "RUN" else word for word in words], capsys)
    assert code == 0
    assert (found["id"], found["path"], found["status"]) == ("one", "runs/one", "done")
    scores = found["scores"].get("test", found["scores"])
    assert scores["accuracy"] == pytest.approx(record["scores"]["test"]["accuracy"])


def test_both_sides_of_a_comparison_and_each_run_of_a_list_have_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, "runs/two")
    _, found = answer(["compare", "runs/one", "runs/two"], capsys)
    sides = [found["first"], *(one["second"] for one in found["against"])]
    _, listed = answer(["runs"], capsys)
    for one in (sides, listed):
        assert [(run["id"], run["path"], run["status"]) for run in one] == [
            ("one", "runs/one", "done"),
            ("two", "runs/two", "done"),
        ]
    assert sides[0]["scores"] == listed[0]["scores"] and listed[0]["scores"]["accuracy"] >= 0


def answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)
