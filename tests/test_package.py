"""The functions of `import ftr`: those of the commands, with their names of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import ConfigError, RequestError
from trainings import lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


@pytest.mark.parametrize("name", ftr.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert name in dir(ftr)
    assert getattr(ftr, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module `ftr` has no attribute `predictions`"):
        _ = ftr.predictions


def test_evaluate_scores_as_the_command_does(
    classifier: RunResult, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scored.jsonl"
    found = ftr.evaluate(classifier.path, dataset=reviews, predictions=str(output))
    assert main(["evaluate", str(classifier.path), f"dataset={reviews}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == found.scores
    assert lines(output) == found.predictions and len(found.predictions) == found.rows
    for settings in (str(reviews), {"dataset": reviews}, [f"dataset={reviews}"]):
        assert ftr.evaluate(classifier.path, settings).scores == found.scores
    with pytest.raises(ConfigError, match=r"`epochs`|`train.epochs`"):
        ftr.evaluate(classifier.path, epochs=3)
    with pytest.raises(ConfigError, match=r"needs `calibrate`"):
        ftr.evaluate(classifier.path, save_state=True)


def test_compare_report_and_reproduce_take_a_run(classifier: RunResult, tmp_path: Path) -> None:
    same = ftr.compare(classifier.path, classifier.path)
    assert all(one.value == 0 for one in same.against[0].differences.values())
    written = ftr.report(classifier.path, tmp_path)
    assert written.html.is_file() and written.markdown.is_file()
    rows = [
        fact.equal
        for fact in ftr.reproduce(classifier.path, check=True).facts
        if fact.name.startswith("rows")
    ]
    assert rows and all(rows)


def test_resume_returns_what_is_done_and_names_a_setting_that_differs(
    classifier: RunResult,
) -> None:
    again = ftr.resume(classifier.path)
    assert again.path == classifier.path
    with pytest.raises(ConfigError, match=r"epochs"):
        ftr.resume(classifier.path, epochs=9)


def test_plan_takes_keywords_and_gigabytes(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "task": "sentiment",
        "dataset": reviews,
        "model": tiny_bert,
        "output": tmp_path,
    }
    found = ftr.plan(settings, steps=False, say=lambda line: None)
    assert found["basis"] == "arithmetic" and found["sweep"] is None
    searched = ftr.plan(
        **settings, trials=2, learning_rate="loguniform(1e-5,1e-4)", steps=False, say=lambda _: None
    )
    assert searched["sweep"]["trials"] == 2
    with pytest.raises(RequestError, match=r"does not|needs|memory") as refused:
        ftr.plan(**settings, steps=False, memory=0.1, say=lambda line: None)
    assert refused.value.plan["fits"] is False  # type: ignore[attr-defined]
    for wrong in (0, -1, float("inf")):
        with pytest.raises(RequestError, match=r"`memory` \(`--memory`\) is .*: give GB"):
            ftr.plan(**settings, memory=wrong)
