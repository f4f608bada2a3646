"""The best trials of a sweep joined into one: exact, and an ordinary run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import ModelError
from ftr.model.folder import read_card
from ftr.runs.evaluate import evaluate
from ftr.runs.report import ensemble_lines
from joined import join, noise, opposite, same, sweep_of
from trainings import lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TEXTS = ["a great and funny film", "boring , poor", "long and sweet " * 9, "the"]


def logits(folder: Path, kind: str, *texts: str) -> dict[str, Any]:
    """Return what plain transformers computes."""
    import torch
    import transformers

    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder).eval()
    with torch.no_grad():
        return dict(
            model(**transformers.AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt"))
        )


def test_probabilities_are_the_means_of_those_of_the_members(
    classifier: RunResult, tmp_path: Path
) -> None:
    made = sweep_of(classifier, tmp_path, [same, noise(0.3, 1), noise(0.3, 2), same])
    assert join(made, "top3")["members"] == [0, 1, 2]
    found = ftr.load(tmp_path / "ensemble").predict(TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        each = [
            logits(made[0].trial_path(n) / "model", "SequenceClassification", text)["logits"][
                0
            ].softmax(0)
            for n in range(3)
        ]
        assert (each[0] - each[1]).abs().max() > 1e-3
        assert list(one["probabilities"].values()) == pytest.approx(
            (sum(each) / 3).tolist(), abs=1e-6
        )
        assert (
            one["score"] == max(one["probabilities"].values()) == one["probabilities"][one["label"]]
        )


def test_spans_score_the_means_of_the_scores_and_the_threshold_is_tuned_anew(
    reader: RunResult, tmp_path: Path
) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer

    made = sweep_of(reader, tmp_path, [same, noise(0.2, 1)])
    assert join(made, "top2")["method"] == "outputs"
    predictor, tokenizer = (
        ftr.load(tmp_path / "ensemble"),
        AutoTokenizer.from_pretrained(reader.model),
    )
    rows = Dataset.from_file(reader.record["data"]["splits"]["validation"]["rows"]).to_list()
    short = [
        row
        for row in rows
        if len(tokenizer(row["question"], row["context"])["input_ids"]) <= predictor.card.max_length
    ]
    assert len(short) > 2
    for row, one in zip(short, predictor.predict(short), strict=True):
        texts = row["question"], row["context"]
        each = [
            logits(made[0].trial_path(n) / "model", "QuestionAnswering", *texts) for n in range(2)
        ]
        start, end = ([sum(pair) / 2 for pair in zip(*(one[key][0].tolist() for one in each), strict=True)] for key in
                      ("start_logits", "end_logits"))  # fmt: skip
        encoded = tokenizer(*texts, return_offsets_mapping=True)
        tokens = [index for index, owner in enumerate(encoded.sequence_ids()) if owner == 1]
        score, first, last = max(
            (start[a] + end[b], a, b) for a in tokens for b in tokens if a <= b < a + 30
        )
        offsets = encoded["offset_mapping"]
        assert one["no_answer_score"] == pytest.approx(start[0] + end[0] - score, abs=1e-5)
        assert one["best_answer"] == row["context"][offsets[first][0] : offsets[last][1]]
    state = dict(predictor.card.state)
    assert state == json.loads((tmp_path / "ensemble" / "run.json").read_text())["state"]
    assert state["no_answer_threshold"] == pytest.approx(
        predictor.calibrate(rows)["no_answer_threshold"], abs=1e-5
    )
    assert state["no_answer_threshold"] != read_card(reader.model).state["no_answer_threshold"]


@pytest.mark.parametrize("asked", ["top2", "soup2"])
@pytest.mark.parametrize("task", ["classifier", "reader"])
def test_it_is_an_ordinary_run(
    task: str,
    asked: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run: RunResult = request.getfixturevalue(task)
    summary = join(sweep_of(run, tmp_path, [same, noise(1e-3, 1)]), asked)
    place = tmp_path / "ensemble"
    record = json.loads((place / "run.json").read_text())
    assert (record["status"], record["ensemble"]["candidates"], record["heldout"]) == (
        "done",
        [0, 1],
        "test",
    )
    assert record["ensemble"]["alone"]["scores"] == run.record["scores"]
    assert summary["alone"]["test"] == run.scores[record["primary"]]
    for split in ("validation", "test"):
        again = evaluate(place, split=split)
        assert again.scores[record["primary"]] == pytest.approx(
            record["scores"][split][record["primary"]]
        )
        stored = lines(place / "predictions" / f"{split}.jsonl")
        assert [one["id"] for one in again.predictions] == [one["id"] for one in stored]
        assert [one["score"] for one in again.predictions] == pytest.approx(
            [one["score"] for one in stored], abs=1e-5
        )
        assert [one.get("label", one.get("answer")) for one in again.predictions] == [
            one.get("label", one.get("answer")) for one in stored
        ]
    asking = {
        "question": "who built the mill ?",
        "context": "two brothers built it .",
        "text": "a great film",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(asking) + "\n")
    assert main(["predict", str(place), str(tmp_path / "rows.jsonl")]) == 0
    (one,) = map(json.loads, capsys.readouterr().out.splitlines())
    (expected,) = ftr.load(place / "model").predict([{"id": one["id"], **asking}])
    assert one == expected
    assert main(["evaluate", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == evaluate(place).scores
    text = (place / "README.md").read_text()
    assert (
        f"{asked} of sweep" in text
        and "| test, ensemble | test, 95 % interval | test, trial 0 |" in text
    )
    assert ensemble_lines(summary, "here")[0].startswith("ensemble: here, the ")


def test_the_soup_is_the_mean_of_the_weights_that_do_no_harm_and_a_plain_checkpoint(
    classifier: RunResult, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import pipeline

    said: list[str] = []
    made = sweep_of(classifier, tmp_path, [same, opposite, noise(1e-4, 2)])
    summary = join(made, "soup3", said)
    assert summary["members"] == [0, 2] and list(summary["left_out"]) == ["1"]
    assert any(
        line.startswith("trial 1 is left out of the soup: with it validation accuracy is")
        for line in said
    )
    folder = tmp_path / "ensemble" / "model"
    kept = [
        load_file(made[0].trial_path(number) / "model" / "model.safetensors") for number in (0, 2)
    ]
    soup = load_file(folder / "model.safetensors")
    assert soup.keys() == kept[0].keys()
    assert all(
        torch.allclose(soup[name], (kept[0][name] + kept[1][name]) / 2, atol=1e-7) for name in soup
    )
    assert any(not torch.equal(soup[name], kept[0][name]) for name in soup)
    theirs = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")(
        TEXTS, truncation=True, max_length=48
    )
    for one, their in zip(ftr.load(tmp_path / "ensemble").predict(TEXTS), theirs, strict=True):
        assert one["probabilities"] == pytest.approx(
            {entry["label"]: entry["score"] for entry in their}, abs=1e-5
        )


def test_an_average_that_is_worse_is_kept_and_said_to_be(
    classifier: RunResult, tmp_path: Path
) -> None:
    summary = join(sweep_of(classifier, tmp_path, [same, opposite]), "top2")
    assert (
        summary["scores"]["validation"] < summary["alone"]["validation"]
        and summary["better"] is False
    )
    assert (
        ensemble_lines(summary, "here")[-1].strip()
        == "on validation it is no better than the best trial alone"
    )
    alone = join(sweep_of(classifier, tmp_path / "soup", [same, opposite]), "soup2")
    assert (
        alone["scores"] == pytest.approx(alone["alone"])
        and "the weights of trial 0 alone" in ensemble_lines(alone, "here")[0]
    )


def test_the_same_is_not_built_twice_and_another_is(classifier: RunResult, tmp_path: Path) -> None:
    made = sweep_of(classifier, tmp_path, [same, noise(1e-3, 1), noise(1e-3, 2)])
    first, written = join(made, "top2"), (tmp_path / "ensemble" / "run.json").stat().st_mtime_ns
    assert (
        join(made, "top2") == first
        and (tmp_path / "ensemble" / "run.json").stat().st_mtime_ns == written
    )
    assert (
        join(made, "top3")["members"] == [0, 1, 2]
        and len(list((tmp_path / "ensemble" / "model" / "members").iterdir())) == 3
    )
    assert (
        join(made, "soup2")["method"] == "weights"
        and not (tmp_path / "ensemble" / "model" / "members").exists()
    )
    assert not (tmp_path / "ensemble.new").exists()


def test_a_damaged_ensemble_is_named(classifier: RunResult, tmp_path: Path) -> None:
    join(sweep_of(classifier, tmp_path, [same, same]), "top2")
    folder = tmp_path / "ensemble" / "model"
    shutil.rmtree(folder / "members" / "1")
    with pytest.raises(
        ModelError, match=r"the ensemble `.*` has no member `members/1`: restore it"
    ):
        ftr.load(folder)
    (folder / "ensemble.json").write_text('{"format": 3, "members": []}')
    with pytest.raises(
        ModelError, match=r"ensemble.json` has format 3, this version of ftr reads 1 and 2"
    ):
        ftr.load(folder)
    (folder / "ensemble.json").write_text("{")
    with pytest.raises(ModelError, match=r"ensemble.json` is damaged"):
        ftr.load(folder)
