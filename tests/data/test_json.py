"""JSON, JSONL, Parquet and SQuAD's nested form."""

import gzip
import json
from pathlib import Path

import pytest

from ftr.errors import DataError
from readers import QA, causes, load, prepare, texts


def dump(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def squad(*qas: dict[str, object], context: object = "Ada met Bo.") -> dict[str, object]:
    return {
        "version": "v2.0",
        "data": [{"title": "T", "paragraphs": [{"context": context, "qas": list(qas)}]}],
    }


def question(number: int, **more: object) -> dict[str, object]:
    return {
        "id": f"q{number}",
        "question": "Who?",
        "answers": [{"text": "Bo", "answer_start": 8}],
        **more,
    }


def test_squad_v1_and_v2_give_one_row_a_question(tmp_path: Path) -> None:
    document = squad(
        question(1),
        question(
            2,
            answers=[],
            is_impossible=True,
            plausible_answers=[{"text": "Ada", "answer_start": 0}],
        ),
    )
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    rows = prepare(path, QA).splits["train"]
    assert [row["answers"] for row in rows] == [
        {"text": ["Bo"], "answer_start": [8]},
        {"text": [], "answer_start": []},
    ]
    assert rows[0] == {
        "id": "q1",
        "title": "T",
        "context": "Ada met Bo.",
        "question": "Who?",
        "answers": rows[0]["answers"],
    }


def test_faulty_questions_are_rejected_at_their_place(tmp_path: Path) -> None:
    document = squad(
        question(1),
        question(1),
        question(2, answers=[{"text": "Cy", "answer_start": 7}]),
        question(3, is_impossible=True),
        question(4, is_impossible=False, answers=[]),
        question(5, question=" "),
        question(6, answers=[{"text": "Bo"}]),
        question(7, answers=[{"text": "Bo", "answer_start": "x"}]),
    )
    prepared = prepare(dump(tmp_path / "a.json", document), QA)
    place = "a.json:data[0].paragraphs[0].qas"
    assert causes(prepared) == {
        f"{place}[1]": "duplicate id",
        f"{place}[2]": "answer is not in the context",
        f"{place}[3]": "marked impossible, but has answers",
        f"{place}[4]": "marked answerable, but has no answer",
        f"{place}[5]": "empty question",
        f"{place}[7]": "answer_start is not a whole number",
    }
    assert [row["id"] for row in prepared.splits["train"]] == ["q1", "q6"]


def test_a_paragraph_without_questions_is_named(tmp_path: Path) -> None:
    document = squad(question(1))
    document["data"] = [
        *list(document["data"]),  # type: ignore[call-overload]
        {"title": "U"},
        {"paragraphs": [{"context": "c"}, 3]},
    ]
    assert causes(prepare(dump(tmp_path / "a.json", document), QA)) == {
        "a.json:data[1]": "no list `paragraphs`",
        "a.json:data[2].paragraphs[0]": "no list `qas`",
        "a.json:data[2].paragraphs[1]": "not a JSON object",
    }


@pytest.mark.parametrize(
    "document",
    [
        [{"text": "a", "label": 1}, {"text": "b", "label": 0}],
        {"data": [{"text": "a", "label": 1}, {"text": "b", "label": 0}]},
        {"text": ["a", "b"], "label": [1, 0]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}},
    ],
)
def test_json_in_its_flat_forms(tmp_path: Path, document: object) -> None:
    assert texts(prepare(dump(tmp_path / "a.json", document))) == ["a", "b"]


def test_jsonl_rows_may_lack_keys_and_blank_lines_do_not_move_places(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a\u0085b", "label": true}\n\n{"label": false}\n[1]\n{"text": "c", "label": '
        "false}\n",
        encoding="utf-8",
    )
    prepared = prepare(path)
    assert prepared.labels == ("false", "true")
    assert causes(prepared) == {"a.jsonl:3": "empty text", "a.jsonl:4": "not a JSON object"}
    path.rename(tmp_path / "a.json")
    assert texts(prepare(tmp_path / "a.json")) == ["a\u0085b", "c"]


def test_truncated_json_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n{"paragraphs": [{"cont', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json` is not valid JSON at line 2, .*cut off"):
        load(path, QA)
    (tmp_path / "b.jsonl").write_text(
        '{"text": "a", "label": 1}\n{"text": "b",\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"b\.jsonl` is not valid JSON at line 2"):
        load(tmp_path / "b.jsonl")


def test_json_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a list of objects, nor SQuAD's form"):
        load(dump(tmp_path / "a.json", {"a": 1}))


def test_squad_given_to_a_classifier_names_the_columns(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no column `text` .*Its columns: `id`, `title`, `context`"
    ):
        load(dump(tmp_path / "a.json", squad(question(1))))


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["Bo"], "answer_start": [8]},
        [{"text": "Bo", "answer_start": 8}],
        {"text": "Bo", "answer_start": 8},
        '{"text": ["Bo"], "answer_start": [8]}',
        "{'text': ['Bo'], 'answer_start': [8]}",
        ["Bo"],
        "Bo",
    ],
)
def test_answers_in_all_their_forms(tmp_path: Path, answers: object) -> None:
    row = {"context": "Ada met Bo.", "question": "Who?", "answers": answers}
    prepared = prepare(dump(tmp_path / "a.json", [row]), QA)
    assert prepared.splits["train"][0]["answers"] == {"text": ["Bo"], "answer_start": [8]}


def test_parquet_with_null_cells(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"text": ["a", None, "c"], "label": [1.0, 0.0, 0.0]})
    parquet.write_table(table, tmp_path / "a.parquet")
    prepared = prepare(tmp_path / "a.parquet")
    assert prepared.labels == ("0", "1")
    assert causes(prepared) == {"a.parquet:2": "empty text"}
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"b\.parquet` is not a readable Parquet file"):
        load(tmp_path / "b.parquet")
