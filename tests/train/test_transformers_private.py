"""The private APIs of transformers are there, and do what ftr expects of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    Gemma2Config,
    MPNetConfig,
    Trainer,
    TrainingArguments,
)

from ftr.model import transformers_private
from ftr.model.transformers_private import TrainerHooks


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)


def test_every_hook_replaces_a_method_of_the_trainer() -> None:
    hooks = [name for name in vars(TrainerHooks) if name[0] == "_" and name[1] != "_"]
    assert hooks and all(callable(getattr(Trainer, name, None)) for name in hooks)
    assert callable(getattr(Trainer, "_prepare_inputs", None))


def test_one_gpu_is_used_of_several(arguments: TrainingArguments) -> None:
    assert arguments.n_gpu == 0
    arguments._n_gpu = 4
    transformers_private.use_one_gpu(arguments)
    assert arguments.n_gpu == 1


def test_a_config_names_no_kernel_any_more() -> None:
    settings = BertConfig(attn_implementation="someone/kernel")
    assert settings._attn_implementation == "someone/kernel"
    transformers_private.forget_kernels(settings)
    assert settings._attn_implementation is None


def test_an_auto_class_knows_its_kinds_and_other_classes_none() -> None:
    kinds = transformers_private.model_types(AutoModelForSequenceClassification)
    assert kinds is not None and BertConfig in kinds and object not in kinds
    assert transformers_private.model_types(AutoModel) is not None
    assert transformers_private.model_types(BertModel) is None


def test_the_default_attention_is_told_and_its_functions_are_there() -> None:
    model = BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    assert transformers_private.default_attention(model) == "sdpa"
    assert all(map(callable, transformers_private.attention_functions()))


def test_an_auto_class_tells_the_class_it_makes_of_a_config() -> None:
    found = transformers_private.model_class(AutoModelForSequenceClassification, BertConfig())
    assert found is BertForSequenceClassification
    assert transformers_private.model_class(AutoModelForQuestionAnswering, Gemma2Config()) is None
    assert transformers_private.model_class(BertModel, BertConfig()) is None


def test_weights_that_were_renamed_are_saved_as_the_model_has_them(tmp_path: Path) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = BertModel(BertConfig(intermediate_size=8, vocab_size=9, **size))
    weights = {f"body.{name}": weight for name, weight in model.state_dict().items()}
    model.config.save_pretrained(tmp_path / "one")
    save_file(weights, tmp_path / "one" / "model.safetensors", {"format": "pt"})
    mapping = {"^body\\.": ""}
    read = BertModel.from_pretrained(tmp_path / "one", key_mapping=mapping)
    assert transformers_private.forget_renaming(read, mapping)
    assert not transformers_private.forget_renaming(read, mapping)
    read.save_pretrained(tmp_path / "two")
    assert load_file(tmp_path / "two" / "model.safetensors").keys() == model.state_dict().keys()


def test_a_model_with_an_attention_of_its_own_keeps_eager() -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    for config, own in ((MPNetConfig, True), (BertConfig, False)):
        settings = config(intermediate_size=8, attn_implementation="eager", **size)
        model = AutoModel.from_config(settings)
        model.set_attn_implementation("sdpa")
        assert transformers_private.has_own_attention(model) is own
