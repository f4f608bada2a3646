"""The outputs of a frozen backbone: computed once, and a training that reads them ends as one that
runs the backbone in every pass.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ftr.model.pretrained import Pretrained
from ftr.testing.tiny import FAMILIES, tiny_checkpoint
from ftr.train import frozen
from ftr.train import stored as outputs
from trainings import QUESTIONS, REVIEWS, Settings, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

FROZEN: Settings = {
    **REVIEWS,
    "epochs": 2,
    "learning_rate": 2e-2,
    "train.freeze": "backbone",
    "train.dropout": 0,
    "train.attention_dropout": 0,
}
DROPOUT = ("train.dropout", "train.attention_dropout")
"""Models without any refuse these."""
FIRST = ("roberta", "distilbert", "deberta-v2", "xlm-roberta", "mpnet")
READ = {"bert": outputs.POOLED, **dict.fromkeys(FIRST, outputs.FIRST)}
"""What the heads of families read; those of others read the states of all tokens."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(cache: Path) -> list[Path]:
    return sorted(cache.glob("outputs/*/outputs.npy"))


def about(run: RunResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "run.json").read_text())["stored_outputs"]
    return found


def losses(run: RunResult) -> list[float]:
    """Return the loss of every step, and the score of every evaluation."""
    entries = lines(run.path / "metrics.jsonl")
    return [
        float(entry["loss" if entry["kind"] == "train" else "value"])
        for entry in entries
        if entry["kind"] in ("train", "validation")
    ]


def check_equal(one: RunResult, other: RunResult) -> None:
    assert losses(one) == pytest.approx(losses(other), rel=1e-4, abs=1e-5)
    assert one.scores == other.scores
    mine, theirs = (load_file(run.path / "model/model.safetensors") for run in (one, other))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def both(cache: Path, settings: Settings, **keys: Any) -> RunResult:
    """Train with stored outputs and without, check that these are equal, and return the first."""
    first = train(settings, **keys)
    second = train(settings, **keys, **{"train.cache_outputs": False})
    assert about(second) == {"used": False, "reason": "`train.cache_outputs` is false"}
    check_equal(first, second)
    return first


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family == "bert" else pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_a_training_that_reads_outputs_ends_as_one_that_runs_the_backbone(
    family: Any, reviews: Path, tmp_path: Path, cache: Path
) -> None:
    model = tiny_checkpoint(family, tmp_path / family)
    unknown = DROPOUT if family in ("eurobert", "qwen3") else ()
    settings = {key: value for key, value in FROZEN.items() if key not in unknown}
    found = about(both(cache, settings, model=model, dataset=reviews, output=tmp_path / "runs"))
    if family in READ:
        assert found == {"used": True, "read": READ[family]} and len(stored(cache)) == 2
    else:
        assert "all tokens" in found["reason"] and not stored(cache)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"train.dropout": 0.1}, "it draws dropout: set `train.dropout=0`"),
        ({"train.attention_dropout": 0.1}, "it draws dropout: set `train.dropout=0`"),
        ({"train.unfreeze": "all"}, "not all of it is frozen"),
    ],
)
def test_a_backbone_that_differs_from_pass_to_pass_runs_and_the_record_says_why(
    extra: Settings, reason: str, tiny_bert: Path, reviews: Path, tmp_path: Path, cache: Path
) -> None:
    run = train({**FROZEN, **extra}, model=tiny_bert, dataset=reviews, output=tmp_path / "runs")
    assert not about(run)["used"] and reason in about(run)["reason"] and not stored(cache)


def test_a_head_that_reads_every_token_is_given_the_backbone(
    tiny_bert: Path, questions: Path, tmp_path: Path, cache: Path
) -> None:
    alike = {key: FROZEN[key] for key in FROZEN if key.startswith("train.")}
    settings = {**QUESTIONS, **alike, "epochs": 1}
    run = train(settings, model=tiny_bert, dataset=questions, output=tmp_path / "runs")
    assert "all tokens" in about(run)["reason"] and not stored(cache)


def test_another_training_finds_the_outputs_and_a_damaged_file_is_made_again(
    tiny_bert: Path, reviews: Path, tmp_path: Path, cache: Path
) -> None:
    keys: dict[str, Any] = {"model": tiny_bert, "dataset": reviews, "output": tmp_path / "runs"}
    first = train(FROZEN, **keys)
    places = stored(cache)
    before = [place.stat().st_mtime_ns for place in places]
    train({**FROZEN, "learning_rate": 1e-3, "seed": 7}, **keys)
    assert [place.stat().st_mtime_ns for place in stored(cache)] == before
    whole = places[0].read_bytes()
    places[0].write_bytes(whole[: len(whole) // 2])
    check_equal(first, train(FROZEN, **keys))
    assert places[0].read_bytes() == whole
    # Other rows, and other lengths of them, have other outputs.
    train({**FROZEN, "data.max_length": 12}, **keys)
    assert len(stored(cache)) > len(places)


def test_a_head_that_trains_a_pooler_reads_the_first_token(
    tiny_bert: Path, reviews: Path, tmp_path: Path, cache: Path
) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    # A masked language model has no pooler: a new one belongs to the head.
    model = tmp_path / "masked"
    config = AutoConfig.from_pretrained(tiny_bert)
    AutoModelForMaskedLM.from_config(config).save_pretrained(model)
    Pretrained(str(tiny_bert)).tokenizer().save_pretrained(model)
    run = both(cache, FROZEN, model=model, dataset=reviews, output=tmp_path / "runs")
    assert about(run) == {"used": True, "read": outputs.FIRST}


def test_of_two_that_need_the_same_outputs_one_computes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Path] = []

    class Split:
        features = range(4)

    def compute(path: Path, *rest: object) -> None:
        computed.append(path)
        np.save(path, np.zeros((4, 2), dtype=np.float32))

    monkeypatch.setattr(frozen, "_compute", compute)
    together: Any = (tmp_path / "place", None, None, Split())
    threads = [threading.Thread(target=frozen._read_or_compute, args=together) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1 and not list(tmp_path.rglob("*.new-*"))
