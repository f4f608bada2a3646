"""Optimizers and schedules by name: each works or says what it lacks; warmup; a rate for each
layer.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments
from transformers.optimization import get_scheduler
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from ftr.config.schema import Optimizer, RunConfig, Schedule, WhileBackward
from ftr.errors import ConfigError
from ftr.model.parameters import TrainableParts, parts_of
from ftr.testing.tiny import tiny_config
from ftr.train.hardware import Numerics
from ftr.train.optim import (
    LOW_RANK,
    PACKAGES,
    SCHEDULE_FREE,
    LayerwiseRates,
    check_optimizer,
    layerwise_rates,
    step_count,
    training_arguments,
    warmup_steps,
)
from ftr.train.scoring import Scorer
from trainings import REVIEWS, lines, train

BASE: dict[str, Any] = {
    "dataset": {"name": "d"},
    "model": {"name": "m"},
    "head": {"name": "h"},
    "metrics": ["accuracy"],
    "learning_rate": 1e-3,
}
NUMERICS = Numerics(device="cpu", precision="fp32", attention="eager", reasons={})
SCORER = Scorer({}, {}, "accuracy", "max")
OF_TORCH = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")


def config(trainer: dict[str, Any] | None = None, **options: Any) -> RunConfig:
    return RunConfig.model_validate({**BASE, "train": options, "trainer": trainer or {}})


def arguments(asked: RunConfig, folder: Path, steps: int) -> TrainingArguments:
    return training_arguments(asked, NUMERICS, folder, SCORER, False, steps)


def test_the_names_are_those_of_transformers() -> None:
    assert {name.value for name in OptimizerNames} == set(get_args(Optimizer))
    # It follows the training loss of single steps, and is left out on purpose.
    assert {name.value for name in SchedulerType} - {"greedy"} == set(get_args(Schedule))


def test_every_optimizer_is_of_torch_or_of_a_package_or_refused_for_good() -> None:
    known = [
        *OF_TORCH,
        *get_args(WhileBackward),
        *{name for names in PACKAGES.values() for name in names},
    ]
    assert sorted(known) == sorted(get_args(Optimizer))


@pytest.mark.filterwarnings("ignore")  # of packages that need not be there
@pytest.mark.parametrize("name", get_args(Optimizer))
def test_each_optimizer_takes_a_step_or_names_what_it_lacks(name: Any, tmp_path: Path) -> None:
    asked = config(optimizer=name, lr_scheduler="constant")
    lacking = [
        module for module, names in PACKAGES.items() if name in names and find_spec(module) is None
    ]
    if name in get_args(WhileBackward):
        with pytest.raises(
            ConfigError,
            match=rf"`train.optimizer={name}` changes the weights within each backward pass",
        ):
            check_optimizer(asked)
        return
    if lacking:
        with pytest.raises(
            ConfigError,
            match=rf"`train.optimizer={name}` needs `.*pip install .*or use another",
        ):
            check_optimizer(asked)
        return
    if name == "galore_adamw_8bit" and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"`train.optimizer=galore_adamw_8bit` needs a GPU"):
            check_optimizer(asked)
        return
    check_optimizer(asked)
    settings = tiny_config("bert", 40)
    model = AutoModelForSequenceClassification.from_config(settings)
    before = model.classifier.weight.detach().clone()
    trainer = Trainer(
        model=model, args=training_arguments(asked, NUMERICS, tmp_path, None, False, 3)
    )
    optimizer = trainer.create_optimizer()
    for _ in range(8):
        model(
            input_ids=torch.ones(2, 5, dtype=torch.long), labels=torch.tensor([0, 1])
        ).loss.backward()
        if name in SCHEDULE_FREE:
            optimizer.train()
        optimizer.step()
        optimizer.zero_grad()
    assert (
        not torch.equal(model.classifier.weight, before)
        and torch.isfinite(model.classifier.weight).all()
    )


def test_an_optimizer_is_refused_where_it_excludes_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ftr.train.optim.find_spec", lambda name: name)
    with pytest.raises(
        ConfigError,
        match=r"`train.layerwise_decay` and `train.optimizer=galore_adamw` each make their own groups",
    ):
        check_optimizer(config(optimizer=LOW_RANK[0], layerwise_decay=0.9))
    with pytest.raises(
        ConfigError,
        match=r"`train.optimizer=schedule_free_sgd`.*`train.lr_scheduler=constant`, not `linear`",
    ):
        check_optimizer(config(optimizer="schedule_free_sgd"))
    check_optimizer(config(optimizer="schedule_free_sgd", lr_scheduler="constant"))


STEPS = 40


def rates(asked: RunConfig, folder: Path, steps: int = STEPS) -> list[float]:
    """Return the learning rate of each step."""
    args = arguments(asked, folder, steps)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=asked.learning_rate)
    schedule = get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        args.get_warmup_steps(steps),
        steps,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([0.5] if asked.train.lr_scheduler == "reduce_lr_on_plateau" else []))
    return found


@pytest.mark.parametrize("name", get_args(Schedule))
@pytest.mark.parametrize("warmup", [0, 0.1, 7, 40, 1000])
def test_each_schedule_works_without_further_keys(name: Any, warmup: float, tmp_path: Path) -> None:
    for steps in (1, 2, STEPS):
        found = rates(config(lr_scheduler=name, warmup=warmup), tmp_path, steps)
        assert all(0 <= rate <= 1e-3 + 1e-12 and math.isfinite(rate) for rate in found)
    if warmup == 7 and name not in ("constant", "reduce_lr_on_plateau"):
        assert found[6] < found[7] == max(found) or (
            name == "cosine_warmup_with_min_lr" and found[6] == max(found)
        )
    if warmup == 0.1 and name.startswith("cosine") and "min_lr" in name:
        assert found[-1] == pytest.approx(1e-4, rel=0.05), "a tenth of the peak"
    if warmup == 0.1 and name == "warmup_stable_decay":
        assert found[4:36] == [1e-3] * 32 and found[37] < 1e-3 and found[-1] < 3e-4


def test_what_a_schedule_is_told_goes_before_the_defaults(tmp_path: Path) -> None:
    kept = rates(
        config(
            lr_scheduler="cosine_with_min_lr",
            warmup=0,
            trainer={"lr_scheduler_kwargs": {"min_lr": 5e-4}},
        ),
        tmp_path,
    )
    assert kept[-1] == pytest.approx(5e-4, rel=0.01)
    late = rates(
        config(
            lr_scheduler="warmup_stable_decay",
            warmup=0,
            trainer={"lr_scheduler_kwargs": {"num_decay_steps": 20}},
        ),
        tmp_path,
    )
    assert late[20] == 1e-3 and late[25] < 1e-3


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [(0.1, 40, 4), (0.01, 40, 1), (0, 40, 0), (1, 40, 1), (30, 40, 30), (99, 40, 39), (0.5, 1, 0)],
)
def test_warmup_is_a_share_or_a_number_of_steps(warmup: float, steps: int, expected: int) -> None:
    assert warmup_steps(config(warmup=warmup), steps) == expected


def test_the_number_of_steps_is_that_of_the_epochs_or_as_asked() -> None:
    asked = RunConfig.model_validate({**BASE, "epochs": 1.5})
    assert step_count(asked, 5) == 8
    assert step_count(RunConfig.model_validate({**BASE, "trainer": {"max_steps": 3}}), 5) == 3


def test_each_layer_has_the_rate_of_the_one_above_times_the_decay() -> None:
    settings = tiny_config("bert", 40)
    model = AutoModelForSequenceClassification.from_config(settings)
    found = layerwise_rates(parts_of(model), config(layerwise_decay=0.5))
    assert found is not None
    peaks = {part.name: found.of(part) for part in found.parts}
    assert peaks == {
        "head": 1e-3,
        "pooler": 5e-4,
        "layer 1": 5e-4,
        "layer 0": 2.5e-4,
        "embeddings": 1.25e-4,
    }
    decayed = {
        id(one)
        for name, one in model.named_parameters()
        if not name.endswith("bias") and "LayerNorm" not in name
    }
    groups = found.groups(decayed)
    assert groups[0]["lr"] == 1e-3 and [group["lr"] for group in groups] == sorted(
        (group["lr"] for group in groups), reverse=True
    )
    in_groups = [id(one) for group in groups for one in group["params"]]
    assert sorted(in_groups) == sorted(id(one) for one in model.parameters())
    for group in groups:
        assert all(
            (id(one) in decayed) is (group["weight_decay"] == 0.01) for one in group["params"]
        )
    frozen = AutoModelForSequenceClassification.from_config(settings)
    trains = TrainableParts(frozen, config(freeze=1, layerwise_decay=0.5))
    assert [group["lr"] for group in LayerwiseRates(trains.parts, 1.0, 0.5, 0.0).groups(())] == [
        1.0,
        0.5,
        0.5,
    ]


def test_layers_are_asked_of_a_model_that_has_none() -> None:
    with pytest.raises(
        ConfigError, match=r"`train.layerwise_decay`: model `m` has no list of layers"
    ):
        layerwise_rates(parts_of(nn.Linear(2, 2)), config(layerwise_decay=0.5))


def test_a_run_with_a_rate_for_each_layer_logs_the_heads(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {
        **REVIEWS,
        "epochs": 1,
        "train.layerwise_decay": 0.5,
        "train.lr_scheduler": "constant",
        "learning_rate": 1e-3,
        "train.max_grad_norm": 0,
    }
    run = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert {
        one["learning_rate"] for one in lines(run.path / "metrics.jsonl") if one["kind"] == "train"
    } == {1e-3}


def test_what_a_run_lacks_is_said_before_it_trains(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"`train.optimizer=adalomo` changes the weights within each backward pass",
    ):
        train(
            {**REVIEWS, "train.optimizer": "adalomo"},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path,
        )
    assert not list(tmp_path.iterdir())
