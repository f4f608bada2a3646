"""The majority class, and TF-IDF with logistic regression."""

import random
from typing import Any

import numpy as np
import pytest

from ftr.registry.protocols import provides
from ftr_plugins.classification import baselines as module
from ftr_plugins.classification.head import SequenceClassificationHead
from trainings import CLASSES, review

LABELS = tuple(CLASSES)


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return reviews whose words tell the class, half of them of the first one."""
    rng = random.Random(seed)
    numbers = [rng.choice([0, 0, 1, 2]) for _ in range(count)]
    return [
        {"id": str(n), "text": review(LABELS[number], rng), "label": number}
        for n, number in enumerate(numbers)
    ]


def accuracy(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    right = [
        bool(one["label_id"] == row["label"]) for one, row in zip(found, expected, strict=True)
    ]
    return sum(right) / len(right)


def test_they_predict_what_the_head_predicts_for_every_held_out_row() -> None:
    head = SequenceClassificationHead()
    assert provides(head, "baselines")
    train, heldout = rows(200), {"validation": rows(40, 1), "test": rows(60, 2)}
    found = head.baselines(train, heldout, LABELS)
    assert list(found) == ["majority", "tf-idf"]
    for by_split in found.values():
        for split, expected in heldout.items():
            assert [one["id"] for one in by_split[split]] == [row["id"] for row in expected]
            for one in by_split[split]:
                assert sum(one["probabilities"].values()) == pytest.approx(1) and list(
                    one["probabilities"]
                ) == list(LABELS)
                assert (
                    one["score"] == one["probabilities"][one["label"]]
                    and one["label"] == LABELS[one["label_id"]]
                )
            head.score_inputs(expected, by_split[split], LABELS)
    assert {one["label"] for one in found["majority"]["test"]} == {LABELS[0]}
    assert (
        accuracy(found["majority"]["test"], heldout["test"])
        == sum(row["label"] == 0 for row in heldout["test"]) / 60
    )
    assert accuracy(found["tf-idf"]["test"], heldout["test"]) > 0.9
    assert found == head.baselines(train, heldout, LABELS)


def test_labels_of_held_out_rows_make_no_difference() -> None:
    train, held = rows(100), rows(20, 1)
    blind = [{**row, "label": 0} for row in held]
    head = SequenceClassificationHead()
    assert head.baselines(train, {"test": held}, LABELS) == head.baselines(
        train, {"test": blind}, LABELS
    )


def test_a_class_that_no_training_row_has_gets_nothing() -> None:
    train = [row for row in rows(100) if row["label"] != 1]
    found = SequenceClassificationHead().baselines(train, {"test": rows(20, 1)}, LABELS)
    for by_split in found.values():
        assert {one["probabilities"][LABELS[1]] for one in by_split["test"]} == {0.0}


def test_both_texts_of_a_pair_are_read() -> None:
    rng = random.Random(0)
    train = [
        {
            "id": str(n),
            "text": "the film",
            "text_pair": review(LABELS[n % 3], rng) if n % 4 else None,
            "label": n % 3,
        }
        for n in range(200)
    ]
    held = [row for row in train[:60] if row["text_pair"]]
    found = SequenceClassificationHead().baselines(train, {"test": held}, LABELS)["tf-idf"]["test"]
    assert accuracy(found, held) > 0.9


def test_texts_without_spaces_have_words_too() -> None:
    train = [
        {"id": str(n), "text": "这部电影很好看" if n % 2 else "这部电影很难看", "label": n % 2}
        for n in range(40)
    ]
    found = SequenceClassificationHead().baselines(train, {"test": train[:4]}, ("bad", "good"))[
        "tf-idf"
    ]["test"]
    assert accuracy(found, train[:4]) == 1.0


def test_many_training_rows_are_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, held = rows(4000), rows(50, 1)
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    sampled = module.tfidf(train, {"test": held}, LABELS)["test"]
    whole = module.tfidf(random.Random(0).sample(train, 100), {"test": held}, LABELS)["test"]
    assert np.allclose(sampled, whole)


@pytest.mark.parametrize("text", ["😀", "?!", " "])
def test_texts_without_words_have_the_majority_and_the_other_is_explained(text: str) -> None:
    train = [{"id": str(n), "text": text * (n + 1), "label": int(n > 5)} for n in range(8)]
    with pytest.warns(UserWarning, match="no baseline `tf-idf`: the training texts have no words"):
        found = SequenceClassificationHead().baselines(train, {"test": train[:3]}, ("a", "b"))
    assert (
        list(found) == ["majority"]
        and [one["label"] for one in found["majority"]["test"]] == ["a"] * 3
    )
