"""The card inside `model/` and `usage.py`: what they say, what they leave out, and that their code
runs.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import ftr
from ftr.cli.main import main
from ftr.registry.registry import get_registry
from ftr.runs.card import PLACE, has_cards, model_card, write_cards
from ftr.runs.record import provenance
from ftr.runs.run import RunResult
from trainings import CLASSES, REVIEWS, train

WITHOUT_FTR = """
import json, runpy, sys
sys.modules["ftr"] = sys.modules["ftr_plugins"] = None  # an import of either fails
rows = [json.loads(line) for line in sys.stdin]
for path in sys.argv[1:]:
    answer = runpy.run_path(path)["answer"]
    print(json.dumps([answer(row["question"], row["context"]) for row in rows]))
"""


def card_of(run: RunResult) -> Any:
    return ModelCard.load(run.model / "README.md")


def code_in(text: str) -> list[str]:
    """Return the Python blocks of a card."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_card_has_the_metadata_of_the_hub_with_the_scores_of_the_run(
    classifier: RunResult,
) -> None:
    data = card_of(classifier).data
    assert (data.pipeline_tag, data.library_name, data.license) == (
        "text-classification",
        "transformers",
        "unknown",
    )
    assert data.labels == list(CLASSES) and data.base_model is None and data.datasets is None
    found = {(one.dataset_split, one.metric_type): one.metric_value for one in data.eval_results}
    scores = classifier.record["scores"]
    for split in ("validation", "test"):
        assert found[split, "accuracy"] == pytest.approx(scores[split]["accuracy"], rel=1e-5)
    assert not {name for _, name in found} & {"loss", "f1_macro", "confusion_matrix"}
    assert {one.dataset_name for one in data.eval_results} == {"reviews.csv"}


def test_the_card_has_neither_paths_nor_times_nor_texts_of_the_data(
    classifier: RunResult, reader: RunResult, reviews: Path, questions: Path
) -> None:
    texts = {row.split(",")[0] for row in reviews.read_text("utf-8").splitlines()[1:]}
    for article in json.loads(questions.read_text("utf-8"))["data"]:
        for passage in article["paragraphs"]:
            texts |= {passage["context"], *(one["question"] for one in passage["qas"])}
    for run in (classifier, reader):
        text = (run.model / "README.md").read_text("utf-8")
        assert "License: ftr does not know" in text and "rows only" in text
        assert not [one for one in texts if len(one) > 8 and one in text]
        assert str(reviews.parent) not in text and "/tmp" not in text
        assert "examples/s" not in text and "seconds" not in text
        assert "examples/s" in (run.path / "README.md").read_text("utf-8")


def test_the_base_the_license_and_the_dataset_are_those_that_are_registered(
    classifier: RunResult, tmp_path: Path
) -> None:
    from ftr.config.schema import RunConfig

    config = {
        **classifier.record["config"],
        "model": {"name": "minilm", "options": {}},
        "dataset": {"name": "sst2", "options": {}},
    }
    record = {
        **classifier.record,
        "config": config,
        "components": provenance(RunConfig.model_validate(config), get_registry()),
        "model_source": {"source": "/home/me/x", "hub_id": "someone/small", "revision": "abc"},
    }
    data: Any = ModelCard(model_card(record, classifier.model)).data
    assert (data.license, data.language, data.datasets) == (
        "apache-2.0",
        "en",
        ["stanfordnlp/sst2"],
    )
    assert (data.base_model, data.base_model_relation) == ("someone/small", "finetune")
    named = {**config, "dataset": {"name": "hub:someone/texts:de", "options": {}}}
    other: Any = ModelCard(model_card({**record, "config": named}, classifier.model)).data
    assert other.datasets == ["someone/texts"]


@pytest.mark.parametrize("name", ["imdb", "sst2", "tweet-sentiment", "squad", "squad-v2"])
def test_the_hub_id_of_a_dataset_is_the_one_that_it_reads(name: str) -> None:
    registry = get_registry()
    spec, target = registry.find("dataset", name).spec, registry.target("dataset", name)
    assert getattr(spec, "hub_id") == getattr(target, "hub_id") != ""  # noqa: B009


def test_the_code_of_a_card_runs_and_answers_as_ftr_does(classifier: RunResult) -> None:
    plain, ours = (
        code.replace(PLACE, str(classifier.model))
        for code in code_in((classifier.model / "README.md").read_text("utf-8"))
    )
    asked = "a great and funny film"
    (expected,) = ftr.load(classifier.path).predict([asked])
    names: dict[str, Any] = {}
    exec(plain.replace("A text.", asked), names)
    (found,) = names["classifier"]([asked], truncation=True, max_length=48)
    assert found["label"] == expected["label"]
    assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
    exec(ours, {})


