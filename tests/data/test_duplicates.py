"""Rows of equal texts: counted, said, and removed from training; and bootstrap samples."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ftr.config.schema import DataConfig
from ftr.data.rows import Rows
from ftr.data.splits import bootstrap
from ftr.errors import DataError
from readers import ALL, QA, prepare, texts


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def folder(path: Path) -> Path:
    write(
        path / "train.jsonl",
        [
            {"text": "A fine film", "label": "good"},
            {"text": "a  ﬁne FILM ", "label": "bad"},
            {"text": "a dull film", "label": "bad"},
            {"text": "in validation", "label": "good"},
            {"text": "In Test", "label": "bad"},
            {"text": "another", "label": "good"},
        ],
    )
    write(
        path / "dev.jsonl",
        [
            {"text": "In validation", "label": "good"},
            {"text": "new", "label": "bad"},
            {"text": "new", "label": "bad"},
        ],
    )
    write(
        path / "test.jsonl",
        [{"text": "in test", "label": "good"}, {"text": "new", "label": "good"}],
    )
    return path


def counts(prepared: Any, split: str) -> Any:
    return prepared.report["splits"][split].get("duplicates")


def test_they_are_counted_within_and_between_splits(tmp_path: Path) -> None:
    prepared = prepare(folder(tmp_path))
    assert counts(prepared, "train") == {
        "repeated": 1,
        "contradicting": 2,
        "in_validation": 1,
        "in_test": 1,
    }
    assert counts(prepared, "validation") == {"repeated": 1, "in_train": 1, "in_test": 2}
    assert counts(prepared, "test") == {"in_train": 1, "in_validation": 1}
    assert len(prepared.splits["train"]) == 6
    for note in (
        "train: 1 of 6 rows repeat an earlier one (the same text), 2 contradict each other "
        "(different targets)",
        "test: 1 of 2 rows have the same text as a training row",
    ):
        assert note in prepared.notes


def test_they_are_removed_from_training_alone_and_the_first_stays(tmp_path: Path) -> None:
    prepared = prepare(folder(tmp_path), data=ALL.model_copy(update={"duplicates": "remove"}))
    assert texts(prepared) == ["A fine film", "a dull film", "another"]
    assert [len(prepared.splits[split]) for split in ("validation", "test")] == [3, 2]
    assert prepared.report["splits"]["train"]["removed"] == 3  # type: ignore[index]
    assert counts(prepared, "train")["in_test"] == 1
    assert "train: 3 of 6 rows removed as duplicates" in prepared.notes


def test_what_is_cleaned_away_makes_no_difference(tmp_path: Path) -> None:
    write(
        tmp_path / "train.jsonl",
        [
            {"text": "<b>a</b> b", "label": 0},
            {"text": "a b", "label": 1},
            {"text": "c", "label": 1},
        ],
    )
    assert counts(prepare(tmp_path), "train") is None
    assert counts(prepare(tmp_path, data=ALL.model_copy(update={"clean": ("html",)})), "train") == {
        "repeated": 1,
        "contradicting": 2,
    }


def test_pairs_and_questions_are_compared_whole(tmp_path: Path) -> None:
    pairs = [
        {"text": "a", "text_pair": pair, "label": n % 2} for n, pair in enumerate(("b", "c", "b"))
    ]
    write(tmp_path / "train.jsonl", pairs)
    assert counts(prepare(tmp_path), "train") == {"repeated": 1}
    asked = [
        {"context": "Ada met Bo.", "question": ask, "answers": answer}
        for ask, answer in (("who?", "Ada"), ("whom?", "Bo"), ("who?", "Bo"))
    ]
    write(tmp_path / "train.jsonl", asked)
    assert counts(prepare(tmp_path, QA), "train") == {"repeated": 1, "contradicting": 2}


def test_nothing_left_to_train_on_is_said_with_its_cause(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", rows)
    with pytest.raises(
        DataError,
        match=r"no usable rows are left for train; `data.duplicates=remove` removed rows",
    ):
        prepare(tmp_path, data=ALL.model_copy(update={"duplicates": "remove"}))


def test_a_bootstrap_sample_is_drawn_with_replacement_and_the_same_again() -> None:
    rows = Rows([{"id": f"r{n}", "text": str(n)} for n in range(300)], [str(n) for n in range(300)])
    sample, distinct = bootstrap(rows, 7)
    drawn = Counter(str(row["text"]) for row in sample.rows)
    assert len(sample) == 300 and len(drawn) == distinct
    # Of many rows 1 - 1/e are in a sample.
    assert distinct / 300 == pytest.approx(0.632, abs=0.06)
    assert len({row["id"] for row in sample.rows}) == 300
    assert [row["text"] for row in sample.rows] == sample.places
    assert (bootstrap(rows, 7)[0].rows, bootstrap(rows, 8)[0].rows != sample.rows) == (
        sample.rows,
        True,
    )


def test_only_training_rows_are_resampled_before_copies_are_made(tmp_path: Path) -> None:
    rows = [{"text": f"film {n} was good", "label": n % 2} for n in range(60)]
    write(tmp_path / "a.jsonl", rows)
    plain = prepare(tmp_path / "a.jsonl", data=DataConfig())
    data = DataConfig.model_validate({"bootstrap": 3, "augment": {"delete": 0.2}})
    prepared = prepare(tmp_path / "a.jsonl", data=data)
    assert (
        prepared.splits["validation"] == plain.splits["validation"]
        and prepared.splits["test"] == plain.splits["test"]
    )
    assert len(prepared.splits["train"]) == 2 * len(plain.splits["train"])
    assert set(texts(prepared)[::2]) < set(texts(plain))
    record = prepared.report["splits"]["train"]["bootstrap"]  # type: ignore[index]
    assert record == {"seed": 3, "distinct": len(set(texts(prepared)[::2]))}
