"""Entities and their scores, by hand and against seqeval."""

import random

import pytest

from ftr.errors import DataError
from ftr_ner.bio import Entity, check_tags, entities, is_tag


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O O", []),
        ("B-PER", [("PER", 0, 1)]),
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("O I-LOC I-LOC", [("LOC", 1, 3)]),
        ("I-LOC O I-LOC", [("LOC", 0, 1), ("LOC", 2, 3)]),
        ("B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
        ("S-PER B-LOC I-LOC E-LOC E-LOC", [("PER", 0, 1), ("LOC", 1, 4), ("LOC", 4, 5)]),
    ],
)
def test_entities_begin_and_end_as_conlleval_has_it(
    tags: str, expected: list[tuple[str, int, int]]
) -> None:
    assert entities(tags.split()) == [Entity(*one) for one in expected]


@pytest.mark.parametrize(
    ("tag", "legal"),
    [
        ("O", True),
        ("B-PER", True),
        ("I-x-y", True),
        ("B-", False),
        ("PER", False),
        ("3", False),
        ("", False),
    ],
)
def test_a_tag_is_outside_or_has_a_mark_and_a_type(tag: str, legal: bool) -> None:
    assert is_tag(tag) == legal


def test_classes_that_are_no_tags_are_refused_by_name() -> None:
    check_tags(("B-PER", "O"))
    with pytest.raises(DataError, match="`tags` holds `7`, which is no BIO tag"):
        check_tags(("B-PER", "7", "O"))


def test_scores_counted_by_hand() -> None:
    from ftr_ner.metric import EntityF1

    # True: PER 0-2, LOC 3-4 | ORG 0-1. Found: PER 0-2, LOC 2-4 (begins too early) | nothing. One of
    # two found, one of three true.
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    predictions = [["B-PER", "I-PER", "B-LOC", "I-LOC"], ["O", "O"]]
    scores = EntityF1().compute(predictions=predictions, references=references)
    assert scores == pytest.approx(
        {
            "entity_f1": 2 / 5,
            "entity_precision": 1 / 2,
            "entity_recall": 1 / 3,
            "tag_accuracy": 3 / 6,
            "f1_LOC": 0.0,
            "f1_ORG": 0.0,
            "f1_PER": 1.0,
        }
    )


def test_words_without_a_counterpart_are_wrong() -> None:
    from ftr_ner.metric import EntityF1

    scores = EntityF1().compute(predictions=[["B-PER"]], references=[["B-PER", "O", "B-LOC"]])
    assert (
        scores["tag_accuracy"],
        scores["entity_recall"],
        scores["entity_precision"],
    ) == pytest.approx((1 / 3, 1 / 2, 1.0))


def test_no_entity_anywhere_scores_nothing() -> None:
    from ftr_ner.metric import EntityF1

    scores = EntityF1().compute(predictions=[["O", "O"]], references=[["O", "O"]])
    assert scores == {
        "entity_f1": 0.0,
        "entity_precision": 0.0,
        "entity_recall": 0.0,
        "tag_accuracy": 1.0,
    }


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_seqeval() -> None:
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    from ftr_ner.metric import EntityF1

    rng = random.Random(0)
    tags = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-LOC", "S-PER"]
    references = [rng.choices(tags, k=rng.randint(1, 12)) for _ in range(200)]
    predictions = [
        [tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in references
    ]
    scores = EntityF1().compute(predictions=predictions, references=references)
    assert scores["entity_f1"] == pytest.approx(seqeval.f1_score(references, predictions))
    assert scores["entity_precision"] == pytest.approx(
        seqeval.precision_score(references, predictions)
    )
    assert scores["entity_recall"] == pytest.approx(seqeval.recall_score(references, predictions))
