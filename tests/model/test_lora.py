"""Low-rank adapters: what trains, what is written, and that `peft`, transformers and ftr read it
alike.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import ftr
from ftr.config.schema import TrainConfig
from ftr.errors import ConfigError, ModelError, RequestError
from ftr.model.pretrained import Pretrained
from ftr.prediction.cluster import files_to_ship, use_shipped_bases
from ftr.prediction.job import compare
from ftr.prediction.request import Request
from ftr.testing.tiny import FAMILIES, TinyModels
from ftr.train.trainer import StepTrainer
from interruptions import interrupted, outcome, resumed
from strangers import checkpoint
from tiers import slow_but
from trainings import QUESTIONS, REVIEWS, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TRAINS = ["layer 0", "layer 1", "head"]
LORA = {**REVIEWS, "baselines": False, "train.lora.rank": 4, "learning_rate": 5e-2}
TEXTS = ["a very bad film", "the story was good and the acting great", "long and short"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapters(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run that kept adapters; not to be changed."""
    return train(LORA, dataset=reviews, model=tiny_bert, output=tmp_path_factory.mktemp("adapters"))


def told(run: RunResult, texts: list[str] = TEXTS) -> torch.Tensor:
    """Return the class probabilities that `ftr.load` gives."""
    return torch.tensor(
        [list(one["probabilities"].values()) for one in ftr.load(run.path).predict(texts)]
    )


def asked(model: Any, tokenizer: Any, texts: list[str] = TEXTS) -> torch.Tensor:
    """Return the class probabilities of a plain model."""
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(
            **tokenizer(texts, padding=True, return_tensors="pt")
        ).logits.softmax(dim=-1)
    return found


def test_only_adapters_and_head_train_and_that_is_recorded(adapters: RunResult) -> None:
    record = adapters.record
    # Two layers, queries and values, two matrices of 32 x 4 each; and a head of 3 x 32 + 3.
    assert record["trainable_parameters"] == 2 * 2 * 2 * 32 * 4 + 99 and record["trains"] == [
        "layer 0",
        "layer 1",
        "head",
    ]
    assert record["parameters"] > 30_000
    assert {path.name for path in adapters.model.glob("*.safetensors")} == {
        "adapter_model.safetensors"
    }
    assert not (adapters.model / "config.json").exists()
    # Not the card of `peft`, which would be empty.
    assert "pipeline_tag: text-classification" in (adapters.model / "README.md").read_text("utf-8")
    assert adapters.scores["accuracy"] > 0.5


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft 0.21 asks transformers 5.23 by its former name
def test_peft_and_transformers_load_the_adapters(adapters: RunResult, tiny_bert: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification, PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapters.model)
    expected = told(adapters)
    by_hand = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3), adapters.model
    )
    automatic = AutoPeftModelForSequenceClassification.from_pretrained(adapters.model, num_labels=3)
    native = AutoModelForSequenceClassification.from_pretrained(adapters.model, num_labels=3)
    for model in (by_hand, automatic, native):
        assert torch.allclose(asked(model, tokenizer), expected, atol=1e-5)
    settings = json.loads((adapters.model / "adapter_config.json").read_text())
    assert (
        settings["base_model_name_or_path"] == str(tiny_bert) and settings["task_type"] == "SEQ_CLS"
    )


def test_what_was_predicted_is_what_loads(adapters: RunResult, reviews: Path) -> None:
    kept = {one["id"]: one for one in lines(adapters.path / "predictions" / "test.jsonl")}
    texts = [row["review"] for row in csv.DictReader(reviews.open(encoding="utf-8"))]
    again = ftr.load(adapters.path).predict(
        [{"id": key, "text": texts[int(key.rpartition("-")[2]) - 1]} for key in kept]
    )
    assert again == list(kept.values())