@pytest.mark.slow
def test_usage_answers_as_ftr_does_in_a_process_without_ftr(
    reader: RunResult, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        {"id": one["id"], "question": one["question"], "context": passage["context"]}
        for article in json.loads(questions.read_text("utf-8"))["data"]
        for passage in article["paragraphs"]
        for one in passage["qas"]
    ]
    # Questions that are cut, a passage of many windows, one of white space around marks, no text.
    long = " ".join(one["context"] for one in asked[:12])
    asked += [{**one, "id": f"long {n}", "context": long} for n, one in enumerate(asked[:6])]
    asked.append({"id": "cut", "question": asked[0]["question"] * 9, "context": long})
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
    models, answers = [reader.model, tmp_path / "strict"], list[list[dict[str, Any]]]()
    for model in models:
        if model != reader.model:  # half of the questions get no answer
            shutil.copytree(reader.model, model)
            scores = [one["no_answer_score"] for one in answers[0]]
            card = json.loads((model / "ftr.json").read_text("utf-8"))
            card["state"]["no_answer_threshold"] = statistics.median(scores)
            (model / "ftr.json").write_text(json.dumps(card), encoding="utf-8")
        assert main(["predict", str(model), str(rows)]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    command = [sys.executable, "-c", WITHOUT_FTR, *(str(one / "usage.py") for one in models)]
    done = subprocess.run(command, input=rows.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    for ours, line in zip(answers, done.stdout.splitlines(), strict=True):
        assert json.loads(line) == [
            {key: one[key] for key in ("answer", "start", "end")} for one in ours
        ]
    assert 20 < sum(not one["answer"] for one in answers[1]) < len(asked) - 20


def test_a_model_that_needs_ftr_has_no_usage(reader: RunResult, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reader.path, tmp_path / "run"))
    (folder / "model" / "usage.py").unlink()
    (folder / "model" / "README.md").unlink()
    card = json.loads((folder / "model" / "ftr.json").read_text("utf-8"))
    (folder / "model" / "ftr.json").write_text(json.dumps({**card, "clean": ["html"]}), "utf-8")
    assert not has_cards(folder)
    write_cards(folder, reader.record, get_registry())
    assert has_cards(folder) and not (folder / "model" / "usage.py").exists()
    assert "usage" not in (folder / "model" / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_a_model_of_best_member_has_its_own_scores_and_one_of_adapters_says_so(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    several = train(
        {**REVIEWS, "seeds": 2}, dataset=reviews, model=tiny_bert, output=tmp_path, epochs=1
    )
    best = next(
        one
        for one in several.record["members"]
        if one["path"].endswith(f"/{several.record['best_member']}")
    )
    found = {
        (one.dataset_split, one.metric_type): one.metric_value
        for one in card_of(several).data.eval_results
    }
    for split, scores in best["scores"].items():
        assert found[split, "accuracy"] == pytest.approx(scores["accuracy"], rel=1e-5)
    adapted = train(
        {**REVIEWS, "train.lora.rank": 2},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
        epochs=1,
    )
    assert card_of(adapted).data.library_name == "peft"
    (plain, _) = code_in(card_of(adapted).text)
    names: dict[str, Any] = {}
    exec(plain.replace(PLACE, str(adapted.model)), names)
    (expected,) = ftr.load(adapted.path).predict(["a great film"])
    (one,) = names["classifier"](["a great film"])
    assert one["score"] == pytest.approx(expected["score"], abs=1e-5)


@pytest.mark.slow
def test_the_code_of_several_labels_and_of_a_number_answers_as_ftr_does(
    tiny_bert: Path, tmp_path: Path
) -> None:
    tiny = {"epochs": 1, "data.limit": 60, "baselines": False, "model": tiny_bert}
    row = {"text": "A cat sits.", "text_pair": "A dog runs."}
    for task in ("topics", "similarity"):
        run = train({"task": task, "train.precision": "fp32"}, output=tmp_path, **tiny)
        plain, _ = code_in((run.model / "README.md").read_text("utf-8"))
        names: dict[str, Any] = {}
        exec(plain.replace(PLACE, str(run.model)), names)
        (expected,) = ftr.load(run.path).predict([row])
        found = names["classifier"](row)
        if task == "similarity":
            assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
        else:
            scores = {one["label"]: one["score"] for one in found}
            assert scores == pytest.approx(expected["probabilities"], abs=1e-5)
