"""The span that stands nearest to the words of the question."""

import random
from pathlib import Path
from typing import Any

from ftr.registry.protocols import provides
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.text import best_scores
from readers import QA, prepare
from trainings import write_squad

PASSAGE = (
    "The old mill was built by two brothers in 1803. A flood broke the wheel in 1911, and the "
    "bakers left. Nobody came back."
)
OTHERS = [
    "The river was calm. The village slept and the bread was gone.",
    "In spring the water came. It was cold.",
    "The bakers sold the bread.",
]


def row(question: str, answer: str | None, context: str = PASSAGE) -> dict[str, Any]:
    found = (
        {"text": [], "answer_start": []}
        if answer is None
        else {"text": [answer], "answer_start": [context.index(answer)]}
    )
    return {"id": question, "question": question, "context": context, "answers": found}


TRAIN = [
    row("Who slept?", "village", OTHERS[0]),
    row("What came?", "water", OTHERS[1]),
    row("Who sold bread?", "bakers", OTHERS[2]),
]


def answers(train: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return ExtractiveQAHead().baselines(train, {"test": asked}, ())["overlap"]["test"]


def test_the_sentence_of_the_question_is_found_and_a_short_span_in_it() -> None:
    head = ExtractiveQAHead()
    assert provides(head, "baselines") and provides(head, "as_given")
    asked = [
        row("When did a flood break the wheel?", "1911"),
        row("Who built the old mill?", "two brothers"),
    ]
    for one, sentence in zip(answers(TRAIN, asked), ("A flood broke", "The old mill"), strict=True):
        start = PASSAGE.index(sentence)
        assert start <= one["start"] < one["end"] <= PASSAGE.index(".", start)
        assert (
            one["answer"] == one["best_answer"] == PASSAGE[one["start"] : one["end"]]
            and 0 < one["score"] <= 1
        )
    # Training answers have one word each.
    assert all(len(one["answer"].split()) == 1 for one in answers(TRAIN, asked))


def test_it_always_answers_where_training_rows_do_and_keeps_silent_where_they_taught_it() -> None:
    strange = row("Which emperor conquered Persia?", None)
    assert answers(TRAIN, [strange])[0]["answer"] != ""
    taught = [
        *TRAIN,
        *(row(f"Which emperor conquered {name}?", None) for name in ("Egypt", "Gaul", "Spain")),
    ]
    silent, told = answers(taught, [strange, row("Who built the old mill?", "two brothers")])
    assert (silent["answer"], silent["start"], silent["end"]) == ("", None, None) and silent[
        "best_answer"
    ]
    assert told["answer"] and told["no_answer_score"] < silent["no_answer_score"]


def test_answers_of_held_out_rows_make_no_difference() -> None:
    asked = row("Who built the old mill?", "two brothers")
    assert answers(TRAIN, [asked]) == answers(
        TRAIN, [{**asked, "answers": {"text": [], "answer_start": []}}]
    )


def test_any_passage_gets_an_answer_the_metric_takes() -> None:
    odd = [
        row("?", None, context) for context in ("...", "the", "。。", "a b", "磨坊很老。洪水来了。")
    ]
    for one, asked in zip(answers(TRAIN, odd), odd, strict=True):
        assert asked["context"][one["start"] : one["end"]] == one["answer"] != ""
    assert answers([row("?", None, "x")], odd)


def test_it_beats_a_guess_on_questions_that_name_their_sentence(tmp_path: Path) -> None:
    rows = [
        dict(one)
        for one in prepare(write_squad(tmp_path / "a.json", 60, broken=0), QA).splits["train"]
        if one["answers"]["text"]
    ]
    train, held = rows[:80], rows[80:]
    rng = random.Random(0)

    def f1(texts: list[str]) -> float:
        return sum(
            best_scores(one["answers"]["text"], text)[1]
            for one, text in zip(held, texts, strict=True)
        )

    assert f1([one["answer"] for one in answers(train, held)]) > f1(
        [rng.choice(one["context"].split()) for one in held]
    )
