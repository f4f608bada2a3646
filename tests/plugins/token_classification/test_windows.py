"""Words, tokens and windows: every word is read once, at its first token, where it stands best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ftr.errors import ConfigError
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import FAMILIES, Family, tiny_tokenizer
from ftr_plugins.token_classification.encode import IGNORED, encode_rows
from ftr_plugins.token_classification.head import TokenClassificationHead, WindowRecord

LABELS = ("B-PER", "I-PER", "O")
SHORT = EncodeSettings(max_length=16, stride=4, labels=LABELS, targets=False)
LONG = ["Schneidermeister", "Anna", "saw", "the", "old", "mill", ",", "twice", "."] * 6


def encoded(
    words: list[str],
    family: Family = "bert",
    settings: EncodeSettings = SHORT,
    tags: list[int] | None = None,
) -> dict[str, list[Any]]:
    return encode_rows({"tokens": [words], "tags": [tags]}, tiny_tokenizer(family), settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_of_a_long_sentence_is_read_in_one_window(family: Family) -> None:
    columns = encoded(LONG, family)
    assert len(columns["input_ids"]) > 3 and max(map(len, columns["input_ids"])) == 16
    assert sorted(word for words in columns["words"] for word in words) == list(range(len(LONG)))
    assert columns["notes"] == [""] * len(columns["row"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_is_read_at_its_first_token(family: Family) -> None:
    tokenizer = tiny_tokenizer(family)
    columns = encoded(LONG, family)
    for ids, words, places in zip(
        columns["input_ids"], columns["words"], columns["places"], strict=True
    ):
        for word, place in zip(words, places, strict=True):
            text = tokenizer.decode([ids[place]]).replace("#", "").strip().lower()
            space = tokenizer.convert_ids_to_tokens(ids[place]) in ("\u0120", "\u2581")
            assert LONG[word].lower().startswith(text) and (text or space), (LONG[word], text)


def test_a_word_between_two_windows_is_read_away_from_the_edge() -> None:
    columns = encoded(list("abcdefghijklmnopqrstuvwx"))
    # Windows of 14 letters that share 4: each of those is read where more letters stand around it.
    assert columns["words"] == [list(range(12)), list(range(12, 24))]


def test_labels_stand_at_first_tokens_alone() -> None:
    settings = replace(SHORT, max_length=40, targets=True)
    (labels,) = encoded(["Schneider", "saw", "Anna"], settings=settings, tags=[0, 2, 1])["labels"]
    whole = encoded(["Schneider", "saw", "Anna"], settings=replace(settings, targets=False))
    expected = [IGNORED] * len(whole["input_ids"][0])
    for place, label in zip(whole["places"][0], (0, 2, 1), strict=True):
        expected[place] = label
    assert labels == expected and len(labels) > 5
    many = encoded(LONG, settings=settings, tags=[number % 3 for number in range(len(LONG))])[
        "labels"
    ]
    assert [label for row in many for label in row if label != IGNORED] == [
        number % 3 for number in range(len(LONG))
    ]


def test_a_word_the_tokenizer_drops_is_counted_and_outside() -> None:
    words = ["Anna", "\u200b", "sleeps"]
    columns = encoded(words)
    assert columns["words"] == [[0, 2]] and columns["notes"] == ["word without a token"]
    record = WindowRecord(
        columns["words"][0], np.array([0, 1]), np.array([0.5, 0.75], dtype=np.float32)
    )
    prediction = TokenClassificationHead().decode(
        {"id": "x", "tokens": words}, [record], {}, LABELS
    )
    assert prediction["tags"] == ["B-PER", "O", "I-PER"]
    assert prediction["entities"] == [
        {"type": "PER", "start": 0, "end": 1, "text": "Anna", "score": 0.5},
        {"type": "PER", "start": 2, "end": 3, "text": "sleeps", "score": 0.75},
    ]


def test_the_outcome_of_a_sentence_is_that_of_its_entities() -> None:
    words, head = ["Anna", "Berg", "met", "Ida"], TokenClassificationHead()
    row = {"id": "x", "tokens": words, "tags": [0, 1, 2, 0]}
    tags = [LABELS.index(tag) for tag in ("B-PER", "I-PER", "O", "O")]
    record = WindowRecord(range(4), np.array(tags), np.array([0.5, 0.5, 1.0, 0.5]))
    prediction = head.decode(row, [record], {}, LABELS)
    (outcome,) = head.outcomes([row], [prediction], LABELS)
    assert outcome.predicted == "Anna Berg (PER)"
    assert outcome.expected == "Anna Berg (PER), Ida (PER)"
    assert outcome.error == pytest.approx(1 / 3) and not outcome.right
    assert outcome.confidence == prediction["score"] == 0.125
    nothing = {"id": "y", "tokens": ["so"], "tags": [2]}
    (right,) = head.outcomes([nothing], [{"id": "y", "tags": ["O"], "score": 0.9}], LABELS)
    assert right.right and right.predicted == right.expected == "(no entity)"


def test_a_length_without_room_for_a_word_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`data\.max_length` = 2 leaves no room"):
        encoded(["a"], settings=EncodeSettings(max_length=2, stride=0))


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"tokens": ["a", "b"]}, None),
        ({"tokens": ["a", "b"], "tags": ["O", "B-X"]}, None),
        ({"tokens": []}, "empty tokens"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "not as many tags as tokens"),
        ({"tokens": ["a"], "tags": ["PER"]}, "tags are not O, B-TYPE or I-TYPE"),
    ],
)
def test_rows_that_cannot_be_used_say_why(row: dict[str, Any], cause: str | None) -> None:
    assert TokenClassificationHead().check(row) == cause
