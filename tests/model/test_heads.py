"""Training on from a checkpoint with a head: it follows the class names, whatever their order, or
is drawn anew.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ftr.model.architecture import Names, class_rows, row_order
from ftr.model.pretrained import Pretrained
from strangers import checkpoint
from trainings import CLASSES, QUESTIONS, REVIEWS, train, write_reviews

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

NAMES = ["b", "c", "a"]
ASIDE = {"epochs": 0.2, "learning_rate": 1e-9, "baselines": False}


def loaded(folder: Path, names: Sequence[str], auto: type[Any] | None = None) -> Any:
    """Return the model for classes of these names, as a head builds it."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    ids = dict(enumerate(names))
    config = {
        "num_labels": len(names),
        "id2label": ids,
        "label2id": {name: number for number, name in ids.items()},
    }
    return Pretrained(str(folder)).load(auto or AutoModelForSequenceClassification, **config)


def classifier_of(
    kind: str, folder: Path, names: Sequence[object] | None = NAMES, **config: Any
) -> Path:
    """Return a checkpoint with a head for three classes, whose names are written as they are
    given.
    """
    from transformers import AutoModelForSequenceClassification

    path = (
        checkpoint(kind, folder, AutoModelForSequenceClassification, num_labels=3) / "config.json"
    )
    written = json.loads(path.read_text(encoding="utf-8"))
    named = (
        {}
        if names is None
        else {
            "id2label": {str(number): name for number, name in enumerate(names)},
            "label2id": None,
        }
    )
    path.write_text(json.dumps({**written, **named, **config}), encoding="utf-8")
    return folder


