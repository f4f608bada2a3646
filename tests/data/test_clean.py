"""What is cleaned from texts, by name, and where the characters of a cleaned text came from."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from ftr.config.resolve import check_texts
from ftr.config.schema import Cleaning, DataConfig
from ftr.data.clean import GIVEN, PASSES, Cleaner, as_given
from ftr.data.store import Row
from ftr.errors import ConfigError, DataError
from ftr.registry.schema import Column, RowSchema
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from readers import ALL, QA, TEXT, causes, prepare, texts

EVERY = get_args(Cleaning)

CASES = [
    ("html", "A<br /><br>B", "A  B"),
    ("html", "so <b>very</b> <a href='x' title=\"y\">good</a>", "so very good"),
    ("html", "<!-- a\nb -->x<script>if (a < b) {}</script>y<STYLE>p {}</STYLE>z", "x y z"),
    ("html", "Tom &amp; Jerry&#39;s &lt;b&gt; &eacute;&#x41;", "Tom & Jerry's <b> éA"),
    (
        "html",
        "AT&T a <3 b, x <y and z> w, <unk>, ?a=1&copy=2 &nosuch;",
        "AT&T a <3 b, x <y and z> w, <unk>, ?a=1&copy=2 &nosuch;",
    ),
    (
        "urls",
        "see https://t.co/AbC?d=1#e, or (http://x.org/a_(b)). www.site.com!",
        "see http, or (http). http!",
    ),
    ("urls", "http me, a.b.c, no www. here", "http me, a.b.c, no www. here"),
    ("users", "@anna_1 and @Bo: mail a@b.org", "@user and @user: mail a@b.org"),
    ("users", "@user @ user", "@user @ user"),
    (
        "unicode",
        "ﬁne ½ ｆｕｌｌ e\u0301 a\u00ad\u200bb \ufeffc\x00d\x85e",
        "fine 1⁄2 full é ab cd e",
    ),
    ("unicode", "نمی\u200cشود\t\n", "نمی\u200cشود\t\n"),
    ("unicode", "\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
    ("whitespace", "  a \t b\u00a0c\n\nd ", "a b c d"),
]


@pytest.mark.parametrize(("name", "given", "expected"), CASES)
def test_each_name_cleans_what_it_says_and_nothing_else(
    name: str, given: str, expected: str
) -> None:
    assert Cleaner([name]).text(given) == expected
    assert Cleaner().text(given) == given


def test_every_name_of_the_configuration_is_there() -> None:
    assert set(PASSES) == set(EVERY)


def test_the_order_of_the_names_makes_no_difference() -> None:
    text = " <a href='http://x.org'>http://x.org/\u200by</a>&nbsp;＠anna <br/> "
    assert Cleaner(EVERY).text(text) == Cleaner(tuple(reversed(EVERY))).text(text) == "http @user"


def odd_text(rng: random.Random) -> str:
    parts = [
        "<br />",
        "<b>",
        "</b>",
        "&amp;",
        "&#233;",
        "https://a.b/c",
        "@me",
        "ﬁ",
        "½",
        "e\u0301",
        "\u200b",
        "\u1112\u1161\u11ab",
        "日本",
        "x",
        "don't",
    ]
    return "".join(rng.choice([*parts, " ", "  ", "\n"]) for _ in range(rng.randint(0, 25)))


def test_a_traced_text_is_the_cleaned_one_and_leads_back_to_the_characters_it_was_made_of() -> None:
    rng, cleaner = random.Random(0), Cleaner(EVERY, "en")
    for _ in range(400):
        text = odd_text(rng)
        traced = cleaner.traced(text)
        assert traced.text == cleaner.text(text)
        assert len(traced.text) == len(traced.starts) == len(traced.ends)
        assert list(traced.starts) == sorted(traced.starts) and list(traced.ends) == sorted(
            traced.ends
        )
        for place, letter in enumerate(traced.text):
            start, end = traced.before(place, place + 1)
            assert 0 <= start < end <= len(text)
            if letter in "日本":  # nothing changes these
                assert text[start:end] == letter


def question(context: str, *answers: str) -> dict[str, Any]:
    found = {"text": list(answers), "answer_start": [context.index(answer) for answer in answers]}
    return {"id": "q", "question": "who <i>did</i> it?", "context": context, "answers": found}


def test_answers_follow_their_passage() -> None:
    row = question(
        "<p>In  1803</p> the <b>two\u00a0brothers</b> built&nbsp;it.", "1803", "two\u00a0brothers"
    )
    counts = Counter[str]()
    cleaned, cause = Cleaner(EVERY).row(row, QA, counts)
    assert (
        cleaned["context"] == "In 1803 the two brothers built it."
        and cleaned["question"] == "who did it?"
    )
    assert cleaned["answers"] == {"text": ["1803", "two brothers"], "answer_start": [3, 12]}
    assert cleaned[GIVEN] == {"context": row["context"]} and counts["html"] == 1
    assert cause is None and ExtractiveQAHead().check(cleaned) is None


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        (
            "it stands at http://mill.org/built today",
            "http://mill.org/built",
        ),  # changed to a placeholder
        ("it stands at http://mill.org/built today", "built"),  # a part of what was changed
        ("ask @miller  now", "@miller"),
        ("a <br /> b", "br"),
        ("a <b></b> c", "<b></b>"),  # nothing is left
    ],
)
def test_a_passage_is_left_alone_where_an_answer_would_be_damaged(
    context: str, answer: str
) -> None:
    counts = Counter[str]()
    cleaned, cause = Cleaner(EVERY).row(question(context, answer), QA, counts)
    assert cleaned == {**question(context, answer), "question": "who did it?"} and cause is None
    assert counts == {"left alone": 1, "html": 1}


def test_places_in_a_prediction_are_those_of_the_text_as_it_was_given() -> None:
    given = "<p>In  1803</p> the <b>two brothers</b> built&nbsp;it."
    cleaner = Cleaner(["html", "whitespace"])
    row, cause = cleaner.row({"id": "q", "question": "q", "context": given}, QA)
    assert cause is None and "answers" not in row
    start = str(row["context"]).index("two brothers built it")
    prediction = {"id": "q", "answer": "x", "start": start, "end": start + 21, "best_answer": "x"}
    silent = {"id": "q", "answer": "", "start": None, "end": None, "best_answer": "x"}
    found, nothing = as_given(ExtractiveQAHead(), [row, row], [prediction, silent], cleaner)
    assert (
        found["answer"] == given[found["start"] : found["end"]] == "two brothers</b> built&nbsp;it"
    )
    assert nothing == silent


def reviews(path: Path, count: int = 40) -> Path:
    rows = [{"text": f"<b>film</b> {n}  by @anna", "label": n % 2} for n in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_every_split_is_cleaned_counted_and_said(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.jsonl")
    plain = prepare(path, data=DataConfig())
    prepared = prepare(path, data=DataConfig(clean=("html", "whitespace")))
    for split in ("train", "validation", "test"):
        assert texts(prepared, split) == [
            text.replace("<b>", "").replace("</b>", "").replace("  ", " ")
            for text in texts(plain, split)
        ]
        rows = len(texts(plain, split))
        assert prepared.report["splits"][split]["cleaned"] == {"html": rows, "whitespace": rows}  # type: ignore[index]
    assert "cleaned, of 40 rows: html in 40, whitespace in 40" in prepared.notes
    assert "cleaned" not in plain.report["splits"]["train"]  # type: ignore[index]


def test_a_row_of_which_nothing_is_left_is_rejected_at_its_place(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + '\n{"text": "<br />", "label": 1}', encoding="utf-8")
    prepared = prepare(path, data=ALL.model_copy(update={"clean": ("html",)}))
    assert causes(prepared) == {"a.jsonl:41": "text: nothing is left of it by `data.clean`"}
    assert len(prepared.splits["train"]) == 40
    with pytest.raises(DataError, match=r"data\.max_invalid=0"):
        prepare(path, data=ALL.model_copy(update={"clean": ("html",), "max_invalid": 0.0}))


def test_heads_without_texts_are_refused_by_name() -> None:
    words = RowSchema(
        columns=(Column(name="tokens", type="tokens"), Column(name="tags", type="labels"))
    )
    for data, key in (
        (DataConfig(clean=("html",)), "data.clean"),
        (DataConfig.model_validate({"augment": {"swap": 0.1}}), "data.augment"),
    ):
        with pytest.raises(ConfigError, match=rf"`{key}` .*head `ner`"):
            check_texts(data, words, "ner")
    check_texts(DataConfig(), words, "ner")
    check_texts(DataConfig(clean=("html",)), TEXT, "text")


def test_a_pair_is_cleaned_on_both_sides() -> None:
    row: Row = {"id": "1", "text": "a <br>", "text_pair": "<i>b</i>", "label": 0}
    cleaned = {"id": "1", "text": "a", "text_pair": "b", "label": 0}
    assert Cleaner(["html", "whitespace"]).row(row, TEXT) == (cleaned, None)
