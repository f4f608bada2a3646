"""The classification head from row to prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftr.config.schema import PretrainedOptions
from ftr.errors import ModelError
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import FAMILIES, Family, tiny_checkpoint, tiny_tokenizer
from ftr_plugins.classification.head import CUT, SequenceClassificationHead
from ftr_plugins.classification.options import SequenceClassificationOptions

SETTINGS = EncodeSettings(max_length=8, stride=2, labels=("x", "y"))


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"text": "a"}, None),
        ({"text": " \n"}, "empty text"),
        ({"text": None}, "empty text"),
        ({}, "empty text"),
    ],
)
def test_a_row_without_text_is_refused(row: dict[str, Any], cause: str | None) -> None:
    assert SequenceClassificationHead().check(row) == cause


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_cut_at_the_end_and_counted(family: Family) -> None:
    tokenizer = tiny_tokenizer(family)
    columns = SequenceClassificationHead().encode(
        {"text": ["good", "film " * 20], "label": [1, 0]}, tokenizer, SETTINGS
    )
    assert columns["notes"] == ["", CUT] and (columns["row"], columns["labels"]) == (
        [0, 1],
        [1, 0],
    )
    assert len(columns["input_ids"][0]) < len(columns["input_ids"][1]) == 8
    assert columns["input_ids"][0] == tokenizer("good")["input_ids"]


def test_a_row_is_a_pair_or_not_whatever_its_neighbours_are() -> None:
    tokenizer = tiny_tokenizer("bert")
    rows: dict[str, list[Any]] = {
        "text": ["good", "bad"],
        "text_pair": ["film", None],
        "label": [0, 1],
    }
    columns = SequenceClassificationHead().encode(rows, tokenizer, SETTINGS)
    assert columns["input_ids"] == [
        tokenizer("good", "film")["input_ids"],
        tokenizer("bad")["input_ids"],
    ]
    assert columns["token_type_ids"] == [[0, 0, 0, 1, 1], [0, 0, 0]]
    alone = SequenceClassificationHead().encode(
        {"text": ["bad"], "label": [1]}, tokenizer, SETTINGS
    )
    assert {key: values[0] for key, values in alone.items()} == {
        **{key: values[1] for key, values in columns.items()},
        "row": 0,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dropout_before_the_classifier_can_be_set(family: Family, tmp_path: Path) -> None:
    head = SequenceClassificationHead(SequenceClassificationOptions(dropout=0.35))
    from transformers import AutoModelForSequenceClassification

    source = Pretrained(str(tiny_checkpoint(family, tmp_path)), PretrainedOptions())
    if family in ("gpt2", "qwen3", "eurobert"):
        with pytest.raises(ModelError, match=f"`head.dropout`: a `{family}` model has no dropout"):
            head.build(source, ("x", "y"), seed=0)
        return
    head.build(source, ("x", "y"), seed=0).save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert again.config.id2label == {0: "x", 1: "y"} and again.config.pad_token_id is not None
    if family == "mpnet":  # the one that has no key of its own
        again = head.build(source, ("x", "y"), seed=0)
    rates = [
        module.p
        for name, module in again.named_modules()
        if name in ("dropout", "drop", "classifier.dropout")
    ]
    assert rates == [0.35]


def test_new_weights_follow_from_the_seed(tiny_bert: Path) -> None:
    import torch

    source = Pretrained(str(tiny_bert), PretrainedOptions())
    one, same, other = (
        SequenceClassificationHead()
        .build(source, ("x", "y"), seed)
        .state_dict()["classifier.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_prediction_has_label_score_and_all_probabilities() -> None:
    one = SequenceClassificationHead().decode(
        {"id": "a"}, [np.array([0.25, 0.75], dtype=np.float32)], {}, ("x", "y")
    )
    assert one == {
        "id": "a",
        "label": "y",
        "label_id": 1,
        "score": 0.75,
        "probabilities": {"x": 0.25, "y": 0.75},
    }
