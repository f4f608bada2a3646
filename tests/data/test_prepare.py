"""Labels, limits, made splits and the report."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ftr.config.schema import DataConfig
from ftr.data.labels import label_names
from ftr.data.prepare import prepare_rows
from ftr.errors import DataError
from readers import ALL, QA, TEXT, head_of, load, prepare, texts


def reviews(path: Path, count: int = 200, labels: tuple[str, ...] = ("x", "y", "y", "z")) -> Path:
    lines = ["text,label", *(f"text {n},{labels[n % len(labels)]}" for n in range(count))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def questions(path: Path, titles: int, each: int = 5) -> Path:
    rows = [
        {
            "title": f"t{n % titles}",
            "context": f"Ada {n % 9} met Bo.",
            "question": f"{n}?",
            "answers": "Ada",
        }
        for n in range(titles * each)
    ]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_label_order_is_stable_for_every_type() -> None:
    assert label_names(["b", "a"]) == ("a", "b")
    assert label_names([10, 9, -1]) == label_names(["10", "9", "-1"]) == ("-1", "9", "10")
    assert label_names([True, False]) == ("false", "true")
    assert label_names([1.0, 0, "x"]) == ("0", "1", "x")
    assert label_names(["4.5", "4", "10"]) == ("4", "4.5", "10")


def test_made_splits_keep_class_shares_and_are_the_same_again(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.csv")
    prepared = prepare(path, data=DataConfig())
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }
    assert Counter(row["label"] for row in prepared.splits["test"]) == {0: 5, 1: 10, 2: 5}
    assert prepared.splits == prepare(path, data=DataConfig()).splits
    assert prepared.splits != prepare(path, data=DataConfig(seed=1)).splits
    assert (
        "test: 20 rows taken from a.csv, with the class shares of `label`, seed 0" in prepared.notes
    )
    everything = sorted(text for name in prepared.splits for text in texts(prepared, name))
    assert everything == sorted(f"text {n}" for n in range(200))


def test_a_split_that_is_there_is_not_made_and_a_share_of_nothing_makes_none(
    tmp_path: Path,
) -> None:
    reviews(tmp_path / "train.csv")
    reviews(tmp_path / "dev.csv", 8)
    prepared = prepare(tmp_path, data=DataConfig(test_size=0))
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {
        "train": 200,
        "validation": 8,
    }
    assert "validation: 8 of 8 rows have the same text as a training row" in prepared.notes


def test_questions_of_one_title_stay_together(tmp_path: Path) -> None:
    prepared = prepare(questions(tmp_path / "a.json", 40), QA, DataConfig())
    titles = [{row["title"] for row in rows} for rows in prepared.splits.values()]
    assert len(set.union(*titles)) == sum(map(len, titles)) == 40
    assert [len(rows) for rows in prepared.splits.values()] == [160, 20, 20]
    assert any("rows of one `title` together" in note for note in prepared.notes)


def test_without_titles_questions_on_one_passage_stay_together(tmp_path: Path) -> None:
    prepared = prepare(questions(tmp_path / "a.json", 2, 50), QA, DataConfig())
    contexts = [{row["context"] for row in rows} for rows in prepared.splits.values()]
    assert len(set.union(*contexts)) == sum(map(len, contexts)) == 9
    assert any("rows of one `context` together" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("sample", "expected"), [("first", ["text 0", "text 1", "text 2", "text 3"]), ("random", None)]
)
def test_limits_count_usable_rows_and_keep_their_order(
    tmp_path: Path, sample: str, expected: list[str] | None
) -> None:
    reviews(tmp_path / "train.csv", 50)
    reviews(tmp_path / "dev.csv", 50)
    data = ALL.model_copy(update={"limit": 40, "limit_validation": 4, "sample": sample})
    prepared = prepare(tmp_path, data=data)
    numbers = [int(text.removeprefix("text ")) for text in texts(prepared, "validation")]
    assert len(prepared.splits["train"]) == 40 and len(numbers) == 4 and numbers == sorted(numbers)
    assert expected is None or texts(prepared, "validation") == expected
    assert f"validation: 4 of 50 usable rows ({sample})" in prepared.notes


def test_a_limit_cuts_a_single_file_before_it_is_split(tmp_path: Path) -> None:
    prepared = prepare(reviews(tmp_path / "a.csv"), data=DataConfig(limit=100))
    assert sum(len(rows) for rows in prepared.splits.values()) == 100


def test_too_many_bad_rows_stop_with_counts_and_the_first_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "a,x\nb,y\n" * 10 + ",x\nc\n", encoding="utf-8")
    with pytest.raises(
        DataError,
        match=r"`a\.csv`: 2 of 22 rows .*max_invalid=0\.05.*wrong number of cells: 1.*`a\.csv:23`",
    ):
        prepare(path, data=DataConfig())
    prepared = prepare(path, data=DataConfig(max_invalid=0.1))
    rejected = prepared.report["splits"]["train"]["rejected"]  # type: ignore[index]
    assert rejected == {"wrong number of cells": 1, "empty text": 1}


def test_one_label_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`a\.csv`: all 20 usable rows have the same `label`, `x`"):
        prepare(reviews(tmp_path / "a.csv", 20, ("x",)))


def test_a_column_of_free_text_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"a {n},b {n}\n" for n in range(50)), encoding="utf-8")
    with pytest.raises(DataError, match="`label` has 50 different values in 50 rows"):
        prepare(path)


def test_a_label_that_train_lacks_is_rejected_by_name(tmp_path: Path) -> None:
    reviews(tmp_path / "train.csv", 8, ("x", "y"))
    reviews(tmp_path / "test.csv", 4, ("x", "y", "w", "y"))
    prepared = prepare(tmp_path)
    assert [(item.place, item.cause) for item in prepared.rejected] == [
        ("test.csv:4", "label not in train")
    ]
    assert prepared.labels == ("x", "y")


def test_a_class_too_rare_for_every_split_is_named(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.csv", 20, ("x", "y"))
    path.write_text(path.read_text() + "\nlast,rare", encoding="utf-8")
    with pytest.raises(
        DataError, match="the class `rare` has 1 of 21 rows: too few to be in each of 3 splits"
    ):
        prepare(path, data=DataConfig())


def test_a_folder_without_training_rows_says_what_it_has(tmp_path: Path) -> None:
    reviews(tmp_path / "test.csv")
    with pytest.raises(DataError, match=r"no training rows, only test: give `dataset\.train=FILE`"):
        prepare(tmp_path)


def test_the_classes_of_a_trained_model_are_kept(tmp_path: Path) -> None:
    loaded = load(reviews(tmp_path / "test.csv"))
    prepared = prepare_rows(
        loaded, head_of(TEXT), DataConfig(max_invalid=0.5), known_labels=("z", "y")
    )
    assert list(prepared.splits) == ["train"] and prepared.labels == ("z", "y")
    assert {row["label"] for row in prepared.splits["train"]} == {0, 1}
    assert Counter(item.cause for item in prepared.rejected) == {"label not known to the model": 50}


def test_the_report_is_plain_data(tmp_path: Path) -> None:
    report = json.loads(json.dumps(prepare(reviews(tmp_path / "a.csv"), data=DataConfig()).report))
    assert report["splits"]["train"] == {
        "read": 200,
        "used": 160,
        "rejected": {},
        "from": "a.csv",
        "labels": {"x": 40, "y": 80, "z": 40},
    }
    assert report["splits"]["test"]["from"] == "a.csv (10% of the training rows)"
