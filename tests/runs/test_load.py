"""`ftr.load`, and that plain transformers gives the same answers from the same directory."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import DataError, ModelError
from trainings import CLASSES, lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TEXTS = ["a great and funny film", "boring , poor", "long and sweet " * 20, "the", "hated hated it"]


def contexts(path: Path) -> list[dict[str, Any]]:
    """Return the questions of a SQuAD file with their contexts."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    found = [
        (qa, paragraph["context"])
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    return [
        {"id": qa["id"], "question": qa["question"], "context": context} for qa, context in found
    ]


def test_texts_and_mappings_are_answered_in_order(classifier: RunResult) -> None:
    predictor = ftr.load(classifier.path)
    plain = predictor.predict(TEXTS)
    assert [one["id"] for one in plain] == ["0", "1", "2", "3", "4"]
    assert plain == predictor.predict([{"text": text} for text in TEXTS])
    assert plain == ftr.load(classifier.model).predict(iter(TEXTS))
    assert {one["label"] for one in plain} <= set(CLASSES) and len(
        {one["label"] for one in plain}
    ) > 1
    assert predictor.predict([]) == []
    assert predictor.predict([{"id": "mine", "text": "good"}])[0]["id"] == "mine"


def test_the_predictions_of_the_run_come_again(reader: RunResult, questions: Path) -> None:
    stored = {one["id"]: one for one in lines(reader.path / "predictions" / "test.jsonl")}
    asked = [row for row in contexts(questions) if row["id"] in stored]
    for one in ftr.load(reader.path).predict(asked):
        known = stored[one["id"]]
        assert (one["answer"], one["start"], one["end"]) == (
            known["answer"],
            known["start"],
            known["end"],
        )
        assert one["score"] == pytest.approx(known["score"], abs=1e-5)


def test_a_pipeline_of_transformers_labels_as_ftr_does(classifier: RunResult) -> None:
    from transformers import pipeline

    theirs = pipeline("text-classification", model=str(classifier.model), top_k=None, device="cpu")(
        TEXTS, truncation=True, max_length=48
    )
    for ours, their in zip(ftr.load(classifier.path).predict(TEXTS), theirs, strict=True):
        assert ours["label"] == their[0]["label"]
        assert ours["probabilities"] == pytest.approx(
            {one["label"]: one["score"] for one in their}, abs=1e-5
        )


def test_the_reader_loaded_with_transformers_alone_answers_as_ftr_does(
    reader: RunResult, questions: Path
) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reader.model)
    model = AutoModelForQuestionAnswering.from_pretrained(reader.model).eval()
    card = json.loads((reader.model / "ftr.json").read_text(encoding="utf-8"))
    short = [
        row
        for row in contexts(questions)
        if len(tokenizer(row["question"], row["context"])["input_ids"]) <= card["max_length"]
    ]
    assert len(short) > 5
    for row, ours in zip(short, ftr.load(reader.path).predict(short), strict=True):
        encoded = tokenizer(
            row["question"], row["context"], return_tensors="pt", return_offsets_mapping=True
        )
        offsets, owners = encoded.pop("offset_mapping")[0].tolist(), encoded.sequence_ids()
        with torch.no_grad():
            output = model(**encoded)
        start, end = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        tokens = [index for index, owner in enumerate(owners) if owner == 1]
        score, first, last = max(
            (start[a] + end[b], a, b) for a in tokens for b in tokens if a <= b < a + 30
        )
        assert ours["no_answer_score"] == pytest.approx(start[0] + end[0] - score, abs=1e-4)
        text = row["context"][offsets[first][0] : offsets[last][1]]
        assert ours["best_answer"] == text
        assert ours["answer"] == (
            "" if start[0] + end[0] - score > card["state"]["no_answer_threshold"] else text
        )


