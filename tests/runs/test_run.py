"""Whole trainings of tiny models, from a file to a run directory."""

from __future__ import annotations

import _thread
import itertools
import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.errors import ConfigError, RequestError, RunError
from ftr.testing.tiny import tiny_checkpoint
from ftr.train.trainer import StepTrainer
from squad_rules import evaluate_v2
from trainings import (
    ALL_OF_REVIEWS,
    CLASSES,
    QUESTIONS,
    REVIEWS,
    Settings,
    golds,
    lines,
    losses,
    train,
    write_csv,
)

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

EMPTY: Settings = {"data.validation_size": 0.0, "data.test_size": 0.0}
FILES = {"README.md", "metrics.jsonl", "model", "predictions", "invalid_rows.jsonl", "run.json"}


def stored(run: RunResult) -> dict[str, Any]:
    """Return `run.json` as it stands on disk."""
    record: dict[str, Any] = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    return record


def of_kind(run: RunResult, kind: str) -> list[dict[str, Any]]:
    """Return the entries of a kind of `metrics.jsonl`."""
    return [entry for entry in lines(run.path / "metrics.jsonl") if entry["kind"] == kind]


@pytest.mark.parametrize("task", ["classifier", "reader"])
def test_a_finished_run_is_a_whole_directory(task: str, request: pytest.FixtureRequest) -> None:
    run: RunResult = request.getfixturevalue(task)
    record = stored(run)
    assert {path.name for path in run.path.iterdir()} == FILES
    assert (
        record["status"] == "done"
        and record["finished"] >= record["created"]
        and record["seconds"] > 0
    )
    assert record == json.loads(json.dumps(run.record, default=str))
    assert run.scores == record["scores"]["test"] and set(record["scores"]) == {
        "validation",
        "test",
    }
    assert record["untrained"].keys() == run.scores.keys()
    assert {"python", "torch", "transformers", "ray"} <= record["packages"].keys()
    assert record["components"][f"head:{record['config']['head']['name']}"]["distribution"] == "ftr"
    assert (
        record["origins"]["learning_rate"] == "argument"
        and record["numerics"]["precision"] == "fp32"
    )
    assert record["parameters"] == record["trainable_parameters"] > 10_000
    (source,) = record["data"]["sources"]
    assert len(source["sha256"]) == 64 and source["bytes"] == Path(source["path"]).stat().st_size
    for name in ("validation", "test"):
        rows = record["data"]["splits"][name]["row_count"]
        assert len(lines(run.path / "predictions" / f"{name}.jsonl")) == rows > 0
    assert {"model.safetensors", "config.json", "tokenizer.json", "ftr.json"} <= {
        path.name for path in run.model.iterdir()
    }
    card = (run.path / "README.md").read_text(encoding="utf-8")
    baselines = {"classifier": "test, majority | test, tf-idf", "reader": "test, overlap"}[task]
    assert (
        card.startswith("# ")
        and f"|  | {baselines} | test, untrained | test, trained | test, 95 % interval |" in card
    )


def test_the_journal_has_every_step_and_every_evaluation(classifier: RunResult) -> None:
    record = stored(classifier)
    train_entries = of_kind(classifier, "train")
    assert [entry["step"] for entry in train_entries] == list(range(1, record["steps"] + 1))
    assert all(
        {"time", "epoch", "loss", "learning_rate", "grad_norm"} <= entry.keys()
        for entry in train_entries
    )
    assert [entry["epoch"] for entry in of_kind(classifier, "validation")] == [1, 2, 3, 4, 5]
    assert [entry["split"] for entry in of_kind(classifier, "untrained")] == ["test"]
    assert [entry["split"] for entry in of_kind(classifier, "final")] == ["validation", "test"]


