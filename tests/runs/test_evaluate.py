"""Scoring a finished run again: the same digits, other data, and requests that would score trained
rows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main
from ftr.errors import ConfigError, DataError, RequestError
from ftr.runs.evaluate import evaluate
from squad_rules import evaluate_v2
from trainings import CLASSES, golds, lines, review, write_csv, write_squad

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


@pytest.mark.parametrize("task", ["classifier", "reader"])
def test_a_run_evaluated_again_has_the_scores_of_its_record_to_the_last_digit(
    task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run: RunResult = request.getfixturevalue(task)
    again = evaluate(run.path, predictions=tmp_path / "p.jsonl")
    assert (again.split, again.scores, again.state) == (
        "test",
        run.record["scores"]["test"],
        run.record["state"],
    )
    assert again.rows == len(again.predictions) == run.record["data"]["splits"]["test"]["row_count"]
    assert lines(tmp_path / "p.jsonl") == again.predictions
    assert [one["id"] for one in again.predictions] == [
        one["id"] for one in lines(run.path / "predictions" / "test.jsonl")
    ]
    assert evaluate(run.path, split="validation").scores == run.record["scores"]["validation"]


def test_intervals_are_those_of_the_record(
    classifier: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(classifier.path, split="test")
    assert found.intervals == classifier.record["intervals"]["test"]
    assert found.interval["units"] == {"test": found.rows}
    capsys.readouterr()
    assert main(["evaluate", str(classifier.path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["intervals"]["accuracy"] == found.intervals["accuracy"]
    assert answer["interval"]["resamples"] == 2000


def test_the_scores_are_those_of_the_published_rules_on_the_same_predictions(
    reader: RunResult, tmp_path: Path
) -> None:
    data = write_squad(tmp_path / "other.json", passages=7, broken=0, seed=5)
    result = evaluate(reader.path, [f"dataset={data}"])
    assert result.scores == evaluate_v2(
        golds(data), {one["id"]: one["answer"] for one in result.predictions}
    )
    assert (result.rows, result.scores["NoAns_total"]) == (21, 7)


def test_other_data_is_scored_whole_with_the_labels_of_the_model(
    classifier: RunResult, tmp_path: Path
) -> None:
    rng = random.Random(9)
    rows = [(review(label, rng), label) for label in list(CLASSES) * 20] + [
        ("a strange film", "strange")
    ]
    data = write_csv(tmp_path / "other.csv", ("text", "label"), rows)
    result = evaluate(classifier.path, [f"dataset={data}"])
    assert (result.rows, result.rejected) == (60, 1)
    assert set(result.scores["recall_per_class"]) == set(CLASSES)
    matrix = result.scores["confusion_matrix"]
    assert [sum(matrix[label].values()) for label in CLASSES] == [20, 20, 20]
    right = sum(
        one["label"] == label for one, (_, label) in zip(result.predictions, rows, strict=False)
    )
    assert result.scores["accuracy"] == right / 60


def test_data_of_other_labels_is_refused(classifier: RunResult, tmp_path: Path) -> None:
    data = write_csv(
        tmp_path / "other.csv", ("text", "label"), [("a film", "strange"), ("a film", "good")]
    )
    with pytest.raises(DataError, match=r"label not known to the model"):
        evaluate(classifier.path, [f"dataset={data}"])
    with pytest.raises(DataError, match=r"no usable rows|label not known to the model"):
        evaluate(classifier.path, [f"dataset={data}", "dataset.label=text", "data.max_invalid=1"])


def test_options_of_the_other_file_are_taken(classifier: RunResult, tmp_path: Path) -> None:
    data = write_csv(
        tmp_path / "other.csv",
        ("a", "b"),
        [("a good film", "good"), ("a bad film", "bad"), ("long", "so so")],
    )
    result = evaluate(classifier.path, [f"dataset={data}", "dataset.text=a", "dataset.label=b"])
    assert result.rows == 3


@pytest.mark.parametrize(
    "key",
    [
        "data.seed=1",
        "data.test_size=0.5",
        "data.validation_size=0",
        "data.limit=10",
        "data.sample=first",
    ],
)
def test_keys_that_would_divide_the_data_anew_are_refused(key: str, classifier: RunResult) -> None:
    with pytest.raises(
        ConfigError,
        match=r"would split the run's own data again and score rows it was trained on: give "
        r"`dataset=` as well",
    ):
        evaluate(classifier.path, [key])


@pytest.mark.parametrize(
    "key",
    [
        "learning_rate=1",
        "model=bert-base",
        "head.n_best=3",
        "metrics=f1",
        "train.precision=bf16",
        "seed=1",
    ],
)
def test_keys_of_the_run_itself_are_refused(key: str, classifier: RunResult) -> None:
    with pytest.raises(
        ConfigError,
        match=r"an evaluation can set only `dataset.\*` and `data.\*`; the rest is the run's",
    ):
        evaluate(classifier.path, [key])


def test_a_part_of_the_held_out_rows_can_be_scored(classifier: RunResult) -> None:
    assert evaluate(classifier.path, ["data.limit_test=3"]).rows == 3


def test_a_split_that_is_not_there_and_a_run_that_is_not_there_are_named(
    classifier: RunResult, tmp_path: Path
) -> None:
    data = write_csv(
        tmp_path / "test.csv", ("text", "label"), [("a good film", "good"), ("a bad film", "bad")]
    )
    with pytest.raises(DataError, match=r"`--split validation`: the data has only `\w+`."):
        evaluate(classifier.path, [f"dataset={data}"], split="validation")
    with pytest.raises(RequestError, match=r"is not a run directory: it has no `run.json`"):
        evaluate(tmp_path / "nowhere")
