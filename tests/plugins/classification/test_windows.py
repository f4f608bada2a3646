"""Texts longer than the model: every token is in a window, and the windows are averaged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ftr.plugin import DataError, EncodeSettings
from ftr.testing.tiny import FAMILIES, Family, tiny_tokenizer
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.classification.options import SequenceClassificationOptions
from ftr_plugins.classification.windows import averaged

SETTINGS = EncodeSettings(max_length=16, stride=4, labels=("bad", "good"))
LONG = "the old mill stands by the river near the village and was built by two brothers in 1803 . "
WINDOWS = SequenceClassificationHead(SequenceClassificationOptions(windows=True))


def encode(
    rows: dict[str, list[Any]], family: Family = "bert", **settings: Any
) -> dict[str, list[Any]]:
    return WINDOWS.encode(rows, tiny_tokenizer(family), replace(SETTINGS, **settings))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stride", [0, 4, 99])
def test_every_token_of_a_long_text_is_in_a_window(family: Family, stride: int) -> None:
    tokenizer = tiny_tokenizer(family)
    columns = encode({"text": ["good", LONG * 3], "label": [1, 0]}, family, stride=stride)
    windows = len(columns["row"]) - 1
    assert columns["row"] == [0, *[1] * windows] and columns["labels"] == [1, *[0] * windows]
    assert windows > 3 and columns["notes"] == [""] * len(columns["row"])
    assert columns["input_ids"][0] == tokenizer("good")["input_ids"]
    special = tokenizer.num_special_tokens_to_add()
    room = 16 - special
    shared = min(stride, room // 2)
    inner = [
        ids[special // 2 : len(ids) - special + special // 2] for ids in columns["input_ids"][1:]
    ]
    assert max(map(len, inner)) == room
    joined = inner[0] + [token for ids in inner[1:] for token in ids[shared:]]
    assert joined == tokenizer(LONG * 3, add_special_tokens=False)["input_ids"]


def test_rows_that_fit_are_encoded_as_without_windows() -> None:
    rows: dict[str, list[Any]] = {
        "text": ["good", "a bad film"],
        "text_pair": ["film", None],
        "label": [0, 1],
    }
    plain = SequenceClassificationHead().encode(rows, tiny_tokenizer("bert"), SETTINGS)
    assert encode(rows) == plain


def test_the_second_text_of_a_pair_is_whole_in_every_window() -> None:
    tokenizer = tiny_tokenizer("bert")
    pair = "who built the mill ?"
    columns = encode({"text": [LONG, "good"], "text_pair": [pair, "bad"], "label": [1, 0]})
    ids = tokenizer(pair, add_special_tokens=False)["input_ids"]
    assert columns["row"].count(0) > 2 and columns["row"][-1] == 1
    for window, types in zip(columns["input_ids"][:-1], columns["token_type_ids"], strict=False):
        assert window[-len(ids) - 1 : -1] == ids and sum(types) == len(ids) + 1
        assert len(window) <= 16


def test_a_second_text_that_leaves_no_room_is_refused_by_row() -> None:
    rows: dict[str, list[Any]] = {"id": ["a7"], "text": [LONG], "text_pair": [LONG], "label": [0]}
    with pytest.raises(DataError, match=r"row `a7`: its `text_pair` leaves 0 of .*= 16 tokens"):
        encode(rows)
    assert SequenceClassificationHead().encode(rows, tiny_tokenizer("bert"), SETTINGS)["row"] == [0]


def test_windows_are_averaged_by_their_log_probabilities() -> None:
    one, other = (np.array(values, dtype=np.float32) for values in ([0.9, 0.1], [0.2, 0.8]))
    means = np.sqrt([0.9 * 0.2, 0.1 * 0.8])
    assert averaged([one, other]) == pytest.approx(means / means.sum(), rel=1e-6)
    assert averaged([one]) is one
    prediction = WINDOWS.decode({"id": "a"}, [one, other], {}, SETTINGS.labels)
    assert prediction["label"] == "bad" and prediction["score"] == pytest.approx(0.6)


def test_a_class_without_any_vote_keeps_almost_none() -> None:
    sure = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    other = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    assert averaged([sure, other]) == pytest.approx([0.5, 0.5, 0.0])
    assert averaged([sure, sure]) == pytest.approx([1.0, 0.0, 0.0])
