"""What `Predictor.predict` takes: lists, frames and datasets; and the records that it gives."""

from __future__ import annotations

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import DataError, RequestError
from trainings import CLASSES, NO_ROOM, with_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ftr.runs.predictor import Predictor
    from ftr.runs.run import RunResult

TEXTS = ["a great and funny film", "boring , poor", "long and sweet", "the"]
FORMS: dict[str, Callable[[], Any]] = {
    "mappings": lambda: [{"text": text} for text in TEXTS],
    "generator": lambda: (text for text in TEXTS),
    "array": lambda: np.array(TEXTS),
    "frame": lambda: pd.DataFrame({"text": TEXTS, "stars": 3}, index=[7, 7, 1, 1]),
    "frame of strings": lambda: pd.DataFrame({"text": TEXTS}, dtype="string"),
    "series": lambda: pd.Series(TEXTS),
    "Dataset": lambda: datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 1]}),
    "IterableDataset": lambda: datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(),
    "pyarrow": lambda: pa.table({"text": TEXTS}),
}


@pytest.fixture(scope="module")
def predictor(classifier: RunResult) -> Predictor:
    return ftr.load(classifier.path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_gets_the_answers_of_a_list(predictor: Predictor, form: str) -> None:
    assert predictor.predict(FORMS[form]()) == predictor.predict(TEXTS)


def test_a_large_frame_is_answered_in_its_order_with_its_ids(predictor: Predictor) -> None:
    frame = pd.DataFrame({"id": range(10, 2510), "text": [TEXTS[n % 3] for n in range(2500)]})
    found = predictor.predict(frame)
    assert [one.id for one in found] == [str(number) for number in frame["id"]]
    assert [one.label for one in found[:3]] == [one.label for one in predictor.predict(TEXTS[:3])]
    assert {one.label for one in found[1::3]} == {found[1].label}


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ("one text", r"takes a list of rows, and got a single text: put it into a list"),
        (b"one text", r"got a single text"),
        ({"text": "one"}, r"got a single mapping: put it into a list"),
        ({"text": TEXTS}, r"got a single mapping"),
        (3, r"takes a list of rows, and got a `int`"),
        (
            datasets.DatasetDict(
                a=datasets.Dataset.from_dict({"text": TEXTS}),
                b=datasets.Dataset.from_dict({"text": TEXTS}),
            ),
            r"got the splits `a`, `b`: give the rows of one",
        ),
    ],
)
def test_what_are_no_rows_is_refused(predictor: Predictor, given: Any, cause: str) -> None:
    with pytest.raises(RequestError, match=cause):
        predictor.predict(given)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ([3], r"^row 0: `int` is neither a text nor a mapping of columns. Columns needed: text.$"),
        ([TEXTS], r"^row 0: `list` is neither a text nor a mapping"),
        (["good", None], r"^row 1: empty text. Columns needed: text.$"),
        ([{"text": pd.NA}], r"^row 0: empty text"),
        ([{"text": float("nan")}], r"^row 0: empty text"),
        (pd.Series(["good", None]), r"^row 1: empty text"),
        (pd.DataFrame({"text": ["good", None]}, dtype="string"), r"^row 1: empty text"),
        (pd.DataFrame({"review": TEXTS}), r"^row 0: empty text.* needed: text; given: review.$"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), r"two columns `text`"),
        ([{"text": np.array(["a", "b"])}], r"^row 0: text is not a text"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(predictor: Predictor, given: Any, cause: str) -> None:
    with pytest.raises(DataError, match=cause):
        predictor.predict(given)


def test_errors_may_be_records_in_the_place_of_their_rows(predictor: Predictor) -> None:
    rows = [None, TEXTS[0], {"id": "mine", "text": " "}, TEXTS[1], 7]
    found = predictor.predict(rows, errors="record")
    assert [one.id for one in found] == ["0", "1", "mine", "3", "4"]
    assert [one.error for one in found] == [
        "empty text",
        None,
        "empty text",
        None,
        "`int` is neither a text nor a mapping of columns",
    ]
    plain = predictor.predict(TEXTS[:2])
    assert [found[1].score, found[3].score] == pytest.approx([one.score for one in plain], abs=1e-6)
    with pytest.raises(RequestError, match=r"`errors` is 'ignore': it is `raise` or `record`"):
        predictor.predict(TEXTS, errors="ignore")  # type: ignore[arg-type]


def test_a_record_is_a_dict_with_attributes(predictor: Predictor) -> None:
    (record,) = predictor.predict(TEXTS[:1])
    assert (record.label, record.abstained, record.error) == (record["label"], False, None)
    assert json.loads(json.dumps(record)) == record == dict(record)
    for again in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert again == record and again.label_id == record["label_id"]
    assert list(pd.DataFrame([record]).columns) == list(record)
    with pytest.raises(AttributeError, match=r"has no `answer`: it has `id`, `label`, `label_id`"):
        _ = record.answer
    with pytest.raises(AttributeError):
        record.label = "other"
    assert record.label == record["label"]


def test_only_the_most_probable_classes_are_kept(predictor: Predictor, reader: RunResult) -> None:
    whole = predictor.predict(TEXTS)
    for top_k in (1, 2, 9):
        for one, full in zip(predictor.predict(TEXTS, top_k=top_k), whole, strict=True):
            ranked = sorted(full.probabilities.items(), key=lambda item: -item[1])[:top_k]
            assert list(one.probabilities.items()) == ranked
            assert {**one, "probabilities": None} == {**full, "probabilities": None}
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(RequestError, match=r"`top_k` \(`--top-k`\) is .*: give a whole number"):
            predictor.predict(TEXTS, top_k=wrong)  # type: ignore[arg-type]
    asked = [{"question": "who ?", "context": "a long passage of words"}]
    with pytest.raises(RequestError, match=r"head `extractive-qa` gives no probabilities"):
        ftr.load(reader.path).predict(asked, top_k=2)


def test_abstained_records_show_their_best_guess(predictor: Predictor) -> None:
    for one in predictor.predict(TEXTS, abstain_below=1, top_k=1):
        assert one.abstained and one.label is None and one.best_guess["label"] in CLASSES
        assert len(one.best_guess["probabilities"]) == 1


def test_threads_with_other_rows_and_options_get_what_each_alone_gets(
    predictor: Predictor,
) -> None:
    asked = [(TEXTS[number % 4 :] * 3, number % 3 + 1, number % 2) for number in range(8)]

    def answers(one: tuple[list[str], int, int]) -> list[dict[str, Any]]:
        texts, top_k, below = one
        return list(predictor.predict(texts, top_k=top_k, abstain_below=below))

    expected = list(map(answers, asked))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            assert list(pool.map(answers, asked)) == expected


def test_rows_that_the_head_cannot_encode_are_errors_beside_the_answers_of_the_others(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = with_windows(classifier.model, tmp_path / "model")
    predictor = ftr.load(model)
    rows = [{"text": text} for text in TEXTS] + [NO_ROOM, {"text": "a good film " * 5}, NO_ROOM]
    with pytest.raises(DataError, match="row `7`: its `text_pair` leaves 0 of"):
        predictor.predict(rows)
    found = predictor.predict(rows, errors="record", top_k=1, abstain_below=0.0)
    assert [one.error is None for one in found] == [True] * 4 + [False, True, False]
    assert found[4].id == "7" and "shorten the `text_pair`" in str(found[4].error)
    for one, alone in zip(found[:4], predictor.predict(TEXTS), strict=True):
        assert one.score == pytest.approx(alone.score, abs=1e-5) and len(one.probabilities) == 1
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [NO_ROOM, *rows]), encoding="utf-8")
    assert main(["predict", str(model), str(data), "--json"]) == 0
    out, err = capsys.readouterr()
    written = json.loads(out)
    assert [one.get("label") for one in written[1:]] == [one.get("label") for one in found]
    assert written[0]["place"] == "rows.jsonl:1" and "leaves 0 of" in written[0]["error"]
    assert "3 of 8 rows are unusable" in err
    data.write_text(f"{json.dumps(NO_ROOM)}\n", encoding="utf-8")
    assert main(["predict", str(model), str(data), "--json"]) == 2
