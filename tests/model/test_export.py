"""Saving a model: all of it or what was there before, and what `ftr.json` gives back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.config.schema import PretrainedOptions
from ftr.errors import ModelError, RunError
from ftr.model.folder import FTR_JSON, ModelCard, read_card, save_model
from ftr.model.pretrained import Pretrained
from ftr_plugins.classification.head import SequenceClassificationHead

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CARD = ModelCard(
    head="sequence-classification",
    head_options={},
    metrics=("accuracy",),
    labels=("schlecht", "gut"),
    max_length=48,
    stride=16,
    state={"t": 0.5},
)


@pytest.fixture(scope="module")
def made(tiny_bert: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    source = Pretrained(str(tiny_bert), PretrainedOptions())
    return SequenceClassificationHead().build(source, CARD.labels, seed=0), source.tokenizer()


def files(folder: Path) -> dict[str, bytes]:
    """Return name -> bytes of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_checkpoint_is_plain_and_its_card_comes_back(
    made: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    save_model(tmp_path / "model", *made, CARD)
    assert read_card(tmp_path / "model") == CARD
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert loaded.config.id2label == {0: "schlecht", 1: "gut"}
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "model")("the mill")["input_ids"]
        == made[1]("the mill")["input_ids"]
    )
    assert {"model.safetensors", "config.json", "tokenizer.json", FTR_JSON} <= set(
        files(tmp_path / "model")
    )
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files(tmp_path / "model"))


def test_a_second_save_replaces_the_first_whole(
    made: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    save_model(tmp_path / "model", *made, CARD)
    (tmp_path / "model" / "left over").write_text("")
    save_model(tmp_path / "model", *made, CARD)
    assert "left over" not in files(tmp_path / "model") and [
        path.name for path in tmp_path.iterdir()
    ] == ["model"]


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_a_save_that_fails_leaves_the_old_model_whole_and_nothing_beside_it(
    part: str,
    made: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors import SafetensorError

    save_model(tmp_path / "model", *made, CARD)
    before = files(tmp_path / "model")
    model, tokenizer = made
    if part == "weights":
        # What safetensors raises when the disk is full is no OSError.
        full: Exception = SafetensorError(
            'Error while serializing: I/O error: Os { code: 28, message: "No space left on device" '
            "}"
        )
    else:
        full = OSError(28, "No space left on device")

    def refuse(*args: object, **kwargs: object) -> None:
        raise full

    monkeypatch.setattr(model if part == "weights" else tokenizer, "save_pretrained", refuse)
    with pytest.raises(
        RunError, match=r"cannot write the model to `.*model`: .*No space left on device.*output="
    ):
        save_model(tmp_path / "model", model, tokenizer, CARD)
    assert files(tmp_path / "model") == before and [path.name for path in tmp_path.iterdir()] == [
        "model"
    ]


def test_a_place_that_cannot_be_written_is_a_run_error(
    made: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the model to `.*file/model`"):
        save_model(tmp_path / "file" / "model", *made, CARD)


def test_a_directory_of_others_and_a_damaged_card_are_named(
    tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"has no `ftr.json`: it was not written by ftr"):
        read_card(tiny_bert)
    for text in ("{", "[]", "{}", '{"labels": [], "metrics": []}'):
        (tmp_path / FTR_JSON).write_text(text)
        with pytest.raises(
            ModelError, match=r"`.*ftr.json` is damaged .*: train again, or restore the file"
        ):
            read_card(tmp_path)
