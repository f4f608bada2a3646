"""The base class of heads: what its defaults give, and when a default is no longer one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from ftr.plugin import Column, EncodeSettings, Head, Prediction, Row
from ftr.registry.protocols import Ability, provides
from ftr.registry.schema import RowSchema
from ftr.testing.tiny import tiny_tokenizer

TEXT, PAIR = Column(name="text"), Column(name="text_pair", required=False)
LABELS = ("calm", "urgent", "late")


class OneLabel(Head):
    columns = (TEXT, PAIR, Column(name="label", type="label"))


class Several(Head):
    columns = (TEXT, Column(name="topics", type="labels"))


class Number(Head):
    columns = (TEXT, Column(name="score", type="number"))


class Sigmoid(OneLabel):
    def reduce(self, outputs: Any, features: Any) -> list[Any]:
        return list(outputs["logits"].sigmoid().numpy())


class OwnLoss(OneLabel):
    def loss(self, outputs: Any, inputs: Any) -> Any:
        return outputs["logits"].sum()


class Combining(Sigmoid):
    def combine(self, outputs: Sequence[Any]) -> Any:
        return outputs[0]


@pytest.mark.parametrize(
    ("kind", "able"),
    [
        (OneLabel, {"combine", "vote", "row_losses"}),
        (Several, set()),  # a softmax over labels that exclude nothing would be wrong
        (Number, set()),  # so would one of a single number
        (Sigmoid, {"row_losses"}),
        (OwnLoss, {"combine", "vote"}),
        (Combining, {"combine", "row_losses"}),
    ],
)
def test_a_default_counts_where_what_it_goes_with_is_a_default(
    kind: type[Head], able: set[Ability]
) -> None:
    abilities: tuple[Ability, ...] = (
        *("combine", "vote", "row_losses"),
        *("baselines", "as_given", "remarks"),
    )
    assert {ability for ability in abilities if provides(kind(), ability)} == able


def test_rows_become_features_with_their_targets() -> None:
    tokenizer = tiny_tokenizer("bert", "one two three four")
    settings = EncodeSettings(max_length=8, stride=0, labels=LABELS)
    rows: dict[str, list[Any]] = {
        "text": ["one", "one two three four " * 3],
        "text_pair": [None, "two"],
        "label": [2, 0],
    }
    found = OneLabel().encode(rows, tokenizer, settings)
    assert found["row"] == [0, 1] and found["labels"] == [2, 0]
    assert found["notes"] == ["", "text cut"] and len(found["input_ids"][1]) == 8
    alone = tokenizer("one")["input_ids"]
    assert found["input_ids"][0] == alone and set(found["token_type_ids"][1]) == {0, 1}
    several = Several().encode({"text": ["one"], "topics": [[0, 2]]}, tokenizer, settings)
    assert several["labels"] == [[1.0, 0.0, 1.0]]
    number = Number().encode({"text": ["one"], "score": [3]}, tokenizer, settings)
    assert number["labels"] == [3.0]
    batch = Several().collate(
        [{"input_ids": [1, 2], "labels": [1.0, 0.0]}, {"input_ids": [1], "labels": [0.0, 0.0]}],
        tokenizer,
    )
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].dtype == torch.float32


def test_targets_are_left_out_of_rows_to_predict() -> None:
    tokenizer = tiny_tokenizer("bert", "one")
    settings = EncodeSettings(max_length=8, stride=0, labels=LABELS, targets=False)
    assert "labels" not in OneLabel().encode({"text": ["one"]}, tokenizer, settings)


@pytest.mark.parametrize(
    ("kind", "labels", "config"),
    [
        (
            OneLabel,
            ("a", "b"),
            {
                "num_labels": 2,
                "id2label": {0: "a", 1: "b"},
                "label2id": {"a": 0, "b": 1},
                "problem_type": "single_label_classification",
            },
        ),
        (Number, (), {"num_labels": 1, "problem_type": "regression"}),
    ],
)
def test_the_config_names_classes_and_problem(
    kind: type[Head], labels: Sequence[str], config: dict[str, Any]
) -> None:
    assert kind().model_config(labels) == config


def test_the_mean_of_several_models_and_their_vote() -> None:
    one, other = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[2.0, -1.0, 0.5]])
    outputs = [SequenceClassifierOutput(logits=logits) for logits in (one, other)]
    head = OneLabel()
    (mean,) = head.reduce(head.combine(outputs), [])
    wanted = (one.softmax(-1) + other.softmax(-1)) / 2
    assert np.allclose(mean, wanted.numpy(), atol=1e-6)
    (vote,) = head.reduce(head.vote(outputs, [1.0, 3.0]), [])
    assert vote.tolist() == pytest.approx([0.75, 0.0, 0.25])


def test_a_prediction_names_its_row_and_its_class() -> None:
    head, row = OneLabel(), {"id": "7", "text": "one", "label": 1}
    found = head.decode(row, [np.array([0.25, 0.5, 0.25], dtype=np.float32)], {}, LABELS)
    assert found == {
        "id": "7",
        "label": "urgent",
        "label_id": 1,
        "score": 0.5,
        "probabilities": {"calm": 0.25, "urgent": 0.5, "late": 0.25},
    }
    assert head.score_inputs([row], [found], LABELS) == {"predictions": [1], "references": [1]}


def test_losses_of_rows_have_their_mean_as_the_loss_of_the_model() -> None:
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    outputs = SequenceClassifierOutput(logits=logits)
    losses = OneLabel().row_losses(outputs, {"labels": targets}, 0.0)
    assert losses.shape == (4,)
    assert float(losses.mean()) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, targets))
    )


def test_a_row_with_an_empty_text_is_refused() -> None:
    assert OneLabel().check({"text": " "}) == "empty text"
    assert OneLabel().check({"text": "a", "text_pair": ""}) is None


class NoColumns(Head):
    pass


class ThreeTexts(Head):
    columns = (TEXT, PAIR, Column(name="third"), Column(name="label", type="label"))


class OwnSchema(Head):
    schema = RowSchema(columns=(TEXT, Column(name="label", type="label")), group="text")


class NoCompare(Number):
    def predict(self, row: Row, output: Any, labels: Sequence[str], state: Any) -> Prediction:
        return {"score": 0.0}


def test_what_a_head_lacks_is_named_with_the_way_out() -> None:
    tokenizer = tiny_tokenizer("bert", "one")
    settings = EncodeSettings(max_length=8, stride=0)
    with pytest.raises(TypeError, match=r"`NoColumns` has no columns: set `columns = "):
        _ = NoColumns().schema
    rows: dict[str, list[Any]] = {"text": ["one"], "text_pair": ["one"], "label": [0]}
    with pytest.raises(TypeError, match=r"`ThreeTexts` has 3 columns of texts.*override it"):
        ThreeTexts().encode(rows, tokenizer, settings)
    with pytest.raises(NotImplementedError, match=r"`NoCompare`.*override `compare\("):
        NoCompare().score_inputs([{"id": "1", "score": 1.0}], [{"score": 0.0}], [])
    assert OwnSchema().schema.group == "text" and provides(OwnSchema(), "combine")


def test_a_set_of_labels_is_not_predicted_as_one_class() -> None:
    head = Several()
    with pytest.raises(NotImplementedError, match="override `reduce` and `predict"):
        head.predict({"id": "1"}, np.array([0.2, 0.8]), ("a", "b"), {})
    with pytest.raises(NotImplementedError, match=r"override `compare\("):
        head.compare({"id": "1", "topics": [1]}, {"label_id": 1})
