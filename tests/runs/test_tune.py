"""Choosing the no-answer threshold of a finished run anew, on rows that are not those it is scored
on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main
from ftr.errors import DataError
from ftr.model.folder import read_card
from ftr.runs.evaluate import evaluate
from ftr.runs.predictor import load
from squad_rules import evaluate_v2
from trainings import golds, write_squad

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

THRESHOLD = "no_answer_threshold"


def test_the_threshold_is_the_best_on_the_validation_rows_and_scores_the_test_rows(
    reader: RunResult, tmp_path: Path
) -> None:
    validation = write_squad(tmp_path / "validation.json", passages=9, broken=0, seed=5)
    test = write_squad(tmp_path / "test.json", passages=7, broken=0, seed=6)
    settings = [f"dataset.validation={validation}", f"dataset.test={test}"]
    result = evaluate(reader.path, settings, calibrate=True)
    known = evaluate(reader.path, [f"dataset={validation}"]).predictions

    def f1(threshold: float) -> float:
        answers = {
            one["id"]: "" if one["no_answer_score"] > threshold else one["best_answer"]
            for one in known
        }
        return evaluate_v2(golds(validation), answers)["f1"]

    chosen = result.state[THRESHOLD]
    assert f1(chosen) == pytest.approx(max(f1(one["no_answer_score"]) for one in known))
    assert (result.split, result.rows) == ("test", len(golds(test)))
    for one in result.predictions:
        assert (one["answer"] == "") == (one["no_answer_score"] > chosen)


def test_the_model_keeps_the_threshold_only_when_asked(reader: RunResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reader.path, run)
    validation = write_squad(tmp_path / "validation.json", passages=9, broken=0, seed=7)
    test = write_squad(tmp_path / "test.json", passages=9, broken=0, seed=8)
    settings = [f"dataset.validation={validation}", f"dataset.test={test}"]
    before = read_card(run / "model").state
    result = evaluate(run, settings, calibrate=True)
    assert read_card(run / "model").state == before
    evaluate(run, settings, calibrate=True, save_state=True)
    assert load(run).card.state == result.state


def test_tuning_without_validation_rows_is_refused(reader: RunResult, tmp_path: Path) -> None:
    data = write_squad(tmp_path / "test.json", passages=5, broken=0, seed=6)
    with pytest.raises(DataError, match=r"give both, `dataset.validation=` and `dataset.test=`"):
        evaluate(reader.path, [f"dataset.test={data}"], calibrate=True)


def test_keeping_a_threshold_that_was_not_chosen_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "any", "--save-state"]) == 2
    assert "(`--save-state`) needs `calibrate`" in capsys.readouterr().err