def test_predictions_depend_on_the_base_model_which_workers_get_with_the_adapters(
    adapters: RunResult, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shutil.copytree(tiny_bert, tmp_path / "base")
    model = shutil.copytree(adapters.model, tmp_path / "model")
    settings = json.loads((model / "adapter_config.json").read_text("utf-8"))
    settings["base_model_name_or_path"] = str(base)
    (model / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    monkeypatch.setenv("FTR_BASES", str(base))
    identity = Request(folder=model).identity()
    compare(identity, Request(folder=model).identity(), tmp_path)
    sent = tmp_path / "sent"
    for name, path in files_to_ship(model).items():
        (sent / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, sent / name)
    (base / "config.json").write_text((base / "config.json").read_text("utf-8") + " ", "utf-8")
    with pytest.raises(RequestError, match=r"`\.: config\.json` \(base model\) was"):
        compare(identity, Request(folder=model).identity(), tmp_path)
    shutil.rmtree(base)
    monkeypatch.delenv("FTR_BASES")
    use_shipped_bases(sent)
    expected = [one["label"] for one in ftr.load(adapters.path).predict(TEXTS)]
    assert [one["label"] for one in ftr.load(sent).predict(TEXTS)] == expected


def test_merged_is_a_plain_checkpoint_with_the_same_logits(
    adapters: RunResult, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = train(
        {**LORA, "train.lora.merge": True}, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    assert {path.name for path in run.model.glob("*.safetensors")} == {"model.safetensors"} and (
        run.model / "config.json"
    ).is_file()
    assert not (run.model / "adapter_config.json").exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(run.model)
    assert (
        not any("lora" in name for name in loaded.state_dict())
        and loaded.config.id2label[0] == "bad"
    )
    assert torch.allclose(
        asked(loaded, AutoTokenizer.from_pretrained(run.model)), told(adapters), atol=1e-5
    )
    assert torch.equal(told(run), told(adapters)) and run.scores == adapters.scores
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3)
    changed = {
        name
        for name, value in loaded.state_dict().items()
        if not torch.equal(value, base.state_dict()[name])
    }
    attention = {
        f"bert.encoder.layer.{layer}.attention.self.{name}.weight"
        for layer in (0, 1)
        for name in ("query", "value")
    }
    assert changed == attention | {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("merge", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_training_that_is_cut_off_ends_the_same(
    merge: bool, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {
        **LORA,
        "epochs": 3,
        "train.save_steps": 2,
        "train.lora.merge": merge,
        "train.lora.dropout": 0.1,
        "train.ema": 0.5,
        "train.eval_on_start": False,
    }
    whole = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path / "whole")
    run = interrupted(
        settings,
        StepTrainer,
        "training_step",
        8,
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path / "cut",
    )
    from safetensors import safe_open

    with safe_open(
        next(run.glob("checkpoints/step-*")) / "model.safetensors", framework="pt"
    ) as file:
        assert all(".lora_" in name or ".modules_to_save." in name for name in file.keys())  # noqa: SIM118
    resumed(run)
    assert outcome(run) == outcome(whole.path)


@pytest.mark.parametrize("family", slow_but(["distilbert", "gpt2", "modernbert"], FAMILIES[2:]))
def test_each_family_of_models_has_modules_to_adapt(
    family: str, tiny: TinyModels, questions: Path, reviews: Path, tmp_path: Path
) -> None:
    if family == "eurobert":  # transformers has no question answering with it
        settings = {**REVIEWS, "epochs": 1, "train.lora.rank": 2}
        run = train(settings, dataset=reviews, model=tiny[family], output=tmp_path)
        assert ftr.load(run.path).predict([{"text": "good"}]) and run.record["trains"] == TRAINS
        return
    settings = {
        **QUESTIONS,
        "baselines": False,
        "epochs": 1,
        "train.lora.rank": 2,
        "train.eval_on_start": False,
    }
    run = train(settings, dataset=questions, model=tiny[family], output=tmp_path)
    loaded = ftr.load(run.path)
    assert loaded.predict(
        [{"question": "who built the mill ?", "context": "the mill was built by two brothers ."}]
    )
    assert 0 < run.record["trainable_parameters"] < 2200 and run.record["trains"] == TRAINS


def test_adapters_for_weights_that_transformers_would_not_find_are_refused(
    questions: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering

    folder = checkpoint("qwen3", tmp_path / "model", AutoModelForCausalLM)
    asked = {**QUESTIONS, "epochs": 0.3, "train.lora.rank": 2, "model": folder}
    with pytest.raises(ConfigError, match=r"`train.lora.rank`: .* Set `train.lora.merge=true`"):
        train(asked, dataset=questions, output=tmp_path / "runs")
    asked["train.lora.merge"] = True
    run = train(asked, dataset=questions, output=tmp_path / "runs")
    _, report = AutoModelForQuestionAnswering.from_pretrained(run.model, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_a_head_that_the_checkpoint_lacks_trains_whole_pooler_included(
    tiny: TinyModels, reviews: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    bare = shutil.copytree(tiny["bert"], tmp_path / "bare")
    weights = {
        name: value
        for name, value in load_file(bare / "model.safetensors").items()
        if "pooler" not in name
    }
    save_file(weights, bare / "model.safetensors", metadata={"format": "pt"})
    run = train({**LORA, "epochs": 1}, dataset=reviews, model=bare, output=tmp_path / "runs")
    settings = json.loads((run.model / "adapter_config.json").read_text())
    assert {"classifier", "bert.pooler"} <= set(
        settings["modules_to_save"]
    ) and "pooler" in run.record["trains"]
    kept = lines(run.path / "predictions" / "test.jsonl")
    assert len({round(one["score"], 6) for one in kept}) > 1


def test_adapters_train_on_and_adapters_on_adapters_are_refused(
    adapters: RunResult, reviews: Path, tmp_path: Path
) -> None:
    again = train(
        {**REVIEWS, "epochs": 1, "learning_rate": 1e-9},
        dataset=reviews,
        model=adapters.model,
        output=tmp_path,
    )
    assert again.record["untrained"]["accuracy"] == adapters.scores["accuracy"]
    assert (again.model / "config.json").is_file()
    with pytest.raises(
        ConfigError, match=r"`train.lora.rank`.*`model` consists of adapters.*train.lora.merge=true"
    ):
        train({**LORA, "epochs": 1}, dataset=reviews, model=adapters.model, output=tmp_path)


def test_adapters_whose_base_is_gone_say_so(
    tiny: TinyModels, reviews: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny["bert"], tmp_path / "base")
    run = train({**LORA, "epochs": 1}, dataset=reviews, model=base, output=tmp_path / "runs")
    shutil.rmtree(base)
    with pytest.raises(
        ModelError,
        match=r"are for the model in `.*base`, which does not exist: .*base_model_name_or_path",
    ):
        ftr.load(run.path)
    (run.model / "adapter_model.safetensors").rename(run.model / "adapter_model.bin")
    with pytest.raises(ModelError, match="no weights in safetensors"):
        Pretrained(str(run.model)).tokenizer()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            "query,valu",
            r"`train.lora.targets`: model `.*` has no module `valu`. Did you mean "
            r"`value`\?.*`query`, `key`.*`all-linear`",
        ),
        (
            "LayerNorm",
            r"`train.lora.rank`: no adapters can be put into model `.*`.*`train.lora.targets`, "
            r"such as `query`",
        ),
        ("classifier", r"`train.lora.targets`: model `.*` has no module `classifier`"),
    ],
)
def test_modules_that_are_not_there_are_refused_before_training(
    targets: str, message: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(
            {**LORA, "train.lora.targets": targets},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path,
        )
    assert not list(tmp_path.iterdir())


def test_all_linear_reaches_every_layer(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    run = train(
        {**LORA, "epochs": 1, "train.lora.targets": "all-linear"},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
    )
    # Of a layer: four of 32 x 32, one of 32 x 64 and its counterpart; of the pooler, one.
    each = 4 * (4 * 64 + 2 * 96)
    assert run.record["trainable_parameters"] == 2 * each + 4 * 64 + 99


@pytest.mark.parametrize("key", ["alpha", "dropout", "targets", "merge"])
def test_settings_of_adapters_without_adapters_are_refused(key: str) -> None:
    value = {"alpha": 8, "dropout": 0.1, "targets": "query", "merge": True}[key]
    with pytest.raises(ValueError, match=rf"`train.lora.{key}`.*`train.lora.rank`"):
        TrainConfig.model_validate({"lora": {key: value}})
