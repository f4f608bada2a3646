"""The built-in tasks for several labels, numbers and words, and texts in windows: trained, scored,
combined and asked through the commands.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import RequestError
from ftr.runs.evaluate import evaluate
from trainings import CLASSES, lines, review

Capture = pytest.CaptureFixture[str]
LABELS = list(CLASSES)
QUICK = (
    "epochs=3",
    "batch_size=8",
    "learning_rate=5e-3",
    "data.max_length=48",
    "train.precision=fp32",
)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def topics(
    count: int, seed: int = 0, sets: Iterable[Iterable[int]] = ((0,), (0, 1), (2,), ())
) -> list[dict[str, Any]]:
    """Return texts that have the words of none to two classes, with their names."""
    rng, choices = random.Random(seed), [list(one) for one in sets]
    rows = []
    for number in range(count):
        chosen = choices[number % len(choices)]
        words = [review(LABELS[one], rng) for one in chosen] or ["the river by the village"]
        rows.append({"text": " ".join(words), "topics": [LABELS[one] for one in chosen]})
    return rows


def run(capsys: Capture, output: Path, *settings: str) -> tuple[Path, str]:
    """Train by the command; return the run's folder and what was printed."""
    keys = {setting.partition("=")[0] for setting in settings}
    quick = [setting for setting in QUICK if setting.partition("=")[0] not in keys]
    capsys.readouterr()
    code = main(["run", "--json", *settings, *quick, f"output={output}"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return Path(json.loads(out)["path"]), err


@pytest.fixture(scope="module")
def topics_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A finished run of `topics`; not to be changed."""
    folder = tmp_path_factory.mktemp("topics")
    data = write(folder / "data.jsonl", topics(80))
    settings = ["task=topics", f"dataset={data}", f"model={tiny_bert}", f"output={folder / 'runs'}"]
    assert main(["run", *settings, *QUICK]) == 0
    return next((folder / "runs").iterdir())


def test_thresholds_are_stored_and_used_by_evaluate_predict_and_load(
    topics_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    record = json.loads((topics_run / "run.json").read_text())
    thresholds = record["state"]["thresholds"]
    assert list(thresholds) == LABELS and set(thresholds.values()) != {0.5}
    card = topics_run / "model" / "ftr.json"
    assert json.loads(card.read_text())["state"] == record["state"]
    assert evaluate(topics_run).scores == record["scores"]["test"]
    for one in lines(topics_run / "predictions" / "validation.jsonl"):
        expected = [name for name in LABELS if one["probabilities"][name] >= thresholds[name]]
        assert one["labels"] == expected

    other = tmp_path / "run"
    shutil.copytree(topics_run, other)
    changed = json.loads(card.read_text())
    changed["state"]["thresholds"] = {"bad": 1e-6, "good": 0.999999, "so so": 1e-6}
    (other / "model" / "ftr.json").write_text(json.dumps(changed))
    text = topics(1)[0]["text"]
    (loaded,) = ftr.load(other).predict([text])
    assert loaded["labels"] == ["bad", "so so"]
    capsys.readouterr()
    assert main(["predict", str(other), str(write(tmp_path / "one.jsonl", [{"text": text}]))]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["bad", "so so"]
    assert {tuple(one["labels"]) for one in evaluate(other).predictions} == {("bad", "so so")}


def test_the_model_is_a_plain_checkpoint_that_gives_the_same_probabilities(
    topics_run: Path,
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, text = topics_run / "model", topics(2)[1]["text"]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.problem_type == "multi_label_classification"
    with torch.no_grad():
        given = AutoTokenizer.from_pretrained(folder)(
            text, truncation=True, max_length=48, return_tensors="pt"
        )
        plain = model(**given).logits[0].sigmoid().tolist()
    (loaded,) = ftr.load(topics_run).predict([text])
    assert list(loaded["probabilities"].values()) == pytest.approx(plain, abs=1e-6)


def test_labels_without_validation_rows_are_named_and_calibrated_anew_on_other_data(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    train = write(tmp_path / "train.jsonl", topics(60))
    held = write(tmp_path / "held.jsonl", topics(20, 1, [(0,), ()]))
    data = [f"dataset={train}", f"dataset.validation={held}", "data.test_size=0"]
    path, err = run(capsys, tmp_path / "runs", "task=topics", *data, f"model={tiny_bert}")
    note = "validation: no row has the labels `good`, `so so`"
    assert err.count(note) == 1
    record = json.loads((path / "run.json").read_text())
    thresholds = record["state"]["thresholds"]
    assert (thresholds["good"], thresholds["so so"]) == (0.5, 0.5) and any(
        line.startswith(note) for line in record["notes"]
    )
    full = write(tmp_path / "full.jsonl", topics(40, 2))
    other = [f"dataset.validation={full}", f"dataset.test={held}"]
    result = evaluate(path, other, calibrate=True)
    assert not [line for line in result.notes if line.startswith("validation: no row has")]
    assert 0.5 not in result.state["thresholds"].values()
    again = evaluate(path, [f"dataset.validation={held}", f"dataset.test={full}"], calibrate=True)
    assert [line for line in again.notes if line.startswith(note)]


def test_rows_without_the_column_of_labels_are_not_scored(
    topics_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path / "texts.jsonl", [{"text": row["text"]} for row in topics(8)])
    assert main(["evaluate", str(topics_run), f"dataset={data}"]) == 2
    assert "has no labels to score" in capsys.readouterr().err


def test_a_given_threshold_is_used_everywhere(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path / "data.jsonl", topics(60))
    path, _ = run(
        capsys,
        tmp_path / "runs",
        "task=topics",
        f"dataset={data}",
        f"model={tiny_bert}",
        "head.threshold=0.3",
        "train.label_smoothing=0.1",
        "epochs=1",
    )
    assert json.loads((path / "run.json").read_text())["state"] == {}
    for one in lines(path / "predictions" / "test.jsonl"):
        assert one["labels"] == [name for name in LABELS if one["probabilities"][name] >= 0.3]
    assert evaluate(path).predictions == lines(path / "predictions" / "test.jsonl")


def test_an_ensemble_averages_probabilities_and_has_thresholds_of_its_own(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path / "data.jsonl", topics(60))
    path, _ = run(
        capsys,
        tmp_path / "runs",
        "task=topics",
        f"dataset={data}",
        f"model={tiny_bert}",
        "ensemble=seeds",
        "ensemble_size=2",
    )
    text = topics(2)[1]["text"]
    (whole,) = ftr.load(path).predict([text])
    each = [ftr.load(path / "members" / str(n)).predict([text])[0] for n in range(2)]
    mean = np.mean([list(one["probabilities"].values()) for one in each], axis=0)
    assert list(whole["probabilities"].values()) == pytest.approx(mean.tolist(), abs=1e-6)
    states = [
        json.loads(file.read_text())["state"]["thresholds"]
        for file in (path / "run.json", *(path / "members" / str(n) / "run.json" for n in range(2)))
    ]
    assert all(list(one) == LABELS for one in states) and states[0] not in states[1:]
    assert evaluate(path).scores == json.loads((path / "run.json").read_text())["scores"]["test"]


def pairs(count: int) -> list[dict[str, Any]]:
    """Return pairs of texts whose score is how good the second one is."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        name = ("bad", "so so", "good")[number % 3]
        rows.append(
            {"sentence1": "the film", "sentence2": review(name, rng), "score": number % 3 * 2.5}
        )
    return rows


def test_numbers_are_learned_scored_and_averaged_by_an_ensemble(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    from scipy import stats

    data = write(tmp_path / "pairs.jsonl", pairs(60))
    path, _ = run(
        capsys,
        tmp_path / "runs",
        "task=similarity",
        f"dataset={data}",
        f"model={tiny_bert}",
        "ensemble=seeds",
        "ensemble_size=2",
        "epochs=8",
    )
    record = json.loads((path / "run.json").read_text())
    assert record["scores"]["test"]["spearman"] > 0.3
    result = evaluate(path)
    assert result.scores == record["scores"]["test"]
    rows = {f"train-{n}": row["score"] for n, row in enumerate(pairs(60), start=1)}
    found, true = zip(*((one["score"], rows[one["id"]]) for one in result.predictions), strict=True)
    assert result.scores["spearman"] == pytest.approx(
        stats.spearmanr(found, true).statistic, abs=1e-9
    )
    assert result.scores["pearson"] == pytest.approx(
        stats.pearsonr(found, true).statistic, abs=1e-9
    )
    asked = [{"text": "the film", "text_pair": "a great story"}, {"text": "the film alone"}]
    whole = [one["score"] for one in ftr.load(path).predict(asked)]
    each = [
        [one["score"] for one in ftr.load(path / "members" / str(n)).predict(asked)]
        for n in range(2)
    ]
    assert whole == pytest.approx(np.mean(each, axis=0).tolist(), abs=1e-5)
    with pytest.raises(RequestError, match=r"head `regression` gives no confidence.*abstain"):
        ftr.load(path).predict(asked, abstain_below=0.5)
    assert main(["predict", str(path), str(data), "--abstain-below", "0.5"]) == 2
    member = json.loads((path / "members" / "0" / "run.json").read_text())
    assert not member.get("baselines") or member["baselines"]["mean"]["test"]["spearman"] == 0.0


def sentences(count: int) -> list[dict[str, Any]]:
    """Return sentences of known words with a tag each; every second one is long."""
    rng = random.Random(0)
    names = {"two": "B-PER", "brothers": "I-PER", "river": "B-LOC", "village": "B-LOC"}
    rows = []
    for number in range(count):
        words = ["the", "old", *rng.choice([["two", "brothers"], ["river"], ["village"], ["mill"]])]
        words = words * (12 if number % 2 else 1)
        rows.append({"tokens": words, "ner_tags": [names.get(word, "O") for word in words]})
    return rows


def test_words_are_tagged_whole_sentences_and_all(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path / "words.jsonl", sentences(60))
    path, err = run(
        capsys,
        tmp_path / "runs",
        "task=ner",
        f"dataset={data}",
        f"model={tiny_bert}",
        "data.max_length=16",
        "data.stride=4",
        "epochs=6",
        "learning_rate=1e-2",
    )
    assert "windows" in err
    record = json.loads((path / "run.json").read_text())
    assert record["scores"]["test"]["entity_f1"] > 0.9
    assert set(record["scores"]["validation"]["entity_f1_per_type"]) <= {"PER", "LOC"}
    assert evaluate(path).scores == record["scores"]["test"]
    (one,) = ftr.load(path).predict([{"tokens": ["the", "old", "river"]}])
    assert one["tags"] == ["O", "O", "B-LOC"]
    assert [(found["type"], found["text"]) for found in one["entities"]] == [("LOC", "river")]
    (unsure,) = ftr.load(path).predict([{"tokens": ["the", "old", "river"]}], abstain_below=1.0)
    assert unsure["abstained"] and unsure["tags"] is unsure["entities"] is None
    assert unsure["best_guess"]["tags"] == one["tags"]


@pytest.mark.parametrize(("task", "rows"), [("similarity", pairs(40)), ("ner", sentences(40))])
def test_smoothing_of_what_has_no_classes_by_row_is_refused_by_name(
    task: str, rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path / "rows.jsonl", rows)
    settings = [
        f"task={task}",
        f"dataset={data}",
        f"model={tiny_bert}",
        "train.label_smoothing=0.1",
    ]
    assert main(["run", *settings, f"output={tmp_path / 'runs'}"]) == 2
    assert "`train.label_smoothing`: the head" in capsys.readouterr().err


def long_reviews(count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {
            "text": "the film " * (14 if number % 2 else 1) + review(LABELS[number % 3], rng),
            "label": LABELS[number % 3],
        }
        for number in range(count)
    ]


def test_long_texts_are_read_in_windows_or_counted_with_the_advice_to(
    tiny_bert: Path, tmp_path: Path, capsys: Capture
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    data = write(tmp_path / "reviews.jsonl", long_reviews(60))
    settings = [
        "task=sentiment",
        f"dataset={data}",
        f"model={tiny_bert}",
        "data.max_length=24",
        "data.stride=6",
    ]
    path, err = run(capsys, tmp_path / "cut", *settings, "epochs=1", "baselines=false")
    notes = json.loads((path / "run.json").read_text())["notes"]
    (note,) = [line for line in notes if line.startswith("train: text cut")]
    assert "`head.windows=true`" in note and note in err

    path, err = run(
        capsys,
        tmp_path / "runs",
        *settings,
        "head.windows=true",
        "epochs=1",
        "train.class_weights=auto",
        "baselines=false",
    )
    assert "text cut" not in err and "windows" in err
    record = json.loads((path / "run.json").read_text())
    split = record["data"]["splits"]["train"]
    assert split["feature_count"] > split["row_count"]
    assert evaluate(path).scores == record["scores"]["test"]
    model = AutoModelForSequenceClassification.from_pretrained(path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(path / "model")
    text = long_reviews(2)[1]["text"]
    windows = tokenizer(
        text, truncation=True, max_length=24, stride=6, return_overflowing_tokens=True
    )["input_ids"]
    with torch.no_grad():
        logs = [model(torch.tensor([ids])).logits[0].double().log_softmax(0) for ids in windows]
    expected = torch.stack(logs).mean(0).softmax(0).tolist()
    (one,) = ftr.load(path).predict([text])
    assert len(windows) > 2
    assert list(one["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_boosting_votes_over_windows(tiny_bert: Path, tmp_path: Path, capsys: Capture) -> None:
    data = write(tmp_path / "reviews.jsonl", long_reviews(60))
    path, _ = run(
        capsys,
        tmp_path / "runs",
        "task=sentiment",
        f"dataset={data}",
        f"model={tiny_bert}",
        "data.max_length=24",
        "data.stride=6",
        "head.windows=true",
        "boosting=2",
        "epochs=1",
    )
    for one in lines(path / "predictions" / "test.jsonl"):
        assert sum(one["probabilities"].values()) == pytest.approx(1.0)
