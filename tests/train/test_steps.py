"""One optimizer step is the same step, whatever it is cut into: gradient, loss, and the curve of a
whole run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftr.errors import PluginError
from ftr.train.batches import MicroBatch, Shard
from ftr.train.loader import StepLoader, Steps
from ftr.train.steps import ROWS_PER_MICRO_BATCH, loss_terms, micro_limits
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from stepping import Case, trainer_of
from trainings import QUESTIONS, REVIEWS, losses, train

STILL = {"train.dropout": 0.0, "train.attention_dropout": 0.0}


@pytest.fixture(scope="module", params=["classification", "qa"])
def case(request: pytest.FixtureRequest, tiny_bert: Path) -> Case:
    return Case(request.param, tiny_bert)


@pytest.mark.parametrize(
    ("limit", "tokens"),
    [(1, None), (2, None), (3, None), (4, None), (10, None), (11, None), (1000, 96), (1000, 150)],
)
def test_gradient_and_loss_of_a_step_are_those_of_the_whole_batch(
    case: Case, limit: int, tokens: int | None, tmp_path: Path
) -> None:
    count = len(case.features)
    loss, gradients = case.whole()
    steps = case.steps(limit, tokens, batch=count)
    trainer = trainer_of(case, steps, tmp_path)
    case.model.zero_grad()
    assert trainer.training_step(case.model, steps[0]).item() == pytest.approx(loss, abs=1e-6)
    for ours, plain in zip(case.gradients(), gradients, strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)
    examples, *shown = trainer.meter.pending
    assert examples == count and shown == [pytest.approx(loss, abs=1e-6)]


def test_a_batch_without_padding_has_the_loss_of_plain_transformers(case: Case) -> None:
    longest = int(case.lengths.argmax())
    batch = case.head.collate([case.features[longest]] * 3, case.tokenizer)
    outputs = case.model(**batch)
    own = case.head.loss(outputs, batch)
    assert own is None or own.item() == pytest.approx(outputs.loss.item(), abs=1e-6)


def test_rows_of_several_windows_make_an_uneven_last_step(case: Case) -> None:
    batch = len(case.features) - 2
    steps = case.steps(4, batch=batch)
    sizes = [[micro.examples for micro in step] for step in StepLoader(steps)]
    assert [sum(step) for step in sizes] == [batch, 2] and len(sizes) == len(steps)
    assert all(size <= 4 for step in sizes for size in step)


def test_a_worker_without_rows_in_a_short_batch_still_takes_part(case: Case) -> None:
    count = len(case.features)
    steps = case.steps(batch=count - 1, share=Shard(1, 2))
    first, last = steps[0], steps[1]
    assert sum(micro.examples for micro in first) == (count - 1) // 2
    assert [micro.examples for micro in last] == [0] and loss_terms(last[0]) == 0
    assert len(last[0].inputs["input_ids"]) == 1


def test_labels_that_are_ignored_are_no_terms_of_the_mean() -> None:
    assert loss_terms(MicroBatch({"labels": torch.tensor([[1, -100], [-100, 2]])}, 2)) == 2
    assert loss_terms(MicroBatch({"start_positions": torch.tensor([1, 2, 3])}, 3)) == 3


def test_numbers_that_are_learned_are_never_ignored() -> None:
    assert loss_terms(MicroBatch({"labels": torch.tensor([-100.0, 2.5])}, 2)) == 2


def test_a_model_without_a_loss_takes_the_heads(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(case.model).forward

    def without(self: torch.nn.Module, **inputs: torch.Tensor) -> Any:
        outputs = forward(self, **inputs)
        return type(outputs)(**{name: value for name, value in outputs.items() if name != "loss"})

    monkeypatch.setattr(type(case.model), "forward", without)
    trainer = trainer_of(case, case.steps(batch=2), tmp_path)
    if isinstance(case.head, ExtractiveQAHead):  # which has a loss of its own
        assert trainer.training_step(case.model, trainer.steps[0]).item() > 0
    else:
        with pytest.raises(
            PluginError,
            match=r"no loss for what `collate` returned \(input_ids, .*\), and `loss` of the head",
        ):
            trainer.training_step(case.model, trainer.steps[0])


def test_steps_that_are_skipped_are_never_read(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import skip_first_batches

    steps = case.steps(batch=2)
    every = [[micro.examples for micro in step] for step in StepLoader(steps)]
    read: list[int] = []
    inner = Steps.__getitem__

    def noted(self: Steps, step: int) -> list[MicroBatch]:
        read.append(step)
        return inner(self, step)

    monkeypatch.setattr(Steps, "__getitem__", noted)
    rest = [[micro.examples for micro in step] for step in skip_first_batches(StepLoader(steps), 2)]
    assert len(every) > 2 and rest == every[2:] and read == list(range(2, len(every)))


def test_the_order_of_the_steps_is_that_of_the_epoch(case: Case) -> None:
    steps = case.steps(batch=2)
    first = [batch.tolist() for batch in steps.batches]
    steps.set_epoch(1)
    second = [batch.tolist() for batch in steps.batches]
    steps.set_epoch(0)
    assert first != second and [batch.tolist() for batch in steps.batches] == first


def test_the_limits_follow_the_device_unless_they_are_given() -> None:
    assert micro_limits(3, "cpu") == (3, None)
    assert micro_limits("auto", "cpu") == (ROWS_PER_MICRO_BATCH, 4096)


@pytest.mark.parametrize("task", ["sentiment", pytest.param("qa", marks=pytest.mark.slow)])
def test_the_loss_curve_of_a_run_does_not_depend_on_the_micro_batch(
    task: str, tiny_bert: Path, reviews: Path, questions: Path, tmp_path: Path
) -> None:
    settings, dataset = (REVIEWS, reviews) if task == "sentiment" else (QUESTIONS, questions)
    asked = {**settings, **STILL, "epochs": 1.5, "batch_size": 7}
    curves = [
        losses(
            train(
                asked,
                dataset=dataset,
                model=tiny_bert,
                output=tmp_path,
                **{"train.micro_batch_size": cut},
            )
        )
        for cut in ("auto", 1, 3)
    ]
    assert len(curves[0]) > 5 and max(curves[0]) - min(curves[0]) > 1e-3
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=1e-5)
