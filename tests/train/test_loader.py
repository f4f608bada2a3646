"""Steps that are read ahead are the same steps, and a step waits for no value on the device."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from ftr.train.batches import MicroBatch
from ftr.train.hardware import Ladder
from ftr.train.loader import StepLoader, read_ahead
from stepping import Case, trainer_of

Step = list[MicroBatch]


@pytest.fixture(scope="module", params=["classification", "qa"])
def case(request: pytest.FixtureRequest, tiny_bert: Path) -> Case:
    return Case(request.param, tiny_bert)


def test_steps_read_ahead_are_those_of_the_loader(case: Case) -> None:
    steps = case.steps(2, batch=3)
    pairs = zip(StepLoader(steps), read_ahead(iter(StepLoader(steps))), strict=True)
    for plain, ahead in pairs:
        assert [micro.examples for micro in plain] == [micro.examples for micro in ahead]
        for one, other in zip(plain, ahead, strict=True):
            assert all(torch.equal(one.inputs[key], other.inputs[key]) for key in one.inputs)


def test_a_thread_reads_one_step_ahead_while_the_last_is_worked_on() -> None:
    read = {number: threading.Event() for number in range(6)}

    def source() -> Iterator[Step]:
        for number, event in read.items():
            event.set()
            yield [MicroBatch({}, number)]

    for number, _ in enumerate(read_ahead(source())):
        assert number == 5 or read[number + 1].wait(10)
        assert number >= 4 or not read[number + 2].is_set()


def test_steps_that_draw_random_numbers_are_not_read_ahead() -> None:
    def source() -> Iterator[Step]:
        for number in count():
            random.random()
            yield [MicroBatch({}, number)]

    plain, ahead = source(), read_ahead(source())
    random.seed(0)
    wanted = [(next(plain)[0].examples, random.random()) for _ in range(4)]
    random.seed(0)
    assert [(next(ahead)[0].examples, random.random()) for _ in range(4)] == wanted


def test_an_error_in_the_thread_is_raised_at_its_step() -> None:
    def source() -> Iterator[Step]:
        yield [MicroBatch({}, 1)]
        raise ValueError("row 2")

    steps = read_ahead(source())
    assert next(steps)[0].examples == 1
    with pytest.raises(ValueError, match="row 2"):
        next(steps)


def test_a_step_that_was_read_before_memory_ran_out_is_cut_again(
    case: Case, tmp_path: Path
) -> None:
    steps = case.steps(tokens=1000)
    trainer = trainer_of(case, steps, tmp_path, ladder=Ladder(1000, 1000, auto=True, top=1000))
    early, seen = steps[0], []
    case.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    steps.token_limit = 60
    trainer.training_step(case.model, early)
    assert len(early) == 1 and len(seen) > 1
    assert all(rows == 1 or rows * longest <= 60 for rows, longest in seen)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_value_is_read_from_the_device_in_a_step(
    tiny_bert: Path, tmp_path: Path, smoothing: float
) -> None:
    """The device `meta` has no values: to read one is an error."""
    from ftr.model.attention import use_gpu_attention

    case = Case("classification", tiny_bert)
    use_gpu_attention(case.model)
    trainer = trainer_of(case, case.steps(4), tmp_path, smoothing)
    trainer.create_optimizer_and_scheduler(1)
    device = torch.device("meta")
    case.model.to(device)
    trainer.accumulator.device = trainer.args.__dict__["device"] = device
    moved: Any = {}

    def to_device(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        moved.update(tensors)
        return {name: one.to(device) for name, one in tensors.items()}

    trainer.accumulator.to_device = to_device
    loss = trainer.accumulator.step(
        trainer.model, case.model, trainer.steps[0], trainer.steps.batches[0]
    )
    norm = torch.nn.utils.clip_grad_norm_(case.model.parameters(), 1.0)
    assert loss.device == norm.device == device and "attention_mask" in moved
    assert all(one.grad is not None for one in case.model.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()
