"""Labels that were changed on purpose are found among the rows of a cross-validation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ftr.errors import RequestError
from ftr.results.label_errors import self_confidence, suspicious_labels
from trainings import CLASSES, REVIEWS, review, train, write_csv

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

FLIPPED = (5, 17, 29, 41)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Any:
    """A cross-validation on 90 reviews, four of which have the label of another class."""
    folder, rng, names = tmp_path_factory.mktemp("folds"), random.Random(0), list(CLASSES)
    rows = []
    for number in range(90):
        text = review(names[number % 3], rng)
        rows.append((f"r{number}", text, names[(number + (number in FLIPPED)) % 3]))
    data = write_csv(folder / "rows.csv", ("id", "text", "label"), rows)
    settings = {key: value for key, value in REVIEWS.items() if key != "data.validation_size"}
    settings |= {"data.test_size": 0, "cv.folds": 3, "dataset": data, "model": tiny_bert}
    return train(settings, output=folder / "runs", metrics="accuracy", epochs=8)


def test_flipped_labels_are_the_most_suspicious(folds: RunResult) -> None:
    found = suspicious_labels(folds.path)
    flips = {f"r{number}" for number in FLIPPED}
    assert flips <= {one.id for one in found[: 2 * len(flips)]}
    assert [one.score for one in found] == sorted(one.score for one in found)
    for one in found:
        assert one.given != one.suggested and {one.given, one.suggested} <= set(CLASSES)
        assert one.probability >= one.score and one.row["text"]
    worst = next(one for one in found if one.id == "r5")
    names = list(CLASSES)
    assert (worst.given, worst.suggested) == (names[6 % 3], names[5 % 3])
    assert len(suspicious_labels(folds.path, limit=2)) == 2


def test_a_run_without_predictions_of_its_training_rows_is_refused(classifier: RunResult) -> None:
    with pytest.raises(RequestError, match=r"cv\.folds=5"):
        suspicious_labels(classifier.path)


def test_the_score_is_the_probability_of_the_given_class() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    assert self_confidence(probabilities, np.array([0, 0, 2])).tolist() == [0.7, 0.2, 0.8]