def renamed(run: Path, folder: Path, names: Mapping[str, str]) -> Path:
    """Return a copy of a run's model whose classes have other names."""
    shutil.copytree(run / "model", folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["id2label"] = {number: names[name] for number, name in config["id2label"].items()}
    config["label2id"] = {name: int(number) for number, name in config["id2label"].items()}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def rewritten(reviews: Path, path: Path, names: Mapping[str, str]) -> Path:
    """Return the reviews with other names of their classes."""
    rows = [line.rpartition(",") for line in reviews.read_text(encoding="utf-8").splitlines()]
    path.write_text(
        "".join(f"{text},{names.get(label, label)}\n" for text, _, label in rows), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("known", "asked", "expected"),
    [
        (("b", "a"), ("a", "b"), [1, 0]),
        (("a", "b"), ("a", "b"), [0, 1]),
        (("1.0", "0.0"), ("0", "1"), [1, 0]),
        (("True", "False"), ("false", "true"), [1, 0]),
        (("POSITIVE", "NEGATIVE"), ("negative", "positive"), [1, 0]),
        (("A", "a"), ("a", "A"), [1, 0]),
        (("A", "a"), ("x", "y"), None),
        (("Pos", "pos"), ("POS", "neg"), None),
        (("a", "b"), ("a", "c"), None),
        (("a", "b", "c"), ("a", "b"), None),
        (("007", "8"), ("8", "7"), [1, 0]),
        (("1e3", "2"), ("2", "1000"), [1, 0]),
        (("+1", "-1"), ("-1", "1"), [1, 0]),
        (("New York", "Rome"), ("rome", "new  york"), [1, 0]),
        (("0.10000000000000001", "0.1"), ("0.1", "0.10000000000000001"), [1, 0]),
        (("12345678", "12345679"), ("12345679", "12345678"), [1, 0]),
    ],
)
def test_the_same_classes_are_found_in_any_order_and_spelling(
    known: tuple[str, ...], asked: tuple[str, ...], expected: Any
) -> None:
    assert row_order(known, asked) == expected


@pytest.mark.parametrize(
    ("config", "names", "given"),
    [
        ({"id2label": {"0": "x", "1": "y"}}, ("x", "y"), True),
        ({"id2label": {"1": "y", "0": "x"}}, ("x", "y"), True),
        ({"id2label": {"0": 0, "1": 1}}, ("0", "1"), True),
        ({}, ("0", "1"), False),
        ({"id2label": {"1": "x", "2": "y"}}, ("0", "1"), False),
    ],
)
def test_the_names_of_a_checkpoint_are_those_its_config_gives(
    config: Any, names: tuple[str, ...], given: bool
) -> None:
    from transformers import BertConfig

    assert Names.of(BertConfig(**config)) == Names(names, given)


@pytest.mark.parametrize(
    "kind",
    [
        "bert",
        "distilbert",
        "roberta",
        "gpt2",
        "xlnet",
        "t5",
        "deberta-v2",
        "electra",
        "albert",
        "mixtral",
        "modernbert",
        "mpnet",
        "eurobert",
        "qwen3",
    ],
)
def test_the_rows_of_every_kind_of_head_follow_the_names(kind: str, tmp_path: Path) -> None:
    folder = classifier_of(kind, tmp_path)
    one, other, new = (loaded(folder, names) for names in (NAMES, ["a", "b", "c"], ["x", "y", "z"]))
    rows = class_rows(one)
    assert rows and all(not name.startswith(f"{one.base_model_prefix}.") for name in rows)
    weights, moved, drawn = (dict(model.named_parameters()) for model in (one, other, new))
    for name, weight in weights.items():
        assert torch.equal(moved[name], weight[[2, 0, 1]] if name in rows else weight)
        assert name in rows or torch.equal(drawn[name], weight)
    assert not any(
        torch.equal(drawn[name], weights[name]) for name in rows if name.endswith("weight")
    )
    assert (
        new.new_weights >= set(rows)
        and not new.new_weights & (weights.keys() - rows.keys())
        and not other.new_weights
    )
    assert [model.head_note.split()[1].rstrip(":") for model in (one, other, new)] == [
        "kept",
        "rows",
        "new",
    ]
    assert other.config.id2label == {0: "a", 1: "b", 2: "c"} and new.config.id2label == {
        0: "x",
        1: "y",
        2: "z",
    }


@pytest.mark.parametrize(
    ("asked", "note"),
    [(["0", "1", "2"], "head: kept"), (["a", "b", "c"], "head: new: .*`id2label`")],
)
def test_a_checkpoint_without_names_keeps_its_head_for_numbers_alone(
    asked: list[str], note: str, tmp_path: Path
) -> None:
    assert re.match(note, loaded(classifier_of("bert", tmp_path, None), asked).head_note)


def test_other_numbers_of_classes_and_checkpoints_without_a_head_have_new_ones(
    tmp_path: Path, tiny_bert: Path
) -> None:
    fewer = loaded(classifier_of("bert", tmp_path), ["a", "b"])
    assert (
        fewer.head_note.startswith("head: new")
        and {"classifier.weight", "classifier.bias"} <= fewer.new_weights
    )
    assert loaded(tiny_bert, ["a", "b"]).head_note is None


@pytest.mark.parametrize("kind", ["modernbert", "bert", "eurobert"])
def test_the_head_of_a_masked_language_model_is_none_for_classes(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = loaded(checkpoint(kind, tmp_path, AutoModelForMaskedLM), ["0", "1"])
    assert model.head_note is None and "classifier.weight" in model.new_weights
    # ModernBERT's classifier goes on from the rest of that head, as in transformers.
    assert ("head.dense.weight" in dict(model.named_parameters())) == (kind == "modernbert")
    assert "head.dense.weight" not in model.new_weights


def test_what_a_checkpoint_was_trained_for_does_not_choose_the_loss(tmp_path: Path) -> None:
    assert (
        loaded(
            classifier_of("bert", tmp_path, problem_type="multi_label_classification"), NAMES
        ).config.problem_type
        is None
    )


def test_a_run_that_goes_on_from_another_order_is_as_good_as_before(
    classifier: RunResult, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = dict(zip(CLASSES, ("z", "y", "x"), strict=True))
    asked = {
        **ASIDE,
        "dataset": rewritten(reviews, tmp_path / "named.csv", names),
        "output": tmp_path / "runs",
    }
    same = train(REVIEWS, **ASIDE, dataset=reviews, model=classifier.path, output=tmp_path / "runs")
    run = train(REVIEWS, **asked, model=renamed(classifier.path, tmp_path / "ck", names))
    assert run.record["head_note"].startswith(
        "head: rows reordered by name: `z`, `y`, `x` in the checkpoint, `x`, `y`, `z` in the data"
    )
    assert (
        same.record["head_note"].startswith("head: kept")
        and same.record["untrained"]["accuracy"] > 0.8
    )
    assert capsys.readouterr().err.count("head: rows reordered") == 1
    # The split is another one, by the names: what counts is that it is not upside down.
    assert run.record["untrained"]["accuracy"] > 0.8


def test_adapters_follow_the_names_too(tiny_bert: Path, tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", broken=0)
    lora = {
        "epochs": 8,
        "learning_rate": 2e-2,
        "train.lora.rank": 4,
        "baselines": False,
        "output": tmp_path / "runs",
    }
    before = train(REVIEWS, **lora, dataset=reviews, model=tiny_bert)
    labels, swapped = sorted(CLASSES), ["z", "y", "x"]
    card = before.model / "ftr.json"
    written = json.loads(card.read_text(encoding="utf-8"))
    written["base"]["config"]["id2label"] = {
        str(number): name for number, name in enumerate(swapped)
    }
    kept, moved, fewer = (loaded(before.model, names) for names in (labels, labels, labels[:2]))
    card.write_text(json.dumps(written), encoding="utf-8")
    moved, new = loaded(before.model, swapped[::-1]), loaded(before.model, ["u", "v", "w"])
    assert torch.equal(moved.classifier.weight, kept.classifier.weight.flip(0))
    assert "rows reordered" in moved.head_note and "head: kept" in kept.head_note
    assert fewer.classifier.out_features == 2 and fewer.new_weights == new.new_weights == {
        "classifier.weight",
        "classifier.bias",
    }
    assert not torch.equal(new.classifier.weight, kept.classifier.weight)
    body = dict(kept.bert.named_parameters())
    assert all(torch.equal(weight, body[name]) for name, weight in new.bert.named_parameters())


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_a_classifier_of_three_classes_becomes_a_reader(
    kind: str, questions: Path, tmp_path: Path
) -> None:
    run = train(
        QUESTIONS,
        **ASIDE,
        dataset=questions,
        model=classifier_of(kind, tmp_path / "model"),
        output=tmp_path,
    )
    assert run.record["head_note"] is None and run.record["status"] == "done"


def test_a_reader_does_not_begin_with_the_rows_of_two_classes(tmp_path: Path) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    names = {"num_labels": 2, "id2label": {0: "bad", 1: "good"}}
    folder = checkpoint("modernbert", tmp_path / "two", AutoModelForSequenceClassification, **names)
    trained = loaded(folder, ["bad", "good"])
    assert trained.head_note.startswith("head: kept")
    reader = Pretrained(str(folder)).load(AutoModelForQuestionAnswering, num_labels=2)
    assert "classifier.weight" in reader.new_weights
    assert not torch.equal(reader.classifier.weight, trained.classifier.weight)
    assert torch.equal(reader.head.dense.weight, trained.head.dense.weight)
    reader.save_pretrained(tmp_path / "reader")
    Pretrained(str(folder)).tokenizer().save_pretrained(tmp_path / "reader")
    again = Pretrained(str(tmp_path / "reader")).load(AutoModelForQuestionAnswering, num_labels=2)
    assert torch.equal(again.classifier.weight, reader.classifier.weight)
    back = loaded(tmp_path / "reader", ["0", "1"])
    assert back.head_note.startswith("head: new") and "classifier.weight" in back.new_weights


def test_a_decoder_that_reads_becomes_a_classifier(questions: Path, tmp_path: Path) -> None:
    run = train(
        QUESTIONS,
        **ASIDE,
        dataset=questions,
        model=checkpoint("qwen3", tmp_path / "model"),
        output=tmp_path,
    )
    model = loaded(run.path, ["a", "b"])
    assert model.new_weights == {"score.weight"} and model.head_note is None


def test_an_ensemble_is_no_model_to_go_on_from(tmp_path: Path, reviews: Path) -> None:
    from ftr.errors import ModelError

    (tmp_path / "model").mkdir()
    for name in ("ftr.json", "ensemble.json"):
        (tmp_path / "model" / name).write_text("{}", encoding="utf-8")
    with pytest.raises(
        ModelError,
        match=r"is an ensemble of several models: give one of them, such as `model=.*members/0`",
    ):
        train(REVIEWS, dataset=reviews, model=tmp_path, output=tmp_path / "runs")