def test_a_classifier_of_three_classes_learns_and_names_them(
    classifier: RunResult, reviews: Path
) -> None:
    assert classifier.record["labels"] == list(CLASSES)
    assert classifier.scores["accuracy"] > 0.6 > classifier.record["untrained"]["accuracy"]
    assert set(classifier.scores["f1_per_class"]) == set(CLASSES)
    predictions = lines(classifier.path / "predictions" / "test.jsonl")
    assert {prediction["label"] for prediction in predictions} <= set(CLASSES)
    assert all(
        sum(prediction["probabilities"].values()) == pytest.approx(1) for prediction in predictions
    )
    assert lines(classifier.path / "invalid_rows.jsonl") == [
        {
            "place": "reviews.csv:62",
            "split": "train",
            "cause": "empty text",
            "row": {"text": "", "label": "good"},
        }
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_scores_of_a_reader_are_those_of_the_published_rules_on_its_predictions(
    split: str, reader: RunResult, questions: Path
) -> None:
    answers = {
        one["id"]: one["answer"] for one in lines(reader.path / "predictions" / f"{split}.jsonl")
    }
    expected = evaluate_v2(
        {name: texts for name, texts in golds(questions).items() if name in answers}, answers
    )
    assert reader.record["scores"][split] == expected and expected["NoAns_total"] > 0


def test_a_reader_tunes_its_threshold_and_keeps_it_with_the_model(reader: RunResult) -> None:
    card = json.loads((reader.model / "ftr.json").read_text(encoding="utf-8"))
    assert (
        card["state"].keys() == {"no_answer_threshold"} and card["state"] == reader.record["state"]
    )
    assert (card["head"], card["task"], card["max_length"], card["stride"]) == (
        "extractive-qa",
        "qa",
        48,
        12,
    )
    threshold = card["state"]["no_answer_threshold"]
    for one in lines(reader.path / "predictions" / "test.jsonl"):
        assert (one["answer"] == "") == (one["no_answer_score"] > threshold)
    splits = reader.record["data"]["splits"]
    assert splits["train"]["feature_count"] > splits["train"]["row_count"]
    (rejected,) = lines(reader.path / "invalid_rows.jsonl")
    assert rejected["cause"] == "answer is not in the context" and rejected["place"].endswith(
        "data[0].paragraphs[0].qas[0]"
    )


def test_the_best_weights_are_kept_or_the_last_ones(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    best, last = (
        train(
            REVIEWS,
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path,
            epochs=3,
            learning_rate=3e-2,
            **{"train.keep": keep},
        )
        for keep in ("best", "last")
    )
    assert losses(best) == losses(last)
    curve = [entry["accuracy"] for entry in of_kind(best, "validation")]
    step = 5 * (curve.index(max(curve)) + 1)
    assert best.record["best"] == {"value": max(curve), "step": step, "epoch": step / 5}
    assert last.record["best"] == {"value": curve[-1], "step": 15, "epoch": 3.0}
    assert best.record["scores"]["validation"]["accuracy"] == max(curve)
    assert last.record["scores"]["validation"]["accuracy"] == curve[-1]


@pytest.mark.parametrize(
    ("shares", "splits", "heldout"),
    [
        ((0.0, 0.2), ["test"], "test"),
        ((0.2, 0.0), ["validation"], "validation"),
        ((0.0, 0.0), [], None),
    ],
)
def test_without_validation_or_test_rows_the_last_weights_are_kept_and_the_rest_is_scored(
    shares: tuple[float, float],
    splits: list[str],
    heldout: str | None,
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    asked = dict(zip(EMPTY, shares, strict=True))
    run = train({**REVIEWS, **asked}, dataset=reviews, model=tiny_bert, output=tmp_path, epochs=1)
    assert run.record["heldout"] == heldout and list(run.record["scores"]) == splits
    assert (run.record["best"]["step"], run.record["best"]["epoch"]) == (run.record["steps"], 1.0)
    assert [path.stem for path in sorted(run.path.glob("predictions/*"))] == splits
    assert bool(run.scores) == bool(splits) and (run.record["untrained"] is None) == (not splits)
    assert (run.model / "ftr.json").is_file() and (run.path / "README.md").is_file()
    assert ftr.load(run.path).predict(["a good film"])[0]["label"] in CLASSES


def test_the_same_data_is_not_encoded_again(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    said: list[list[str]] = [[], []]
    for told in said:
        settings = {
            **REVIEWS,
            "dataset": str(reviews),
            "model": str(tiny_bert),
            "epochs": 1,
            "output": str(tmp_path),
        }
        ftr.run({**settings, "data.cache": str(tmp_path / "cache")}, say=told.append)
    assert any(
        line.startswith("`reviews.csv`: columns guessed: text=`review`, label=`sentiment`")
        for line in said[0]
    )
    assert "train: 36 rows, 1 rejected (empty text: 1)" in said[0]
    encoded = [line for line in said[1] if "(encoded before)" in line]
    assert [line.partition(":")[0] for line in encoded] == ["train", "validation", "test"]


def test_a_run_is_the_same_a_second_time(
    classifier: RunResult, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    again = train(ALL_OF_REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert (
        losses(again) == losses(classifier)
        and again.record["scores"] == classifier.record["scores"]
    )
    other = train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path, epochs=1, seed=1)
    assert losses(other)[0] != losses(classifier)[0]


def test_a_training_that_fails_says_so_in_its_record(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        RunError, match=r"^the loss is nan at step \d+: lower `learning_rate`, raise `train.warmup`"
    ):
        train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path, learning_rate=1e30)
    (path,) = tmp_path.glob("*/run.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["status"], record["error"].partition(":")[0]) == ("failed", "RunError")
    assert not (path.parent / "README.md").exists()


def test_a_training_that_is_interrupted_says_so_in_its_record(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, steps = StepTrainer.training_step, itertools.count(1)

    def step(self: StepTrainer, *given: Any, **named: Any) -> Any:
        if next(steps) == 3:
            _thread.interrupt_main()
        return inner(self, *given, **named)

    monkeypatch.setattr(StepTrainer, "training_step", step)
    # Where tests run in the background, interrupts are ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    (path,) = tmp_path.glob("*/run.json")
    assert json.loads(path.read_text(encoding="utf-8"))["status"] == "interrupted"


def test_a_request_that_turns_out_wrong_leaves_nothing(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"transformers refuses the training arguments: .*nonsense"
    ):
        train(
            REVIEWS,
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path,
            **{"trainer.debug": "nonsense"},
        )
    with pytest.raises(
        RequestError, match="give settings as `key=value` strings or as keywords, not both"
    ):
        ftr.run(["task=qa"], epochs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc: a folder that even root cannot write"
)
def test_an_output_that_cannot_be_written_is_known_before_anything_is_read(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for output in ("/proc/ftr", tmp_path / "file"):
        with pytest.raises(
            ConfigError,
            match=r"`output=.*` cannot be written to: .*Give another place with `output=`",
        ):
            train(REVIEWS, dataset=reviews, model=tiny_bert, output=output)


def test_a_pair_of_texts_is_classified(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [("the mill", "the river" if n % 2 else "a bad film", n % 2 == 1) for n in range(80)]
    data = write_csv(tmp_path / "pairs.csv", ("sentence1", "sentence2", "label"), rows)
    run = train(REVIEWS, dataset=data, model=tiny_bert, output=tmp_path / "runs", epochs=8)
    assert run.record["labels"] == ["false", "true"]
    assert run.scores["accuracy"] == 1.0
    pair = {"text": "the mill", "text_pair": "the river"}
    assert [
        one["label"]
        for one in ftr.load(run.path).predict([pair, {**pair, "text_pair": "a bad film"}])
    ] == ["true", "false"]


@pytest.mark.parametrize("task", ["classification", "qa"])
def test_a_decoder_is_trained_and_answers_in_a_batch_as_alone(
    task: str, reviews: Path, questions: Path, tmp_path: Path
) -> None:
    model = tiny_checkpoint("gpt2", tmp_path / "gpt2")
    settings, data = (REVIEWS, reviews) if task == "classification" else (QUESTIONS, questions)
    run = train(settings, dataset=data, model=model, output=tmp_path / "runs", epochs=2)
    config = json.loads((run.model / "config.json").read_text(encoding="utf-8"))
    assert config["pad_token_id"] == 0
    predictor = ftr.load(run.path)
    rows: list[dict[str, Any]] = (
        [{"text": "a good film " * size} for size in (1, 9, 3)]
        if task == "classification"
        else [
            {"question": "when ?", "context": "the old mill was built in 1803 . " * size}
            for size in (1, 5, 2)
        ]
    )
    together = predictor.predict(rows)
    for one, row in zip(together, rows, strict=True):
        (alone,) = predictor.predict([row])
        assert one["score"] == pytest.approx(alone["score"], abs=1e-5)
        assert one.get("label", one.get("answer")) == alone.get("label", alone.get("answer"))


def test_a_second_run_in_the_process_is_refused_at_once_and_models_load_while_the_first_trains(
    classifier: RunResult, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    refused: list[object] = []
    predictions: list[object] = []
    ended = threading.Event()

    def second(line: str) -> None:
        if not refused:
            with pytest.raises(
                RequestError, match="another training is under way in this process"
            ) as found:
                ftr.run(
                    task="sentiment",
                    dataset=str(reviews),
                    model=str(tiny_bert),
                    output=str(tmp_path / "second"),
                )
            refused.append(found)
            answering.start()

    def answer() -> None:
        while not ended.is_set():
            predictions.append(ftr.load(classifier.path).predict(["good"]))

    answering = threading.Thread(target=answer)
    asked = {
        **REVIEWS,
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "output": str(tmp_path / "first"),
    }
    try:
        first = ftr.run(asked, say=second)
    finally:
        ended.set()
        answering.join()
    assert predictions and all(one == predictions[0] for one in predictions)
    assert not (tmp_path / "second").exists()
    weights = [(run.model / "model.safetensors").read_bytes() for run in (classifier, first)]
    assert weights[0] == weights[1], "what the other thread loaded changed the training"
