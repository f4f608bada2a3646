"""Parts of a model; what is frozen, what thaws when, and that it is said and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from ftr.config.schema import RunConfig
from ftr.errors import ConfigError
from ftr.model.parameters import TrainableParts, parts_of, short
from ftr.testing.tiny import FAMILIES, tiny_config
from ftr.train.trainer import StepTrainer
from interruptions import interrupted, outcome, resumed
from trainings import REVIEWS, lines, losses, train

BASE: dict[str, Any] = {
    "dataset": {"name": "d"},
    "model": {"name": "m"},
    "head": {"name": "h"},
    "metrics": ["accuracy"],
    "epochs": 9.0,
}


def config(**options: Any) -> RunConfig:
    return RunConfig.model_validate({**BASE, "train": options})


def made(
    family: str, auto: Any = AutoModelForSequenceClassification, labels: int = 3
) -> PreTrainedModel:
    settings = tiny_config(family, 40)  # type: ignore[arg-type]
    settings.num_labels = labels
    model: PreTrainedModel = auto.from_config(settings)
    return model


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


ABOVE = {
    "bert": ["pooler"],
    "gpt2": ["ln_f"],
    "modernbert": ["final_norm"],
    # The norm of the relative positions.
    "deberta-v2": ["encoder"],
    "eurobert": ["norm"],
    "qwen3": ["norm"],
}
TABLES = ("embeddings", ".wte.", ".wpe.", "embed_tokens", "relative_attention_bias")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_in_one_part_from_the_embeddings_to_the_head(family: str) -> None:
    model = made(family)
    parts = parts_of(model)
    assert [part.name for part in parts] == [
        "embeddings",
        "layer 0",
        "layer 1",
        *ABOVE.get(family, ()),
        "head",
    ]
    assert [part.depth for part in parts] == [0, 1, 2, *(2 for _ in ABOVE.get(family, ())), 3]
    found = [id(parameter) for part in parts for parameter in part.parameters]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (embeddings, head) = (
        {names[id(one)] for one in part.parameters} for part in (parts[0], parts[-1])
    )
    assert all(any(one in name for one in TABLES) for name in embeddings)
    assert not any(name.startswith(f"{model.base_model_prefix}.") for name in head) and head


@pytest.mark.parametrize("family", [one for one in FAMILIES if one != "eurobert"])
def test_the_head_of_question_answering_is_what_finds_the_span(family: str) -> None:
    parts = parts_of(made(family, AutoModelForQuestionAnswering, labels=2))
    more = [(32, 32), (32,)] if family == "modernbert" else []
    assert [tuple(one.shape) for one in parts[-1].parameters] == [*more, (2, 32), (2,)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("electra", ["embeddings", "layer 0", "layer 1", "head"]),
        ("deberta-v2", ["embeddings", "layer 0", "layer 1", "head"]),
        ("albert", ["embeddings", "layer 0", "pooler", "head"]),
        ("xlnet", ["embeddings", "layer 0", "layer 1", "head"]),
        (
            "bart",
            [
                "embeddings",
                "layer 0",
                "layer 1",
                "layer 2",
                "layer 3",
                "encoder",
                "decoder",
                "head",
            ],
        ),
        ("modernbert", ["embeddings", "layer 0", "layer 1", "final_norm", "head"]),
    ],
)
def test_other_architectures_are_understood_by_their_structure(
    kind: str, expected: list[str]
) -> None:
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 40,
    }
    own: dict[str, dict[str, Any]] = {
        "electra": {"embedding_size": 32},
        "albert": {"embedding_size": 16},
        "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
        "bart": {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
        },
        "modernbert": {
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    }
    if kind == "bart":
        size = {"vocab_size": 40, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(kind, **{**size, **own.get(kind, {})})
    )
    assert [part.name for part in parts_of(model)] == expected


def test_new_weights_in_the_backbone_belong_to_the_head() -> None:
    model = made("bert")
    model.new_weights = {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    TrainableParts(model, config(freeze="backbone"))
    assert trainable(model) == model.new_weights


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ("embeddings", {"embeddings"}),
        (0, {"embeddings"}),
        (1, {"embeddings", "layer 0"}),
        (2, {"embeddings", "layer 0", "layer 1"}),
        ("backbone", {"embeddings", "layer 0", "layer 1", "pooler"}),
        (None, set()),
    ],
)
def test_what_is_frozen_has_no_gradients(freeze: Any, frozen: set[str]) -> None:
    model = made("bert")
    trains = TrainableParts(model, config(freeze=freeze))
    for part in parts_of(model):
        assert all(one.requires_grad is (part.name not in frozen) for one in part.parameters)
    assert {part.name for part in trains.last} == {
        "embeddings",
        "layer 0",
        "layer 1",
        "pooler",
        "head",
    } - frozen
    record = trains.record(trains.last)
    assert record["trainable_parameters"] == sum(
        one.numel() for one in model.parameters() if one.requires_grad
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"unfreeze": 1}, {0: "head", 10: "layer 1, pooler", 20: "layer 0", 30: "embeddings"}),
        (
            {"unfreeze": 2, "frozen_epochs": 0.5},
            {0: "head", 5: "layer 0, layer 1, pooler", 15: "embeddings"},
        ),
        (
            {"unfreeze": "all", "frozen_epochs": 2.25},
            {0: "head", 23: "embeddings, layer 0, layer 1, pooler"},
        ),
    ],
)
def test_frozen_parts_thaw_from_the_top_at_their_steps(
    options: dict[str, Any], expected: dict[int, str]
) -> None:
    model = made("bert")
    trains = TrainableParts(model, config(freeze="backbone", **options))
    assert trainable(model) == {name for name, _ in model.named_parameters()}, (
        "an optimizer must see all that will ever train"
    )
    seen = {0: "head"}
    trains.at(0, 10)
    for step in range(40):
        begins = trains.begins(step, 10)
        if begins:
            seen[step] = ", ".join(part.name for part in begins)
        now = trains.at(step, 10)
        ids = {id(one) for part in now for one in part.parameters}
        assert ids == {id(one) for one in model.parameters() if one.requires_grad}
    assert seen == expected
    assert trains.last == trains.at(99, 10) and len(trainable(model)) == len(
        list(model.parameters())
    )


def test_what_trains_is_said_in_a_line() -> None:
    model = made("bert")
    trains = TrainableParts(model, config(freeze=1))
    assert trains.line(trains.last).endswith("parameters: layer 1, the pooler and the head")
    assert trains.line([trains.parts[-1]]).endswith("parameters: the head")
    whole = TrainableParts(made("gpt2"), config())
    assert whole.line(whole.first).startswith("all ")
    assert [short(number) for number in (7, 999, 1155, 22_713_600, 109_483_778, 1_500_000_000)] == [
        "7", "999", "1.16k", "22.7M", "109M", "1.5B",
    ]  # fmt: skip


class Bare(nn.Module):
    """A model whose head adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 2)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))


