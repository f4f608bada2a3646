"""The `squad` metric gives the digits of the published rules."""

import random

import pytest

from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.metrics import squad, squad_characters
from squad_rules import evaluate_v1, evaluate_v2

WORDS = [
    "the",
    "a",
    "An",
    "mill",
    "Mill,",
    "river",
    "1803",
    "£5",
    "naïve",
    "NAÏVE",
    "İstanbul",
    "ß",
    "它",
    "—",
    "…",
    "'s",
    "U.S.",
    "e\u0301",
    "\u00a0",
    "",
]


def scores(golds: dict[str, list[str]], preds: dict[str, str]) -> dict[str, float]:
    """Compute the metric on answers and predictions given by question id."""
    return squad(
        predictions=[
            {"id": qid, "prediction_text": text, "no_answer_probability": 0.0}
            for qid, text in preds.items()
        ],
        references=[
            {"id": qid, "answers": {"text": texts, "answer_start": [0] * len(texts)}}
            for qid, texts in golds.items()
        ],
    )


def phrase(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 4)))


@pytest.mark.parametrize("seed", range(5))
def test_random_answers_score_as_in_the_published_v2_rules_to_the_last_digit(seed: int) -> None:
    draw = random.Random(seed)
    golds = {str(n): [phrase(draw) for _ in range(draw.choice([0, 1, 1, 3]))] for n in range(200)}
    preds = {
        qid: draw.choice(["", phrase(draw), texts[0] if texts else ""])
        for qid, texts in golds.items()
    }
    assert scores(golds, preds) == evaluate_v2(golds, preds)


def test_answerable_questions_score_as_in_the_published_v1_rules_to_the_last_digit() -> None:
    draw = random.Random(0)
    golds = {
        str(n): [f"mill {phrase(draw)}" for _ in range(draw.randint(1, 3))] for n in range(300)
    }
    preds = {
        qid: draw.choice(["", f"old {phrase(draw)}", texts[0]]) for qid, texts in golds.items()
    }
    ours, theirs = scores(golds, preds), evaluate_v1(golds, preds)
    assert ours["exact"] == theirs["exact_match"]
    # Python 3.12 sums floats with compensation, the script adds them up one by one.
    assert ours["f1"] == pytest.approx(theirs["f1"], rel=1e-14)


@pytest.mark.parametrize(
    ("golds", "answer", "exact", "f1"),
    [
        (["The old mill."], "old mill", 100.0, 100.0),
        (["old mill"], "old mill wheel", 0.0, 80.0),
        (["river", "mill pond"], "the Mill-pond", 0.0, 0.0),
        ([], "", 100.0, 100.0),
        ([], "the", 100.0, 100.0),
        ([], "mill", 0.0, 0.0),
        (["mill"], "", 0.0, 0.0),
        (["the"], "", 100.0, 100.0),
        (["the", "mill"], "", 0.0, 0.0),
    ],
)
def test_hand_made_cases(golds: list[str], answer: str, exact: float, f1: float) -> None:
    ours = scores({"q": golds}, {"q": answer})
    assert [ours["exact"], ours["f1"]] == pytest.approx([exact, f1])
    assert ours == evaluate_v2({"q": golds}, {"q": answer})


def test_parts_are_given_only_where_there_are_such_questions() -> None:
    assert not [key for key in scores({"q": ["mill"]}, {"q": "mill"}) if key.startswith("NoAns")]
    assert not [key for key in scores({"q": []}, {"q": ""}) if key.startswith("HasAns")]
    both = scores({"q": ["mill"], "r": []}, {"q": "mill", "r": "x"})
    assert (both["HasAns_exact"], both["NoAns_exact"], both["exact"], both["total"]) == (
        100.0,
        0.0,
        50.0,
        2,
    )


def test_characters_count_where_a_script_has_no_spaces_and_words_elsewhere() -> None:
    def score(gold: str, answer: str) -> dict[str, float]:
        given = {"id": "q", "prediction_text": answer, "no_answer_probability": 0.0}
        return squad_characters(
            predictions=[given],
            references=[{"id": "q", "answers": {"text": [gold], "answer_start": [0]}}],
        )

    assert score("北京大学", "北京")["characters_f1"] == pytest.approx(200 / 3)
    assert score("北京大学", "《北京大学》")["characters_exact"] == 100.0
    assert score("the old mill", "old mill wheel")["characters_f1"] == pytest.approx(80.0)
    assert score("กรุงเทพ", "ในกรุงเทพ")["characters_f1"] > 80
    assert "f1" not in score("a", "b")


def test_answers_without_spaces_are_remarked_on_unless_characters_count() -> None:
    rows = [{"answers": {"text": [text], "answer_start": [0]}} for text in ("北京", "Rome", "서울")]
    (line,) = ExtractiveQAHead().remarks(rows, ["qa:squad"], [])
    assert line.startswith("1 of 3 reference answers are in a script without spaces")
    assert ExtractiveQAHead().remarks(rows, ["squad", "squad_characters"], []) == []
