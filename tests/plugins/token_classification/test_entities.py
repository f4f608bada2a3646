"""Entities and their scores, by hand and against seqeval."""

import random

import pytest

from ftr.plugin import DataError
from ftr_plugins.token_classification.entities import Entity, check_tags, entities, is_tag
from ftr_plugins.token_classification.metrics import entity_f1


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
def test_entities_begin_and_end_as_in_seqeval(
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
    # True: PER 0-2, LOC 3-4 | ORG 0-1. Found: PER 0-2, LOC 2-4 (begins too early) | nothing. One of
    # two found, one of three true.
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    predictions = [["B-PER", "I-PER", "B-LOC", "I-LOC"], ["O", "O"]]
    assert entity_f1(predictions, references) == {
        "entity_f1": 2 / 5,
        "entity_precision": 1 / 2,
        "entity_recall": 1 / 3,
        "tag_accuracy": 3 / 6,
        "entity_f1_per_type": {"LOC": 0.0, "ORG": 0.0, "PER": 1.0},
        "entity_precision_per_type": {"LOC": 0.0, "ORG": 0.0, "PER": 1.0},
        "entity_recall_per_type": {"LOC": 0.0, "ORG": 0.0, "PER": 1.0},
    }


def test_words_without_a_counterpart_are_wrong() -> None:
    scores = entity_f1([["O"], ["B-PER"]], [["O"], ["B-PER", "O", "B-LOC"]])
    assert (scores["tag_accuracy"], scores["entity_recall"], scores["entity_precision"]) == (
        2 / 4,
        1 / 2,
        1.0,
    )


def test_what_is_no_tag_is_refused_by_row() -> None:
    with pytest.raises(ValueError, match="row 0: `PER` is no tag"):
        entity_f1([["PER"]], [["O"]])


def test_no_entity_anywhere_scores_nothing() -> None:
    scores = entity_f1([["O", "O"]], [["O", "O"]])
    assert (scores["entity_f1"], scores["tag_accuracy"]) == (0.0, 1.0)


TAGS = {
    "BIO": ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "IOB1": ["O", "I-PER", "I-PER", "B-PER", "I-LOC", "I-A-B"],
    "BIOES": ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheme", TAGS)
@pytest.mark.parametrize("seed", range(10))
def test_scores_are_those_of_seqeval(scheme: str, seed: int) -> None:
    from seqeval.metrics import accuracy_score, classification_report
    from seqeval.metrics.sequence_labeling import get_entities

    rng = random.Random(f"{scheme} {seed}")
    tags = TAGS[scheme]
    references = [rng.choices(tags, k=rng.randint(1, 12)) for _ in range(rng.choice([1, 5, 200]))]
    predictions = [
        [tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in references
    ]
    for row in (*references, *predictions):
        assert entities(row) == [
            Entity(kind, start, last + 1) for kind, start, last in get_entities(row)
        ], row
    ours = entity_f1(predictions, references)
    theirs = classification_report(references, predictions, output_dict=True, zero_division=0)
    parts = {"entity_precision": "precision", "entity_recall": "recall", "entity_f1": "f1-score"}
    for name, part in parts.items():
        assert ours[name] == pytest.approx(theirs["micro avg"][part], abs=1e-9)
        each = ours[f"{name}_per_type"]
        assert isinstance(each, dict)
        for kind, value in each.items():
            assert value == pytest.approx(theirs[kind][part] if kind in theirs else 0.0, abs=1e-9)
    assert ours["tag_accuracy"] == pytest.approx(accuracy_score(references, predictions), abs=1e-9)
