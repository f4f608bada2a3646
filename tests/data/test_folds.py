"""Folds: every row in one of them, classes in their shares, groups whole, the same ones each
time.
"""

from collections import Counter
from pathlib import Path

import pytest

from ftr.data.splits import fold, folds
from ftr.errors import DataError
from trainings import QUESTIONS, REVIEWS, lines, train, write_reviews

CLASSES = ["a"] * 50 + ["b"] * 21 + ["c"] * 7


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_every_row_is_in_exactly_one_fold_and_classes_keep_their_shares(count: int) -> None:
    parts = folds(CLASSES, None, count, seed=4)
    assert (
        sorted(index for part in parts for index in part) == list(range(len(CLASSES)))
        and len(parts) == count
    )
    for name in "abc":
        inside = [sum(CLASSES[index] == name for index in part) for part in parts]
        assert max(inside) - min(inside) <= 1
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_groups_are_never_divided_and_folds_are_as_even_as_they_allow() -> None:
    groups = [f"g{number % 13}" for number in range(100)] + ["large"] * 30
    parts = folds([""] * len(groups), groups, 4, seed=0)
    assert sorted(index for part in parts for index in part) == list(range(len(groups)))
    owners = [{groups[index] for index in part} for part in parts]
    assert sum(map(len, owners)) == len(set(groups))
    assert max(map(len, parts)) - min(map(len, parts)) <= 8


def test_folds_follow_from_the_seed_alone() -> None:
    assert (
        folds(CLASSES, None, 3, seed=1)
        == folds(CLASSES, None, 3, seed=1)
        != folds(CLASSES, None, 3, seed=2)
    )


def test_one_fold_is_the_validation_rows_and_the_others_are_trained_on() -> None:
    parts = folds(CLASSES, None, 3, seed=1)
    train_rows, held_out = fold(CLASSES, None, 3, 2, seed=1)
    assert held_out == parts[2] and sorted(train_rows) == sorted(parts[0] + parts[1])


def test_too_few_rows_of_a_class_or_groups_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"`cv.folds` is 8, but the class `c` has 7 training rows"):
        folds(CLASSES, None, 8, seed=0)
    with pytest.raises(DataError, match=r"`cv.folds` is 5, but there are 4 training rows"):
        folds([""] * 4, None, 5, seed=0)
    with pytest.raises(DataError, match=r"`cv.folds` is 3, but the training rows are of 2 groups"):
        folds([""] * 9, ["x", "y", "y"] * 3, 3, seed=0)


def test_folds_above_the_rarest_class_end_before_anything_is_written(
    tiny_bert: Path, tmp_path: Path
) -> None:
    rows = write_reviews(tmp_path / "few.csv", count=12, broken=0)
    with pytest.raises(DataError, match=r"`cv.folds` is 5"):
        train(REVIEWS, dataset=rows, model=tiny_bert, output=tmp_path / "runs", **{"cv.folds": 5})
    assert not (tmp_path / "runs").exists()


def test_the_folds_of_questions_keep_passages_together_and_cover_all(
    tiny_bert: Path, questions: Path, tmp_path: Path
) -> None:
    settings = {**QUESTIONS, "epochs": 0.2, "cv.folds": 3}
    run = train(settings, dataset=questions, model=tiny_bert, output=tmp_path, baselines=False)
    tested = {line["id"] for line in lines(run.path / "members/0/predictions/test.jsonl")}
    answered = Counter(line["id"] for line in lines(run.path / "predictions/validation.jsonl"))
    assert set(answered.values()) == {1} and not tested & answered.keys()
    of_passage: dict[str, set[int]] = {}
    for number in range(3):
        for line in lines(run.path / f"members/{number}/predictions/validation.jsonl"):
            of_passage.setdefault(line["id"].partition("-")[0], set()).add(number)
    assert all(len(numbers) == 1 for numbers in of_passage.values())
    assert len(tested) + len(answered) == run.record["data"]["splits"]["train"]["read"] - 1
