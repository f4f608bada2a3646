"""Optimizer states without pickle: what is packed comes back, types included; random generators
too.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ftr.train.checkpoint_manager import NotSerializable, Tensors, join_tensors, split_tensors
from ftr.train.hardware import rng_state, set_rng_state


def through_files(value: Any, folder: Path) -> Any:
    """Pack, write, read and join."""
    tensors: Tensors = {}
    plain = json.dumps(split_tensors(value, "it", tensors))
    save_file(tensors, folder / "t.safetensors")
    return join_tensors(json.loads(plain), load_file(folder / "t.safetensors"))


def test_nested_values_keep_their_types(tmp_path: Path) -> None:
    value = {
        0: {"betas": (0.9, 0.999), "lr": 1e-3, "on": True, "none": None},
        "list": [1, [2.5, "x"], {}, ()],
        "inf": float("inf"),
    }
    back = through_files(value, tmp_path)
    assert back == value and type(back[0]["betas"]) is tuple and 0 in back


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adafactor", "Rprop", "LBFGS"])
def test_an_optimizer_goes_on_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        weight = torch.nn.Parameter(torch.arange(12.0).view(3, 4).clone())
        options = {"momentum": 0.9} if name == "SGD" else {}
        return weight, getattr(torch.optim, name)([weight], lr=0.1, **options)

    def steps(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):

            def closure() -> float:
                optimizer.zero_grad()
                loss = ((weight - 3) ** 2).mean()
                (weight.grad,) = torch.autograd.grad(loss, [weight])
                return loss.item()

            optimizer.step(closure)

    weight, optimizer = fresh()
    steps(weight, optimizer, 5)
    other, again = fresh()
    with torch.no_grad():
        other.copy_(weight)
    again.load_state_dict(through_files(optimizer.state_dict(), tmp_path))
    steps(weight, optimizer, 5)
    steps(other, again, 5)
    assert torch.equal(weight, other)


def test_an_object_that_cannot_be_written_is_named() -> None:
    with pytest.raises(NotSerializable, match=r"`it.state.3` is a `object`"):
        split_tensors({"state": {3: object()}}, "it", {})


def test_views_are_written_alone(tmp_path: Path) -> None:
    flat = torch.arange(10.0)
    back = through_files([flat[:4], flat[2:6], flat.view(5, 2).t()], tmp_path)
    assert (
        torch.equal(back[0], flat[:4])
        and torch.equal(back[1], flat[2:6])
        and torch.equal(back[2], flat.view(5, 2).t())
    )


def test_all_generators_come_back() -> None:
    def draw() -> tuple[Any, ...]:
        return (
            torch.rand(3).tolist(),
            np.random.normal(size=3).tolist(),
            random.gauss(0, 1),
            random.random(),
        )

    before = rng_state("cpu")
    try:
        # One normal number of each pair is kept for the next call.
        np.random.normal()
        random.gauss(0, 1)
        state = rng_state("cpu")
        first = draw()
        assert draw() != first
        set_rng_state(state, "cpu")
        assert draw() == first
    finally:
        set_rng_state(before, "cpu")
