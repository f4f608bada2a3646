"""The moving average of the weights: its formula, what is evaluated and kept, and its way through a
checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ftr.train.optim import ExponentialMovingAverage
from ftr.train.session import Session
from ftr.train.trainer import StepTrainer
from interruptions import interrupted, outcome, resumed
from trainings import REVIEWS, train

EMA = {**REVIEWS, "baselines": False, "epochs": 3, "train.ema": 0.8, "train.save_steps": 2}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_mean_is_the_weighted_mean_of_the_weights_after_each_step(decay: float) -> None:
    layer = nn.Linear(3, 2)
    averages = ExponentialMovingAverage(layer, decay)
    seen = []
    for step in range(12):
        with torch.no_grad():
            layer.weight += torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
        averages.update()
        seen.append(layer.weight.detach().double().clone())
    shares = torch.tensor(
        [decay ** (len(seen) - 1 - step) for step in range(len(seen))], dtype=torch.float64
    )
    expected = torch.einsum("s,sij->ij", shares / shares.sum(), torch.stack(seen))
    live = layer.weight.detach().clone()
    with averages.applied():
        assert torch.allclose(layer.weight.double(), expected, atol=1e-5)
    assert torch.equal(layer.weight, live), "the weights that train come back to the bit"
    averages.apply()
    assert torch.allclose(layer.weight.double(), expected, atol=1e-5)


def test_they_come_back_to_the_bit_from_a_file(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    averages = ExponentialMovingAverage(layer, 0.9)
    for _ in range(5):
        with torch.no_grad():
            layer.bias.add_(0.3)
        averages.update()
    averages.save(tmp_path / "averages.safetensors")
    again = ExponentialMovingAverage(layer, 0.9)
    again.load(tmp_path / "averages.safetensors")
    assert again.count == 5 and all(
        torch.equal(again.means[name], mean) for name, mean in averages.means.items()
    )


def test_what_never_trains_is_not_averaged() -> None:
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert set(ExponentialMovingAverage(layer, 0.9).weights) == {"weight"}


def test_the_averages_are_evaluated_kept_and_predicted_with(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    import ftr

    plain = train({**EMA, "train.ema": None}, dataset=reviews, model=tiny_bert, output=tmp_path)
    mean = train(EMA, dataset=reviews, model=tiny_bert, output=tmp_path)
    one, other = (
        torch.tensor(
            [list(p["probabilities"].values()) for p in ftr.load(run.path).predict(["a bad film"])]
        )
        for run in (plain, mean)
    )
    assert not torch.equal(one, other)
    zero = train({**EMA, "train.ema": 0.0}, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert (
        outcome(zero.path)["files"]["model.safetensors"]
        == outcome(plain.path)["files"]["model.safetensors"]
    )
    assert outcome(zero.path)["predictions"] == outcome(plain.path)["predictions"]


@pytest.mark.parametrize(
    ("owner", "name", "call", "keep"),
    [
        (StepTrainer, "training_step", 8, "best"),
        pytest.param(Session, "finish", 1, "last", marks=pytest.mark.slow),
    ],
)
def test_a_training_that_is_cut_off_ends_the_same(
    owner: type, name: str, call: int, keep: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {**EMA, "train.keep": keep, "train.save_steps": 5 if name == "finish" else 2}
    whole = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path / "whole")
    run = interrupted(
        settings, owner, name, call, dataset=reviews, model=tiny_bert, output=tmp_path / "cut"
    )
    resumed(run)
    assert outcome(run) == outcome(whole.path)
