"""What the `datasets` library gives: class names, missing labels, an unreachable hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ftr.config.schema import DataConfig
from ftr.data.prepare import prepare_rows
from ftr.data.read import fetch, from_splits
from ftr.data.registered import as_splits
from ftr.errors import DataError, PluginError
from ftr.registry.schema import Column, RowSchema
from readers import TEXT, head_of

if TYPE_CHECKING:
    from datasets import DatasetDict


def splits(*labels: int) -> DatasetDict:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    train = Dataset.from_dict(
        {"sentence": [f"s{n}" for n in range(len(labels))], "label": list(labels)},
        features=features,
    )
    return DatasetDict({"train": train})


def test_classes_keep_their_names_and_unlabelled_rows_are_rejected() -> None:
    loaded = from_splits(splits(1, 0, -1), TEXT, {}, "dataset `d`")
    prepared = prepare_rows(
        loaded, head_of(TEXT), DataConfig(validation_size=0, test_size=0, max_invalid=0.5)
    )
    assert prepared.labels == ("neg", "pos")
    assert [row["label"] for row in prepared.splits["train"]] == [1, 0]
    assert [(item.place, item.cause) for item in prepared.rejected] == [("train[2]", "empty label")]
    assert loaded.sources[0].path == "dataset d train"


def test_a_class_for_every_token_keeps_its_name() -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    features = Features(
        {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-PER"]))}
    )
    train = Dataset.from_dict(
        {"tokens": [["Ada", "met"], ["so"], ["Bo"]], "ner_tags": [[1, 0], [0], [-1]]},
        features=features,
    )
    schema = RowSchema(
        columns=(
            Column(name="tokens", type="tokens"),
            Column(name="tags", type="labels", aliases=("ner_tags",)),
        )
    )
    loaded = from_splits(DatasetDict({"train": train}), schema, {}, "dataset `d`")
    assert [row["tags"] for row in loaded.splits["train"].rows] == [["B-PER", "O"], ["O"], [None]]


def test_what_is_no_dataset_dict_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match="row 0 of train is a `int`"):
        as_splits([1], "dataset `d`")
    with pytest.raises(PluginError, match="returned a `int` as train"):
        as_splits(1, "dataset `d`")


def test_an_unreachable_hub_says_to_give_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError,
        match=r"`hub:nobody/nothing` cannot be downloaded from the Hub \(.*give a file instead: "
        r"`dataset=FILE\.csv`",
    ):
        fetch("nobody/nothing")
