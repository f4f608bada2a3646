"""Changed copies of training rows."""

import random
from pathlib import Path
from typing import Any

import pytest

from ftr.config.schema import AugmentConfig, DataConfig
from ftr.data.augment import Augmenter, Words
from ftr.data.clean import WORD
from ftr.data.rows import Rows
from ftr.data.store import Row
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from readers import ALL, QA, TEXT, prepare, texts
from trainings import write_reviews, write_squad

OPERATIONS = ("delete", "swap", "replace", "insert")
VOCABULARY = Words(["alpha beta gamma"])


def augmenter(schema: Any = TEXT, **rates: Any) -> Augmenter:
    return Augmenter(AugmentConfig.model_validate(rates), schema, 0)


def changed(text: str, *, seed: float = 0, **rates: Any) -> list[str]:
    new, _ = augmenter(**rates).changed(text, [], VOCABULARY, random.Random(seed))
    return WORD.findall(new)


SENTENCE = "one two three four five six seven eight nine ten"


def test_each_change_does_what_its_name_says() -> None:
    words = SENTENCE.split()
    left = changed(SENTENCE, delete=0.3)
    assert len(left) == 7 and [word for word in words if word in left] == left
    moved = changed(SENTENCE, swap=0.2)
    assert moved != words and sorted(moved) == sorted(words)
    replaced = changed(SENTENCE, replace=0.4)
    assert len(replaced) == 10 and sum(a != b for a, b in zip(words, replaced, strict=True)) == 4
    grown = changed(SENTENCE, insert=0.2)
    assert (
        len(grown) == 12
        and [word for word in grown if word in words] == words
        and set(grown) - set(words) <= {"alpha", "beta", "gamma"}
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_rates_are_shares_of_the_words_on_average_also_of_short_texts(operation: str) -> None:
    amounts = []
    for seed in range(400):
        new = changed("one two three four", seed=seed, **{operation: 0.375})
        amounts.append(
            sum(a != b for a, b in zip(new, SENTENCE.split(), strict=False))
            if operation == "replace"
            else abs(len(new) - 4)
        )
    if operation != "swap":
        assert sum(amounts) / len(amounts) == pytest.approx(1.5, abs=0.1)


def test_a_copy_differs_and_keeps_a_word_at_least() -> None:
    for operation in OPERATIONS[0], OPERATIONS[2], OPERATIONS[3]:
        assert changed("one two", **{operation: 0.01}) != ["one", "two"]
    assert len(changed(SENTENCE, delete=1.0)) == 1


def test_copies_stand_behind_their_row_with_ids_of_their_own_and_its_label() -> None:
    rows = Rows(
        [{"id": "a", "text": SENTENCE, "label": 1}, {"id": "a+1", "text": "!!", "label": 0}],
        ["f:1", "f:2"],
    )
    found, counts = augmenter(swap=0.5, copies=2).extended(rows)
    assert [row["id"] for row in found.rows] == ["a", "a+1+", "a+2", "a+1"] and len(
        {str(row["text"]) for row in found.rows}
    ) == 4
    assert [row["label"] for row in found.rows] == [1, 1, 1, 0] and found.places == [
        "f:1",
        "f:1",
        "f:1",
        "f:2",
    ]
    assert counts == {"copies": 2, "left_alone": 1}


def test_marks_and_texts_without_spaces_are_kept_in_form() -> None:
    new, _ = augmenter(swap=0.5).changed(
        "Well, a \u201cgood\u201d film!  Yes.", [], VOCABULARY, random.Random(1)
    )
    assert "".join(WORD.split(new)).replace(" ", "") == ",\u201c\u201d!."
    chinese, _ = augmenter(insert=0.5).changed(
        "这部电影很好", [], Words(["好看"]), random.Random(1)
    )
    assert len(chinese) == 9 and " " not in chinese


def test_only_training_rows_are_changed_and_the_same_way_again(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "a.csv", broken=0)
    data = DataConfig.model_validate({"augment": {"swap": 0.2, "copies": 2}})
    plain, prepared = prepare(path, data=DataConfig()), prepare(path, data=data)
    copies = [row for row in prepared.splits["train"] if "+" in row["id"]]
    assert [row for row in prepared.splits["train"] if row not in copies] == plain.splits[
        "train"
    ] and len(copies) > len(texts(plain))
    for split in ("validation", "test"):
        assert prepared.splits[split] == plain.splits[split]
    assert prepared.splits == prepare(path, data=data).splits
    other = prepare(path, data=data.model_copy(update={"seed": 1}))
    assert other.splits["train"] != prepared.splits["train"]
    assert prepared.report["splits"]["train"]["augmented"]["copies"] == len(copies)  # type: ignore[index]
    assert f"train: {len(copies)} changed copies added" in prepared.notes


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_answers_survive_word_for_word_at_their_place(rate: float, tmp_path: Path) -> None:
    data = ALL.model_copy(
        update={
            "augment": AugmentConfig.model_validate(
                {**dict.fromkeys(OPERATIONS, rate), "copies": 3}
            )
        }
    )
    prepared = prepare(write_squad(tmp_path / "a.json", broken=0), QA, data)
    rows = prepared.splits["train"]
    originals = {row["id"]: row for row in rows if "+" not in row["id"]}
    copies = [row for row in rows if "+" in row["id"]]
    assert len(copies) == 3 * len(originals) == 180
    for copy in copies:
        row = originals[copy["id"].partition("+")[0]]
        assert ExtractiveQAHead().check(copy) is None
        assert (
            copy["answers"]["text"] == row["answers"]["text"]
            and copy["question"] == row["question"]
        )
        assert copy["context"] != row["context"]


def test_answers_that_touch_overlap_or_are_parts_of_words_survive() -> None:
    context = "In pre-1803 days two brothers, bakers, built it."
    spans = [
        (context.index(word), context.index(word) + len(word))
        for word in ("1803", "two brothers", "brothers", "brothers, bakers", ".")
    ]
    for seed in range(50):
        new, starts = augmenter(QA, **dict.fromkeys(OPERATIONS, 0.5)).changed(
            context, spans, VOCABULARY, random.Random(seed)
        )
        assert [
            new[start : start + b - a] for start, (a, b) in zip(starts, spans, strict=True)
        ] == [context[a:b] for a, b in spans]


def test_a_passage_that_is_all_answer_is_left_alone_and_counted() -> None:
    row: Row = {
        "id": "q",
        "question": "what is it?",
        "context": "a mill",
        "answers": {"text": ["a mill"], "answer_start": [0]},
    }
    found, counts = augmenter(QA, delete=0.5).extended(Rows([row], ["f"]))
    assert found.rows == [row] and counts == {"copies": 0, "left_alone": 1}