def test_freezing_everything_is_refused_naming_both_keys() -> None:
    bare = made("bert").base_model
    with pytest.raises(
        ConfigError,
        match=r"`train.freeze=backbone` leaves nothing to train: head `h` adds no weights to model "
        r"`m`",
    ):
        TrainableParts(bare, config(freeze="backbone"))
    with pytest.raises(ConfigError, match=r"`train.freeze=3`: model `m` has 2 layers"):
        TrainableParts(made("bert"), config(freeze=3))
    assert [part.name for part in parts_of(Bare())] == ["embeddings", "layer 0", "layer 1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train": {"unfreeze": 1}},
            "`train.unfreeze` has nothing to unfreeze without `train.freeze`",
        ),
        (
            {"train": {"frozen_epochs": 2}},
            "`train.frozen_epochs` has no effect without `train.unfreeze`",
        ),
        (
            {"epochs": 1, "train": {"freeze": 1, "unfreeze": 1}},
            "`train.frozen_epochs=1` is not below `epochs=1`",
        ),
        (
            {"train": {"freeze": 1, "lora": {"rank": 2}}},
            "`train.freeze` and `train.lora.rank` exclude each other",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate({**BASE, **values})


def changed(run: Path, before: Path) -> set[str]:
    """Return the parts of the weights that a training changed: the first word that tells them
    apart.
    """
    from safetensors.torch import load_file

    old, new = (
        load_file(before / "model.safetensors"),
        load_file(run / "model" / "model.safetensors"),
    )
    names = {
        name
        for name, value in new.items()
        if not torch.equal(value, old.get(name.removeprefix("bert."), torch.zeros(())))
    }
    return {
        "layer " + name.split(".")[3]
        if ".layer." in name
        else name.removeprefix("bert.").split(".")[0]
        for name in names
    }


@pytest.mark.parametrize(
    ("freeze", "expected"), [("backbone", {"classifier"}), (1, {"layer 1", "pooler", "classifier"})]
)
def test_a_run_changes_only_what_trains(
    freeze: Any, expected: set[str], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {
        **REVIEWS,
        "baselines": False,
        "epochs": 1,
        "train.freeze": freeze,
        "train.eval_on_start": False,
    }
    run = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert changed(run.path, tiny_bert) == expected
    assert set(run.record["trains"]) == {
        "head" if name == "classifier" else name for name in expected
    }
    assert 0 < run.record["trainable_parameters"] < run.record["parameters"]


GRADUAL = {
    **REVIEWS,
    "baselines": False,
    "epochs": 4,
    "train.freeze": "backbone",
    "train.unfreeze": 1,
    "train.save_steps": 2,
    "train.layerwise_decay": 0.7,
}


@pytest.mark.slow
def test_gradual_unfreezing_is_recorded_and_goes_on_after_a_cut(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    whole = train(GRADUAL, dataset=reviews, model=tiny_bert, output=tmp_path / "whole")
    steps = [
        (one["step"], one["trains"])
        for one in lines(whole.path / "metrics.jsonl")
        if one["kind"] == "trains"
    ]
    parts = ["embeddings", "layer 0", "layer 1", "pooler", "head"]
    assert (
        steps == [(6, parts[2:]), (11, parts[1:]), (16, parts)] and whole.record["trains"] == parts
    )
    # Right after a checkpoint of the step that the second change comes with.
    run = interrupted(
        GRADUAL,
        StepTrainer,
        "training_step",
        12,
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path / "cut",
    )
    resumed(run)
    assert outcome(run) == outcome(whole.path)


@pytest.mark.slow
def test_parts_thaw_where_activations_are_computed_again(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    plain = {**GRADUAL, "epochs": 2, "train.dropout": 0.0, "train.attention_dropout": 0.0}
    runs = [
        train(
            {**plain, "train.activation_checkpointing": again},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path,
        )
        for again in (False, True)
    ]
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), abs=1e-5)
