"""Arithmetic of memory and disk against what a training has, and the lines that a run prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ftr.config.parse import registry_for
from ftr.config.resolve import resolve
from ftr.config.schema import RunConfig
from ftr.train import forecast
from ftr.train.costs import Tensors, checkpoints_at_once, size, tensors_of, validations
from trainings import REVIEWS, train

TENSORS = Tensors(weights=100, gradients=100, optimizer=200, averages=0, saved=100)


def config(**more: object) -> RunConfig:
    settings = {**REVIEWS, "dataset": "sentiment-sample", **more}
    return resolve(settings, registry_for(settings)).config


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.74e9, "1.74 GB"), (25.3e9, "25 GB"), (91e6, "91 MB"), (2500, "2 kB"), (12, "12 bytes")],
)
def test_bytes_as_people_write_them(number: float, text: str) -> None:
    assert size(number) == text


def test_disk_counts_a_checkpoint_before_the_oldest_is_removed() -> None:
    assert TENSORS.checkpoint == 300
    assert TENSORS.disk(checkpoints=0, validations=1) == 100
    assert TENSORS.disk(checkpoints=0, validations=5) == 200
    assert TENSORS.disk(checkpoints=3, validations=1) == 100 + 3 * 300
    assert TENSORS.disk(checkpoints=3, validations=9) == 5 * 100 + 3 * 300


def test_checkpoints_follow_from_seconds_or_steps() -> None:
    assert checkpoints_at_once(config(), seconds=20, steps=50) == 0
    assert checkpoints_at_once(config(), seconds=70, steps=50) == 2
    assert checkpoints_at_once(config(), seconds=7000, steps=50) == 3
    assert checkpoints_at_once(config(**{"train.save_steps": 0}), seconds=7000, steps=50) == 0
    assert checkpoints_at_once(config(**{"train.save_steps": 30}), seconds=1, steps=50) == 1


def test_validations_follow_from_epochs_or_steps() -> None:
    assert validations(config(epochs=2.5), steps=50) == 3
    assert validations(config(**{"train.evaluate_every": 20}), steps=50) == 2


def test_tensors_are_those_of_the_optimizer(tiny_bert: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    optimizer = torch.optim.AdamW(model.parameters())
    model(
        input_ids=torch.ones((2, 8), dtype=torch.int64), labels=torch.tensor([0, 1])
    ).loss.backward()
    optimizer.step()
    state = sum(
        one.numel() * one.element_size()
        for values in optimizer.state.values()
        for name, one in values.items()
        if name != "step"
    )
    with_gradients = [one.grad for one in model.parameters() if one.grad is not None]

    found = tensors_of(model, config())

    assert found.optimizer == pytest.approx(state, rel=0.01)
    assert found.gradients == pytest.approx(sum(one.nbytes for one in with_gradients), rel=0.01)


def test_a_run_prints_disk_then_time_and_memory(
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(forecast, "FIRST_SECONDS", 0.0)

    result = train(REVIEWS, model=tiny_bert, dataset=reviews, output=tmp_path)

    lines = capfd.readouterr().err.splitlines()
    (disk,) = [line for line in lines if line.startswith("disk: ")]
    (cost,) = [line for line in lines if line.startswith("time: ")]
    saved = (result.path / "model" / "model.safetensors").stat().st_size
    assert disk.startswith(f"disk: the model is {size(saved)[:2]}")
    assert re.search(r"about 0:\d\d \(training .* by the first 3 steps, 5 validations ", cost)
    assert "memory: about " in cost
    peak = json.loads((result.path / "run.json").read_text(encoding="utf-8"))["peak_memory_bytes"]
    told = re.search(r"memory: about ([\d.]+) (GB|MB) of", cost)
    assert told is not None
    assert float(told[1]) * {"GB": 1e9, "MB": 1e6}[told[2]] == pytest.approx(peak, rel=0.25)


def test_a_short_run_prints_no_time(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(REVIEWS, model=tiny_bert, dataset=reviews, output=tmp_path, epochs=1)

    assert not [line for line in capfd.readouterr().err.splitlines() if line.startswith("time: ")]


def test_the_peak_is_that_of_the_process_and_not_of_its_parent() -> None:
    large = np.ones(100_000_000)
    code = "from ftr.system import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e7 < int(done.stdout) < 0.75 * large.nbytes
