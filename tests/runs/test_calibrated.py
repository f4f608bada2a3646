"""`head.calibrate=temperature` from training to predictions: fitted once, kept with the model, and
no other decision anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.runs.evaluate import evaluate
from ftr.runs.heldout import held_out
from ftr.train.calibration import measure
from trainings import ALL_OF_REVIEWS, QUESTIONS, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

CALIBRATED = {"head.calibrate": "temperature"}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path) -> Any:
    """The training of `classifier`, calibrated."""
    output = tmp_path_factory.mktemp("calibrated")
    settings = {**ALL_OF_REVIEWS, **CALIBRATED, "dataset": reviews, "model": tiny_bert}
    return train(settings, output=output)


def temperature(run: RunResult) -> float:
    card = json.loads((run.model / "ftr.json").read_text(encoding="utf-8"))
    found: float = card["state"]["calibration"]["temperature"]
    return found


def test_only_confidences_change(calibrated: RunResult, classifier: RunResult) -> None:
    assert calibrated.record["state"] == {"calibration": {"temperature": temperature(calibrated)}}
    assert temperature(calibrated) != 1.0
    for split in ("validation", "test"):
        assert calibrated.record["scores"][split] == classifier.record["scores"][split]
        each = [
            lines(run.path / "predictions" / f"{split}.jsonl") for run in (classifier, calibrated)
        ]
        assert [one["label"] for one in each[0]] == [one["label"] for one in each[1]]
        assert [one["score"] for one in each[0]] != [one["score"] for one in each[1]]


def test_the_record_has_the_measures_of_both_splits_before_and_after(
    calibrated: RunResult, classifier: RunResult
) -> None:
    found = calibrated.record["calibration"]
    assert found.keys() == {"validation", "test"} and "calibration" not in classifier.record
    for split in found:
        plain, own = held_out(classifier.path, split), held_out(calibrated.path, split)
        assert plain.outcomes and own.outcomes
        for side, one in (("before", plain), ("after", own)):
            expected = measure(one.outcomes or [], one.predictions)
            assert expected is not None
            assert found[split][side] == {
                name: pytest.approx(getattr(expected, name), abs=1e-6)
                for name in found[split][side]
            }
    assert found["validation"]["after"]["nll"] < found["validation"]["before"]["nll"]


def test_the_loaded_model_predicts_as_the_run_did(
    calibrated: RunResult, classifier: RunResult
) -> None:
    own = held_out(calibrated.path, "test")
    again = ftr.load(calibrated.path).predict(
        [{"id": r["id"], "text": r["text"]} for r in own.rows]
    )
    for one, known in zip(again, own.predictions, strict=True):
        assert one["label"] == known["label"]
        assert one["score"] == pytest.approx(known["score"], abs=1e-5)
    assert ftr.load(calibrated.path).calibrated and not ftr.load(classifier.path).calibrated
    scores = evaluate(calibrated.path, split="test").scores
    assert scores["accuracy"] == calibrated.scores["accuracy"]


def test_an_ensemble_is_fitted_as_one(
    tmp_path: Path, tiny_bert: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**ALL_OF_REVIEWS, **CALIBRATED, "dataset": reviews, "model": tiny_bert}
    run = train(settings, ensemble="seeds", seeds=2, epochs=2, baselines=False, output=tmp_path)
    state = json.loads((run.model / "ftr.json").read_text(encoding="utf-8"))["state"]
    assert run.record["state"] == state and state["calibration"]["temperature"] > 0
    members = [json.loads((run.path / "members" / str(n) / "run.json").read_text()) for n in (0, 1)]
    assert state not in [one["state"] for one in members]
    assert run.record["calibration"].keys() == {"validation", "test"}
    rows = held_out(run.path, "test")
    (again,) = ftr.load(run.path).predict([{"id": "x", "text": rows.rows[0]["text"]}])
    assert again["score"] == pytest.approx(rows.predictions[0]["score"], abs=1e-5)


def test_answers_get_a_confidence_and_stay_the_same(
    tmp_path: Path, tiny_bert: Path, questions: Path, reader: RunResult
) -> None:
    run = train({**QUESTIONS, **CALIBRATED}, dataset=questions, model=tiny_bert, output=tmp_path)
    threshold = run.record["state"]["no_answer_threshold"]
    assert threshold == reader.record["state"]["no_answer_threshold"]
    plain = lines(reader.path / "predictions" / "test.jsonl")
    own = lines(run.path / "predictions" / "test.jsonl")
    assert [{**one, "confidence": None} for one in plain] == [
        {**one, "confidence": None} for one in own
    ]
    assert all(0 <= one["confidence"] <= 1 for one in own)
    assert "confidence" not in plain[0]
    found = run.record["calibration"]["validation"]
    assert found["after"]["nll"] < found["before"]["nll"]
    outcomes = held_out(run.path, "test").outcomes or []
    assert [one.confidence for one in outcomes] == [one["confidence"] for one in own]


def test_without_validation_rows_it_says_that_nothing_is_fitted(
    tmp_path: Path, tiny_bert: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"data.validation_size": 0, "epochs": 1, "baselines": "false"}
    settings = {**ALL_OF_REVIEWS, **CALIBRATED, **changed, "dataset": reviews, "model": tiny_bert}
    words = [f"{key}={value}" for key, value in settings.items()] + [f"output={tmp_path}"]
    assert main(["run", *words, "--json"]) == 0
    err = capsys.readouterr().err
    assert "no validation rows: `head.calibrate` has nothing to fit" in err
    (path,) = tmp_path.glob("*/run.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["state"] == {} and "calibration" not in record
    assert any("nothing to fit" in note for note in record["notes"])
