"""Checkpoints of other kinds than BERT's: each works as plain transformers does, or is refused in
one line.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import ftr
from ftr.cli.main import main
from ftr.errors import ModelError
from ftr.model.architecture import positions
from ftr.model.dropout import cpu_attention
from ftr.model.pretrained import Pretrained
from ftr.model.transformers_private import model_types
from strangers import DECODERS, ENCODERS, checkpoint, word_tokenizer
from tiers import slow_but
from trainings import QUESTIONS, REVIEWS, train

SHORT = {"epochs": 0.3, "baselines": False}
TEXTS = ["good", "the film was very bad and boring and it was a poor story", "great great film"]
KINDS = ("xlnet", "t5", "gemma2", "big_bird", "longformer", "qwen2")
REFUSED = {"fnet": "reads padding as text", "reformer": "fails on two short texts"}
NO_CLASSIFIER = {
    "splinter": "has no `AutoModelForSequenceClassification`",
    "led": "has no",
    "mamba": "has no",
}
PADDED = dict.fromkeys(("fnet", "yoso", "canine", "convbert"), "reads padding as text")
CHOSEN = (
    [*ENCODERS, *DECODERS]
    if os.environ.get("FTR_ALL_KINDS")
    else ["deberta-v2", "albert", "mpnet", "bart", "gpt_neox", "mixtral", "mamba"]
)
"""All kinds take four minutes on two cores: `FTR_ALL_KINDS=1 pytest
tests/model/test_architecture.py` runs them.
"""
LENGTHS = dict.fromkeys(("reformer", "nystromformer"), "fails on two short texts")


def classified(kind: str, folder: Path, reviews: Path) -> None:
    """Train a classifier and check that batches, rows alone and a pipeline of transformers
    agree.
    """
    from transformers import pipeline

    run = train(
        REVIEWS,
        **SHORT,
        dataset=reviews,
        model=checkpoint(kind, folder / "model"),
        output=folder / "runs",
    )
    predictor = ftr.load(run.path)
    together, alone = predictor.predict(TEXTS), [predictor.predict([text])[0] for text in TEXTS]
    theirs = pipeline("text-classification", model=str(run.model), top_k=None, device="cpu")(TEXTS)
    for ours, one, their in zip(together, alone, theirs, strict=True):
        assert ours["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
        assert ours["probabilities"] == pytest.approx(
            {item["label"]: item["score"] for item in their}, abs=1e-5
        )


def read(kind: str, folder: Path, questions: Path) -> None:
    """Train a reader and check that batches and rows alone agree, and plain transformers with the
    model.
    """
    from transformers import AutoModelForQuestionAnswering

    run = train(
        QUESTIONS,
        **SHORT,
        dataset=questions,
        model=checkpoint(kind, folder / "model"),
        output=folder / "runs",
    )
    predictor = ftr.load(run.path)
    asked = [
        {"question": "who built it ?", "context": f"it was built by {who} in 1803 ."}
        for who in ("two", "the two brothers " * 5)
    ]
    for ours, one in zip(
        predictor.predict(asked), [predictor.predict([row])[0] for row in asked], strict=True
    ):
        assert (ours["best_answer"], ours["no_answer_score"]) == (
            one["best_answer"],
            pytest.approx(one["no_answer_score"], abs=1e-4),
        )
    encoded = predictor.engine.tokenizer("who ?", "the mill", return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModelForQuestionAnswering.from_pretrained(run.model).eval()(**encoded)
        assert torch.allclose(
            predictor.engine.model(**encoded)["start_logits"], theirs["start_logits"], atol=1e-4
        )


@pytest.mark.parametrize("kind", slow_but(["xlnet", "t5", "qwen2"], KINDS))
def test_a_classifier_of_another_kind_answers_as_transformers_does(
    kind: str, tmp_path: Path, reviews: Path
) -> None:
    classified(kind, tmp_path, reviews)


@pytest.mark.parametrize("kind", slow_but(["xlnet"], ["xlnet", "big_bird", "splinter"]))
def test_a_reader_of_another_kind_answers_as_transformers_does(
    kind: str, tmp_path: Path, questions: Path
) -> None:
    read(kind, tmp_path, questions)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHOSEN)
def test_every_kind_classifies_or_is_refused(kind: str, tmp_path: Path, reviews: Path) -> None:
    refusal = (NO_CLASSIFIER | PADDED | LENGTHS).get(kind)
    if (
        refusal is None or kind == "convbert"
    ):  # whose summary, at the first token, stands far enough from padding
        return classified(kind, tmp_path, reviews)
    with pytest.raises(ModelError, match=refusal):
        train(
            REVIEWS,
            **SHORT,
            dataset=reviews,
            model=checkpoint(kind, tmp_path / "model"),
            output=tmp_path,
        )
    return None


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHOSEN)
def test_every_kind_reads_or_is_refused(kind: str, tmp_path: Path, questions: Path) -> None:
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    folder = checkpoint(kind, tmp_path / "model")
    kinds = model_types(AutoModelForQuestionAnswering)
    known = kinds is not None and type(AutoConfig.from_pretrained(folder)) in kinds
    refusal = (PADDED | LENGTHS).get(kind) if known else "has no `AutoModelForQuestionAnswering`"
    if refusal is None:
        return read(kind, tmp_path, questions)
    with pytest.raises(ModelError, match=refusal):
        train(QUESTIONS, **SHORT, dataset=questions, model=folder, output=tmp_path)
    return None


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_whose_outputs_depend_on_padding_or_length_is_refused(
    kind: str, tmp_path: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(kind, tmp_path / "model")
    assert (
        main(
            [
                "run",
                "task=sentiment",
                f"dataset={reviews}",
                f"model={folder}",
                f"output={tmp_path / 'runs'}",
            ]
        )
        == 2
    )
    assert REFUSED[kind] in capsys.readouterr().err and not list((tmp_path / "runs").iterdir())


def test_a_checkpoint_without_the_body_that_its_config_names_is_refused_for_the_cause(
    tmp_path: Path, questions: Path
) -> None:
    folder = checkpoint("bert", tmp_path / "model")
    other = checkpoint("t5", tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(
        ModelError, match=r"it looks for the body under `bert\.`, the checkpoint has"
    ):
        train(QUESTIONS, **SHORT, dataset=questions, model=folder, output=tmp_path)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_question_answering_finds_the_body_of_a_language_model_and_is_saved_for_everybody(
    kind: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering

    folder = checkpoint(kind, tmp_path / "model", AutoModelForCausalLM)
    model = Pretrained(str(folder)).load(AutoModelForQuestionAnswering, num_labels=2)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    weights = dict(model.base_model.named_parameters())
    assert weights.keys() == dict(whole.model.named_parameters()).keys()
    assert all(torch.equal(weights[name], one) for name, one in whole.model.named_parameters())
    assert model.new_weights == {"qa_outputs.weight", "qa_outputs.bias"}
    model.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForQuestionAnswering.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert all(
        torch.equal(again.get_parameter(name), one) for name, one in model.named_parameters()
    )


@pytest.mark.parametrize("kind", ["gemma2", "eurobert"])
def test_a_kind_that_transformers_lacks_is_refused_before_anything_is_encoded(
    kind: str, tmp_path: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="has no `AutoModelForQuestionAnswering`"):
        train(
            QUESTIONS,
            dataset=questions,
            model=checkpoint(kind, tmp_path / "model"),
            output=tmp_path,
        )
    assert not (tmp_path / "cache" / "encoded").exists()


def test_a_model_with_one_token_type_reads_pairs_without_them(
    tmp_path: Path, questions: Path
) -> None:
    from transformers import AutoTokenizer

    folder = checkpoint("bert", tmp_path / "one", type_vocab_size=1)
    assert "token_type_ids" in word_tokenizer()("a", "b")
    train(
        QUESTIONS,
        **SHORT,
        dataset=questions,
        model=checkpoint("bert", tmp_path / "two"),
        output=tmp_path,
    )
    # The cache has the rows with token types now, for a tokenizer that is the same in all else.
    run = train(QUESTIONS, **SHORT, dataset=questions, model=folder, output=tmp_path)
    asked = {
        "question": "who built the mill ?",
        "context": "the old mill was built by two brothers .",
    }
    assert ftr.load(run.path).predict([asked])[0]["best_answer"]
    # Whoever loads the saved tokenizer gets what the model takes.
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(run.model)("a", "b")


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("bert", {}, 512),
        ("bert", {"max_position_embeddings": -1}, None),
        ("bert", {"max_position_embeddings": 0}, None),
        ("bert", {"max_position_embeddings": 10**30}, None),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("luke", {"max_position_embeddings": 40, "pad_token_id": 1}, 38),
        ("xlnet", {}, None),
        ("t5", {}, None),
        ("mpt", {"max_seq_len": 64}, 64),
        ("led", {"max_encoder_position_embeddings": 77}, 77),
        ("gpt2", {"n_positions": 99}, 99),
    ],
)
def test_positions_are_found_under_their_names_and_no_limit_is_none(
    kind: str, config: dict[str, Any], expected: int | None
) -> None:
    from transformers import AutoConfig

    assert positions(AutoConfig.for_model(kind, **config)) == expected


def test_a_pad_token_without_an_embedding_is_not_used(tmp_path: Path) -> None:
    folder = checkpoint("bert", tmp_path / "model")
    tokenizer = word_tokenizer(pad_token="<added>", eos_token="[SEP]")
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id == len(tokenizer) - 1
    assert Pretrained(str(folder)).tokenizer().pad_token == "[SEP]"


def test_auto_attention_is_eager_where_transformers_has_no_sdpa_and_asked_for_is_refused(
    tmp_path: Path, reviews: Path
) -> None:
    folder = checkpoint("gemma2", tmp_path / "model")
    asked: dict[str, Any] = {
        **SHORT,
        "dataset": reviews,
        "model": folder,
        "output": tmp_path / "runs",
    }
    assert train(REVIEWS, **asked).record["numerics"]["attention"] == "eager"
    with pytest.raises(
        ftr.errors.ConfigError,
        match=r"`train.attention=sdpa`: .*Gemma2ForSequenceClassification does not support",
    ):
        train(REVIEWS, **asked, **{"train.attention": "sdpa"})


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
def test_attention_is_not_recorded_as_another_where_a_kind_has_its_own(
    kind: str, tmp_path: Path, reviews: Path
) -> None:
    asked: dict[str, Any] = {
        **SHORT,
        "dataset": reviews,
        "model": checkpoint(kind, tmp_path / "model"),
        "output": tmp_path / "runs",
    }
    assert train(REVIEWS, **asked).record["numerics"]["attention"] == "eager"
    with pytest.raises(
        ftr.errors.ConfigError,
        match=rf"`train.attention=sdpa`: a `{kind}` of transformers has its own attention alone",
    ):
        train(REVIEWS, **asked, **{"train.attention": "sdpa"})


def test_dropout_reaches_every_layer_of_modernbert(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    source = Pretrained(str(checkpoint("modernbert", tmp_path)))
    source.dropout, source.attention_dropout = 0.25, 0.5
    model = source.load(AutoModelForSequenceClassification, num_labels=2)
    found = {
        name: one.p for name, one in model.named_modules() if isinstance(one, torch.nn.Dropout)
    }
    assert {found["model.embeddings.drop"], found["model.layers.1.mlp.drop"]} == {0.25}
    assert model.model.layers[1].attn.attention_dropout == 0.5


@pytest.mark.parametrize("written", [{}, {"hidden_dropout": 0.0}])
def test_dropout_that_a_kind_does_not_read_is_refused_whatever_its_config_says(
    written: dict[str, float], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    path = checkpoint("eurobert", tmp_path) / "config.json"
    # As on the Hub.
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **written}))
    source = Pretrained(str(tmp_path))
    source.dropout = 0.1
    with pytest.raises(ModelError, match=r"`train.dropout`: a `eurobert` model has none of"):
        source.load(AutoModelForSequenceClassification, num_labels=2)


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
def test_attention_dropout_acts_where_a_kind_has_its_own_attention(
    kind: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    source = Pretrained(str(checkpoint(kind, tmp_path)))
    source.dropout, source.attention_dropout = 0.0, 0.9
    model = source.load(AutoModelForSequenceClassification, num_labels=2).train()
    rows = source.tokenizer()(TEXTS[1], return_tensors="pt")
    one, other = (model(**rows).logits for _ in range(2))
    assert not torch.equal(one, other)
    source.attention_dropout = 0.0
    model = source.load(AutoModelForSequenceClassification, num_labels=2).train()
    one, other = (model(**rows).logits for _ in range(2))
    assert torch.equal(one, other)


def test_attention_with_dropout_adds_the_position_bias_of_a_model() -> None:
    query, key, value = (torch.randn(2, 2, 5, 4) for _ in range(3))
    bias = torch.randn(1, 2, 5, 5)
    module = torch.nn.Module()
    plain, _ = cpu_attention(module, query, key, value, None, position_bias=bias, is_causal=False)
    # So little that no element is dropped.
    dropped, _ = cpu_attention(module, query, key, value, None, dropout=1e-9, position_bias=bias)
    assert torch.allclose(plain, dropped, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"id2label": ["a", "b"]},
        {"hidden_dropout_prob": "x"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    ],
)
def test_a_config_that_cannot_be_used_is_refused_in_a_line(
    change: dict[str, Any], tmp_path: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint("bert", tmp_path / "model") / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8"
    )
    assert (
        main(
            [
                "run",
                "task=sentiment",
                f"dataset={reviews}",
                f"model={path.parent}",
                f"output={tmp_path / 'runs'}",
            ]
        )
        == 2
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"model directory `{path.parent}`" in error and (
        "config" in error or "quantized" in error
    )


@pytest.mark.parametrize(
    "change",
    [
        {"output_attentions": True},
        {"return_dict": False},
        {"_attn_implementation": "flash_attention_2"},
        {"output_hidden_states": True},
    ],
)
def test_how_a_model_was_called_elsewhere_makes_no_difference(
    change: dict[str, Any], tmp_path: Path, reviews: Path
) -> None:
    path = checkpoint("bert", tmp_path / "model") / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8"
    )
    assert (
        train(
            REVIEWS, **SHORT, dataset=reviews, model=path.parent, output=tmp_path / "runs"
        ).record["status"]
        == "done"
    )