def test_a_row_that_cannot_be_used_is_named(classifier: RunResult, reader: RunResult) -> None:
    with pytest.raises(DataError, match=r"^row 1: empty text. Columns needed: text.$"):
        ftr.load(classifier.path).predict(["good", "  "])
    with pytest.raises(
        DataError,
        match=r"^a plain text is not enough for head `extractive-qa`: give a mapping with "
        r"`question`, `context`.$",
    ):
        ftr.load(reader.path).predict(["who ?"])
    with pytest.raises(DataError, match=r"row 0: empty context. Columns needed: question, context"):
        ftr.load(reader.path).predict([{"question": "who ?"}])


def test_what_is_no_run_is_named(tmp_path: Path, tiny_bert: Path) -> None:
    for folder in (tmp_path / "nowhere", tiny_bert):
        with pytest.raises(
            ModelError, match=r"is neither a run directory nor a model directory written by ftr"
        ):
            ftr.load(folder)
    (tmp_path / "run.json").write_text('{"status": "failed"}')
    with pytest.raises(ModelError, match=r"has no model yet: its status is in"):
        ftr.load(tmp_path)


def test_weights_that_are_gone_are_named(classifier: RunResult, tmp_path: Path) -> None:
    shutil.copytree(classifier.model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights, no `\*\.safetensors` file"):
        ftr.load(tmp_path)


FIRST = """
import builtins, json, sys, threading

kept = sys.stdout, sys.stderr, builtins.__import__, sys.meta_path, list(sys.meta_path)
import ftr

start, answers = threading.Barrier(8), {}

def work(number):
    start.wait()
    answers[number] = ftr.load(sys.argv[1]).predict(sys.argv[2:])

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert kept[:4] == (sys.stdout, sys.stderr, builtins.__import__, sys.meta_path)
assert all(any(finder is one for one in sys.meta_path) for finder in kept[4])
print(json.dumps([answers[number] for number in range(8)]))
"""


@pytest.mark.slow
def test_eight_threads_that_load_as_the_first_thing_a_process_does_all_get_the_right_answers(
    classifier: RunResult,
) -> None:
    command = [sys.executable, "-c", FIRST, str(classifier.path), *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    expected = ftr.load(classifier.path).predict(TEXTS)
    for answers in json.loads(done.stdout):
        assert [one["label"] for one in answers] == [one["label"] for one in expected]
        assert [one["score"] for one in answers] == pytest.approx(
            [one["score"] for one in expected], abs=1e-5
        )


def test_threads_share_a_model_and_get_what_one_alone_gets(
    reader: RunResult, questions: Path
) -> None:
    predictor, rows = ftr.load(reader.path), contexts(questions)[:12]
    expected = [predictor.predict([row]) for row in rows]
    assert pickle.loads(pickle.dumps(predictor)).predict(rows[:1]) == expected[0]
    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(lambda _: [predictor.predict([row]) for row in rows], range(8)):
            assert answers == expected


def test_loading_a_model_leaves_the_random_numbers_of_the_program_alone(
    classifier: RunResult,
) -> None:
    import random

    import numpy as np
    import torch

    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    ftr.load(classifier.path)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = draws()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    ftr.load(classifier.path).predict(TEXTS)
    assert draws() == expected


@pytest.mark.parametrize("change", ["one byte", "cut", "another model"])
def test_weights_that_were_changed_are_noticed_wherever_they_are_used(
    change: str,
    classifier: RunResult,
    tiny_bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(classifier.path, tmp_path / "run")
    weights = run / "model" / "model.safetensors"
    content = weights.read_bytes()
    changed = {
        "one byte": content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
        "cut": content[:9000],
        "another model": (tiny_bert / "model.safetensors").read_bytes(),
    }
    weights.write_bytes(changed[change])
    for given in (run, run / "model"):
        with pytest.raises(
            ModelError,
            match=r"run/model/model.safetensors` is not the file that this run saved: its sha256 "
            r"differs",
        ):
            ftr.load(given)
    (tmp_path / "in.txt").write_text("good film\n")
    for words in (
        ["predict", str(run), str(tmp_path / "in.txt")],
        ["evaluate", str(run)],
        ["resume", str(run)],
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("ftr: error: `") and "Restore it, or train again." in line
