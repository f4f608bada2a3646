"""Folders of splits, files named by option, and texts with their labels beside them."""

import json
from pathlib import Path

import pytest

from ftr.errors import ConfigError, DataError
from readers import QA, load, prepare, texts

CSV = "text,label\na,x\nb,y\n"


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).write_text(CSV, encoding="utf-8")
    return path


def test_splits_are_known_by_the_words_of_their_names(tmp_path: Path) -> None:
    loaded = load(
        folder(tmp_path, "my-train-v2.csv", "dev.csv", "x.test.csv", "README.txt", "latest.csv")
    )
    assert loaded.origins == {
        "train": "my-train-v2.csv",
        "validation": "dev.csv",
        "test": "x.test.csv",
    }
    assert any("files not used: latest.csv" in note for note in loaded.notes)
    assert len(loaded.sources) == 3 and all(len(source.sha256) == 64 for source in loaded.sources)


def test_two_files_for_a_split_are_an_error_that_names_both(tmp_path: Path) -> None:
    folder(tmp_path, "train.csv", "train2-train.csv")
    with pytest.raises(
        DataError,
        match=r"several files for train: `train\.csv` and "
        r"`train2-train\.csv`.*`dataset\.train=FILE`",
    ):
        load(tmp_path)
    assert load(tmp_path, train="train.csv").origins == {"train": "train.csv"}


def test_a_folder_with_one_file_is_that_file_and_with_more_it_is_refused(tmp_path: Path) -> None:
    assert load(folder(tmp_path, "reviews.csv")).origins == {"train": "reviews.csv"}
    with pytest.raises(
        DataError, match=r"no file name says train, validation or test: `more\.csv`, `reviews\.csv`"
    ):
        load(folder(tmp_path, "more.csv"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data files"):
        load(tmp_path)


def test_files_can_be_named_one_by_one_or_left_out(tmp_path: Path) -> None:
    folder(tmp_path, "a.csv", "b.csv", "dev.csv")
    assert load("files", train=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv")).origins == {
        "train": "a.csv",
        "test": "b.csv",
    }
    assert load(tmp_path / "a.csv", test=str(tmp_path / "b.csv")).origins == {
        "train": "a.csv",
        "test": "b.csv",
    }
    assert load(tmp_path, train="a.csv", validation="none").origins == {"train": "a.csv"}
    with pytest.raises(ConfigError, match="contradicts"):
        load(tmp_path / "a.csv", train="b.csv")
    with pytest.raises(ConfigError, match="`dataset=files` needs the files"):
        load("files")


def test_an_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_text(CSV, encoding="utf-8")
    with pytest.raises(DataError, match=r"the ending `\.dat` tells no format"):
        load(path)
    assert texts(prepare(path, format="csv")) == ["a", "b"]


def tweeteval(path: Path) -> Path:
    for split in ("train", "test"):
        (path / f"{split}_text.txt").write_text("good \nbad \nwell\u0085 well \n", encoding="utf-8")
        (path / f"{split}_labels.txt").write_text("2\n0\n1\n", encoding="utf-8")
    (path / "mapping.txt").write_text("0\tnegative\n1\tneutral\n2\tpositive\n", encoding="utf-8")
    return path


def test_labels_beside_a_text_are_found_and_named_by_the_mapping(tmp_path: Path) -> None:
    prepared = prepare(tweeteval(tmp_path))
    assert prepared.labels == ("negative", "neutral", "positive")
    assert [row["label"] for row in prepared.splits["train"]] == [2, 0, 1]
    assert len(load(tmp_path).sources) == 5


def test_labels_and_texts_must_be_as_many(tmp_path: Path) -> None:
    (tweeteval(tmp_path) / "test_labels.txt").write_text("2\n0\n", encoding="utf-8")
    with pytest.raises(
        DataError,
        match=r"test_text\.txt` has 3 lines and its labels file `.*test_labels\.txt` has 2",
    ):
        load(tmp_path)


def test_a_text_without_labels_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("good\nbad\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.labels_file"):
        load(path)
    (tmp_path / "l.txt").write_text("x\ny\n", encoding="utf-8")
    assert prepare(path, labels_file=str(tmp_path / "l.txt")).labels == ("x", "y")


def test_a_plain_text_is_no_question(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\n", encoding="utf-8")
    with pytest.raises(DataError, match="a row needs `question`, `context`"):
        load(tmp_path / "a.txt", QA)


def test_an_option_that_no_file_takes_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, "a.csv") / "a.csv"
    with pytest.raises(ConfigError, match=r"`dataset\.txet`"):
        load(path, txet="a")
    assert json.dumps(load(path).notes) == "[]"
