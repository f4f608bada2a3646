"""Optimizer states and random generators without pickle, types included; when a checkpoint is
due.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ftr.config.resolve import flat
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError
from ftr.train.checkpoint import Checkpoint
from ftr.train.checkpoint_manager import (
    CheckpointManager,
    NotSerializable,
    SaveInterval,
    Tensors,
    join_tensors,
    split_tensors,
)
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


def test_a_checkpoint_is_due_by_steps_also_where_a_multiple_was_passed() -> None:
    interval = SaveInterval(4)
    interval.start(2)
    due = []
    for step in (3, 4, 5, 7, 9, 10):
        if interval.due(step):
            due.append(step)
            interval.saved(step, 0.1)
    assert due == [4, 9] and not interval.due(9)
    assert not SaveInterval(0).due(100)


def test_a_checkpoint_is_due_by_time_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    interval = SaveInterval("auto")
    interval.start(0)
    now[0] += 29
    assert not interval.due(1)
    now[0] += 1
    assert interval.due(2)
    # Writing took three seconds: the next one would make six, a twentieth of two minutes.
    now[0] += 3
    interval.saved(2, 3.0)
    now[0] += 60
    assert not interval.due(3)
    now[0] = 1000 + 120
    assert interval.due(3)
    interval.saved(3, 3.0)
    assert (interval.writing, interval.longest) == (6.0, 3.0)


def test_a_checkpoint_older_than_a_key_resumes_and_one_of_other_values_does_not(
    tmp_path: Path,
) -> None:
    parts = {name: {"name": "x"} for name in ("dataset", "model", "head")}
    config = RunConfig.model_validate({"metrics": ["accuracy"], **parts})
    values: dict[str, object] = json.loads(json.dumps(flat(config)))

    def check(old: dict[str, object]) -> None:
        manager = CheckpointManager(tmp_path, config, {}, 0, 1, print)
        manager._check(Checkpoint(tmp_path, 1, {"config": old, "world": 1, "data": {}}))

    check(values)
    check({key: value for key, value in values.items() if key not in ("tracker", "train.ema")})
    with pytest.raises(ConfigError, match=r"`epochs` was 4\.0, is 3\.0"):
        check({**values, "epochs": 4.0})
    with pytest.raises(ConfigError, match=r"`train\.gone` was 1, is not set"):
        check({**values, "train.gone": 1})
    longer = config.model_copy(update={"epochs": 5.0})
    manager = CheckpointManager(tmp_path, longer, {}, 0, 1, print)
    known = {key: value for key, value in values.items() if key != "epochs"}
    with pytest.raises(ConfigError, match="`epochs` was not set"):
        manager._check(Checkpoint(tmp_path, 1, {"config": known, "world": 1, "data": {}}))
