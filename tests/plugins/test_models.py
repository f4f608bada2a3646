"""The named models: facts that agree with their configs, and loading from the cache of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftr.config.components import create_component
from ftr.config.schema import Component
from ftr.errors import ModelError
from ftr.model.architecture import positions
from ftr.registry.registry import get_registry
from ftr.registry.specs import ModelSpec
from ftr.testing.tiny import Family, tiny_checkpoint
from ftr_plugins.models import Named

NAMES = [name for name in get_registry().names("model") if ":" not in name]
FAMILY: dict[str, Family] = {
    "bert-base": "bert",
    "roberta-base": "roberta",
    "distilbert": "distilbert",
    "mpnet-base": "mpnet",
    "deberta-v3-small": "deberta-v2",
    "deberta-v3-base": "deberta-v2",
    "modernbert-base": "modernbert",
    "xlm-roberta-base": "xlm-roberta",
    "mmbert-small": "modernbert",
    "mmbert-base": "modernbert",
    "eurobert-210m": "eurobert",
    "gpt2": "gpt2",
    "qwen3-0.6b": "qwen3",
}
BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
DEBERTA = {
    **BASE,
    "vocab_size": 128100,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": (
        "bert",
        {
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
        },
    ),
    "bert-base": ("bert", {}),
    "roberta-base": ("roberta", {**ROBERTA, "vocab_size": 50265}),
    "distilbert": ("distilbert", {}),
    "mpnet-base": ("mpnet", {"vocab_size": 30527, "max_position_embeddings": 514}),
    "deberta-v3-small": ("deberta-v2", {**DEBERTA, "num_hidden_layers": 6}),
    "deberta-v3-base": ("deberta-v2", DEBERTA),
    "modernbert-base": ("modernbert", {}),
    "xlm-roberta-base": ("xlm-roberta", {**ROBERTA, "vocab_size": 250002}),
    "mmbert-small": (
        "modernbert",
        {"vocab_size": 256000, "hidden_size": 384, "num_attention_heads": 6},
    ),
    "mmbert-base": ("modernbert", {"vocab_size": 256000}),
    "eurobert-210m": ("eurobert", {}),
    "gpt2": ("gpt2", {}),
    "qwen3-0.6b": (
        "qwen3",
        {
            "vocab_size": 151936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 32768,
        },
    ),
}
"""The sizes in `config.json` on the Hub; those that transformers has as defaults are left out."""


def spec_of(name: str) -> ModelSpec:
    spec = get_registry().find("model", name).spec
    assert isinstance(spec, ModelSpec)
    return spec


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_longest_input_are_those_of_the_config(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    kind, sizes = CONFIGS[name]
    settings = AutoConfig.for_model(kind, **sizes)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = AutoModel.from_config(settings)
    spec = spec_of(name)
    assert spec.parameters == sum(weight.numel() for weight in model.parameters())
    assert spec.max_length == positions(settings)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub, which cannot be reached."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def downloaded(hub: Path, hub_id: str, revision: str | None, family: Family) -> None:
    """Put a tiny checkpoint into the cache, as if it had been downloaded from the Hub."""
    commit = revision or "0" * 40
    folder = hub / f"models--{hub_id.replace('/', '--')}"
    tiny_checkpoint(family, folder / "snapshots" / commit)
    if revision is None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit, encoding="utf-8")


@pytest.mark.parametrize("name", FAMILY)
def test_every_named_model_loads_from_the_hub_and_classifies(name: str, hub: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    made = create_component(get_registry(), "model", Component(name=name))
    assert isinstance(made, Named)
    with pytest.raises(ModelError, match=rf"model `{made.hub_id}`.*can this machine reach the hub"):
        made.tokenizer()
    downloaded(hub, made.hub_id, made.safetensors, FAMILY[name])
    again = create_component(get_registry(), "model", Component(name=name))
    tokenizer = again.tokenizer()
    model = again.load(AutoModelForSequenceClassification, num_labels=3)
    assert model.config.model_type == FAMILY[name] and model.config.num_labels == 3
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert again.max_length() == 256
    assert again.describe()["source"] == made.hub_id
    assert again.describe()["revision"] == made.safetensors
    assert not again.describe()["trust_remote_code"]


def test_every_named_model_is_tried_here() -> None:
    assert set(NAMES) == set(CONFIGS) == {*FAMILY, "minilm"}


def test_a_revision_that_is_asked_for_comes_before_the_one_with_safetensors(hub: Path) -> None:
    made = create_component(
        get_registry(), "model", Component(name="deberta-v3-base", options={"revision": "main"})
    )
    assert made.describe()["revision"] == "main"
