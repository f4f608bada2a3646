"""Leaving stop words out, in any language with a list."""

from collections import Counter
from pathlib import Path

import pytest

from ftr.config.resolve import check_texts, resolve, stop_words
from ftr.config.schema import DataConfig
from ftr.data.clean import Cleaner
from ftr.errors import ConfigError
from ftr.registry.registry import get_registry
from readers import QA, TEXT


@pytest.mark.parametrize(
    ("language", "given", "expected"),
    [
        ("en", "The windmill, and THE river; don’t go.", "windmill, river; ."),
        ("de", "Der Müller und die Mühle", "Müller Mühle"),
        ("zh", "他 的 磨坊", "磨坊"),
        ("EN", "a windmill", "windmill"),
    ],
)
def test_the_words_of_the_list_go_whatever_their_case(
    language: str, given: str, expected: str
) -> None:
    assert Cleaner(["whitespace"], language).text(given) == expected


def test_a_text_of_stop_words_alone_stays_whole() -> None:
    assert Cleaner((), "en").text("it is what it is!") == "it is what it is!"


def test_words_and_rows_are_counted() -> None:
    counts = Counter[str]()
    cleaner = Cleaner((), "en")
    for text in ("the windmill and the river", "windmills"):
        cleaner.row({"id": "1", "text": text, "label": 0}, TEXT, counts)
    assert counts == {"stop_words": 1, "words_left_out": 3}


def test_an_unknown_language_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"`data.stop_words=eng`.*Did you mean `en`\?.* de, .*leave the key out"
    ):
        check_texts(DataConfig(stop_words="eng"), TEXT, "classifier")
    assert {"the", "and"} <= stop_words("en")


def test_heads_that_look_for_answers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`data.stop_words` cannot be used with head `reader`"):
        check_texts(DataConfig(stop_words="en"), QA, "reader")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            ["task=qa", "data.stop_words=en"],
            "`data.stop_words` cannot be used with head `extractive-qa`",
        ),
        (
            ["task=sentiment", "data.stop_words=qq", "dataset.train=nowhere.csv"],
            "`data.stop_words=qq`",
        ),
    ],
)
def test_both_are_refused_before_any_row_is_read(
    settings: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nowhere.csv").write_bytes(b"\xff not read")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=named):
        resolve(settings, get_registry())
