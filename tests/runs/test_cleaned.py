"""A model trained on cleaned texts cleans what it reads later, and answers with places in the text
as it was given.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import ConfigError, DataError
from ftr.runs.evaluate import evaluate
from trainings import QUESTIONS, lines, train, write_squad

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

CLEAN = "html,whitespace"


def dirtied(path: Path) -> Path:
    """Write tags, entities and white space into the passages of a SQuAD file; answers keep their
    places.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            plain = paragraph["context"]
            paragraph["context"] = dirty = "<p>" + plain.replace(
                " was ", " <b>was</b>&nbsp; "
            ).replace(" . ", " .<br />")
            for question in paragraph["qas"]:
                for answer in question["answers"]:
                    answer["answer_start"] = dirty.index(answer["text"])
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dirtied(write_squad(tmp_path_factory.mktemp("dirty") / "dirty.json", broken=0))


@pytest.fixture(scope="module")
def run(dirty: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    keys: dict[str, Any] = {
        "epochs": 1,
        "data.clean": CLEAN,
        "head.threshold": 100.0,
        "train.eval_on_start": False,
    }
    return train(
        QUESTIONS, dataset=dirty, model=tiny_bert, output=tmp_path_factory.mktemp("runs"), **keys
    )


def given(dirty: Path) -> dict[str, dict[str, Any]]:
    articles = json.loads(dirty.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return {
        qa["id"]: {"id": qa["id"], "question": qa["question"], "context": paragraph["context"]}
        for paragraph in paragraphs
        for qa in paragraph["qas"]
    }


def test_the_model_learned_from_cleaned_passages(run: RunResult) -> None:
    from datasets import Dataset

    split = run.record["data"]["splits"]["train"]
    rows = Dataset.from_file(split["rows"]).to_list()
    assert split["cleaned"]["html"] == len(rows) and not any(
        "<" in row["context"] or "&" in row["context"] for row in rows
    )
    for row in rows:
        found = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        assert all(row["context"][start : start + len(text)] == text for text, start in found)
    assert json.loads((run.model / "ftr.json").read_text())["clean"] == ["html", "whitespace"]


def test_predictions_have_places_in_the_passages_as_they_were_given(
    run: RunResult, dirty: Path
) -> None:
    rows = given(dirty)
    stored = lines(run.path / "predictions" / "test.jsonl")
    fresh = ftr.load(run.path).predict([rows[one["id"]] for one in stored])
    again = evaluate(run.path)
    assert stored == fresh == again.predictions and again.scores == run.record["scores"]["test"]
    for one in fresh:
        assert rows[one["id"]]["context"][one["start"] : one["end"]] == one["answer"] != ""
    # Elsewhere than in the cleaned passage, so that the test can fail.
    assert any("<" in one["answer"] for one in fresh) or any(one["start"] > 3 for one in fresh)


def test_cleaned_by_hand_a_passage_gets_the_same_answer(run: RunResult, dirty: Path) -> None:
    predictor = ftr.load(run.path)
    row = next(iter(given(dirty).values()))
    raw, clean = predictor.predict(
        [row, {**row, "context": predictor.cleaner.text(row["context"])}]
    )
    assert (
        predictor.cleaner.text(raw["answer"]) == clean["answer"] and raw["score"] == clean["score"]
    )
    assert raw["start"] > clean["start"]


def test_the_command_answers_in_the_same_places_and_names_rows_of_which_nothing_is_left(
    run: RunResult, dirty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(iter(given(dirty).values()))
    monkeypatch.setattr(
        "sys.stdin",
        io.StringIO("\n".join(map(json.dumps, [row, {**row, "id": "gone", "context": "<br />"}]))),
    )
    assert main(["predict", str(run.path)]) == 0
    answer, gone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answer == ftr.load(run.path).predict([row])[0]
    assert gone == {
        "id": "gone",
        "error": "context: nothing is left of it by `data.clean`",
        "place": "stdin:2",
    }
    with pytest.raises(DataError, match="row 0: context: nothing is left"):
        ftr.load(run.path).predict([{**row, "context": "<br />"}])


def test_what_is_cleaned_is_part_of_the_model(run: RunResult, dirty: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"`data\.clean`: the cleaning of texts is part of the model"
    ):
        evaluate(run.path, [f"dataset={dirty}", "data.clean=urls"])
    assert evaluate(run.path, [f"dataset={dirty}"]).rows == 60
