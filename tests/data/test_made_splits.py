"""Folds and made splits as rows are prepared: apart from each other, and the same in every member
of a cross-validation.
"""

from collections import Counter
from pathlib import Path

import pytest

from ftr.config.schema import CvConfig, DataConfig
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.errors import DataError
from readers import QA, TEXT, head_of, load
from trainings import write_reviews, write_squad


def folded(path: Path, fold: int | None, count: int = 4, **data: object) -> PreparedRows:
    schema = QA if path.suffix == ".json" else TEXT
    return prepare_rows(
        load(path, schema),
        head_of(schema),
        DataConfig.model_validate(data),
        cv=CvConfig(folds=count, fold=fold),
    )


def ids(prepared: PreparedRows, split: str) -> set[str]:
    return {row["id"] for row in prepared.splits[split]}


def test_every_training_row_is_validated_on_once_and_test_is_apart(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.csv", broken=0)
    members = [folded(path, fold) for fold in range(4)]
    test = ids(members[0], "test")
    seen = Counter(one for member in members for one in ids(member, "validation"))
    assert set(seen.values()) == {1} and len(seen) == 54 and not test & set(seen)
    for member in members:
        assert ids(member, "test") == test and ids(member, "train") == set(seen) - ids(
            member, "validation"
        )
        assert max(Counter(row["label"] for row in member.splits["validation"]).values()) <= 5
    assert folded(path, None).splits == members[0].splits
    assert (
        "validation: 14 rows, fold 1 of 4 of a.csv, with the class shares of `label`, seed 0"
        in members[1].notes
    )


def test_questions_of_one_article_are_in_one_fold(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "a.json", broken=0)
    for fold in range(4):
        member = folded(path, fold)
        titles = [
            {row["title"] for row in member.splits[split]}
            for split in ("train", "validation", "test")
        ]
        assert not titles[0] & titles[1] and not titles[2] & (titles[0] | titles[1])


def test_validation_rows_that_are_given_are_not_used_and_that_is_said(tmp_path: Path) -> None:
    write_reviews(tmp_path / "train.csv", broken=0)
    write_reviews(tmp_path / "dev.csv", 9, broken=0, seed=1)
    prepared = prepare_rows(
        load(tmp_path), head_of(TEXT), DataConfig(test_size=0), cv=CvConfig(folds=3, fold=2)
    )
    assert len(prepared.splits["validation"]) == 20 and ids(prepared, "validation") <= {
        f"train-{n}" for n in range(1, 61)
    }
    assert any(
        note.startswith("validation: 9 given rows not used: `cv.folds`") for note in prepared.notes
    )


def test_copies_and_bootstrap_samples_are_of_the_folds_training_rows_alone(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.csv", broken=0)
    plain = folded(path, 1)
    changed = folded(path, 1, augment={"delete": 0.2}, bootstrap=1)
    assert changed.splits["validation"] == plain.splits["validation"]
    assert {one.partition("+")[0].partition("#")[0] for one in ids(changed, "train")} < ids(
        plain, "train"
    )


def test_more_folds_than_rows_of_a_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"`cv\.folds` is 30, but the class `bad` has 18 training rows"
    ):
        folded(write_reviews(tmp_path / "a.csv", broken=0), None, 30)
