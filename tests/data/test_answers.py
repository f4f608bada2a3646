"""Answers as converters write them, offsets that are off, and groups that made splits keep
whole.
"""

import json
from pathlib import Path

import pytest

from ftr.config.schema import DataConfig
from ftr.data.answers import check_answers
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.data.rows import RejectedRowsError
from ftr.errors import DataError
from ftr.runs.directory import refused_rows_kept
from readers import ALL, QA, causes, head_of, load, prepare, unlabelled

CONTEXT = "Ada met Bo in Rome."
BO = {"text": ["Bo"], "answer_start": [8]}


def dump(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def answers(prepared: PreparedRows) -> list[object]:
    return [row["answers"] for row in prepared.splits["train"]]


def qa(**more: object) -> dict[str, object]:
    return {"id": "q", "question": "Who?", "answers": [{"text": "Bo", "answer_start": 8}], **more}


PARAGRAPH = {"context": CONTEXT, "qas": [qa()]}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([PARAGRAPH], "[0].qas[0]"),
        (PARAGRAPH, "qas[0]"),
        ({"data": [PARAGRAPH]}, "data[0].qas[0]"),
        (
            {"version": 1, "set": {"data": [{"paragraphs": [PARAGRAPH]}]}},
            "set.data[0].paragraphs[0].qas[0]",
        ),
        ([{"title": "T", "paragraphs": [PARAGRAPH]}], "[0].paragraphs[0].qas[0]"),
        (
            [
                {
                    "passage": CONTEXT,
                    "qas": [{"qid": "q", "query": "Who?", "answer": "Bo", "answer_start": 8}],
                }
            ],
            "[0].qas[0]",
        ),
    ],
)
def test_nested_questions_are_read_whatever_they_are_nested_in(
    tmp_path: Path, document: object, place: str
) -> None:
    loaded = load(dump(tmp_path / "a.json", document), QA)
    assert loaded.splits["train"].places == [f"a.json:{place}"]
    assert answers(prepare(tmp_path / "a.json", QA)) == [BO]


def test_nested_questions_are_read_from_jsonl_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "a.jsonl").write_text(
        f'{{"header": {{}}}}\n{json.dumps(PARAGRAPH)}\n', encoding="utf-8"
    )
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"data": [{"paragraphs": [PARAGRAPH]}]}, indent=1), encoding="utf-8"
    )
    parquet.write_table(pa.Table.from_pylist([PARAGRAPH]), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl", "c.parquet"):
        assert answers(prepare(tmp_path / name, QA)) == [BO]
        assert [row["id"] for row in unlabelled(tmp_path / name, QA).rows] == ["q"]


def test_two_sets_in_one_document_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"several sets of questions, `train` and `dev`: write each to a file"
    ):
        load(dump(tmp_path / "a.json", {"train": [PARAGRAPH], "dev": [PARAGRAPH]}), QA)


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("{'text': array(['Bo'], dtype=object), 'answer_start': array([8], dtype=int32)}", None),
        ("{'text': np.array(['Bo'],\n      dtype=object), 'answer_start': [np.int32(8)]}", None),
        ("['Bo']", "[8]"),
        (["Bo"], [8]),
        (["Bo"], 8),
        ("Bo", [8]),
        ([{"answer_text": "Bo", "start": 8}], None),
        ({"text": "Bo"}, 8),
    ],
)
def test_answers_in_the_cells_that_converters_write(value: object, start: object) -> None:
    assert check_answers(value, {"answer_start": start, "context": CONTEXT}) == (BO, None)


def test_numpy_prints_no_commas_and_code_in_a_cell_is_not_run(tmp_path: Path) -> None:
    both = {"text": ["Ada", "Bo"], "answer_start": [0, 8]}
    row = {"answer_start": "[0 8]", "context": CONTEXT}
    assert check_answers("['Ada' 'Bo']", row) == (both, None)
    trap = f"[__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()]"
    for cell in (trap, "[" * 5000 + "]" * 5000):
        assert check_answers(cell, {"context": CONTEXT})[1] == "answer is not in the context"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_answers_flattened_into_two_columns_use_the_given_offsets(
    tmp_path: Path, suffix: str
) -> None:
    context = "Bo met Bo"
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        path.write_text(
            f"question,context,answers.text,answers.answer_start\nWho?,{context},['Bo'],[7]\n",
            encoding="utf-8",
        )
    else:
        path.write_text(
            json.dumps(
                {
                    "question": "Who?",
                    "context": context,
                    "answers.text": ["Bo"],
                    "answers.answer_start": [7],
                }
            )
        )
    assert answers(prepare(path, QA)) == [{"text": ["Bo"], "answer_start": [7]}]


def test_impossible_questions_in_all_spellings(tmp_path: Path) -> None:
    empty: dict[str, list[object]] = {"text": [], "answer_start": []}
    good = [
        *(qa(is_impossible=flag) for flag in ("false", "False", 0, 0.0, "no", "0", None, "")),
        *(
            qa(is_impossible=flag, answers=empty, plausible_answers=[{"text": "Bo"}])
            for flag in (True, "true", "True", 1, 1.0, "yes")
        ),
        qa(is_impossible=True, answers=[{"text": "", "answer_start": -1}]),
    ]
    bad = [
        qa(is_impossible="True"),
        qa(is_impossible="False", answers=empty),
        qa(is_impossible="maybe"),
    ]
    items = [{**item, "id": str(number)} for number, item in enumerate([*good, *bad])]
    prepared = prepare(dump(tmp_path / "a.json", [{"context": CONTEXT, "qas": items}]), QA)
    assert answers(prepared) == [BO] * 8 + [empty] * 7
    assert list(causes(prepared).values()) == [
        "marked impossible, but has answers",
        "marked answerable, but has no answer",
        "is_impossible is neither true nor false",
    ]


def test_rows_of_one_answer_each_are_joined_where_id_question_and_context_agree(
    tmp_path: Path,
) -> None:
    lines = [
        "id,context,question,answer,answer_start",
        f"a,{CONTEXT},Who?,Bo,8",
        f"a,{CONTEXT},Who?,Ada,0",
        f"b,{CONTEXT},Who?,Bo,8",
    ]
    lines += [f"b,{CONTEXT},Who?,Bo,8", f"c,{CONTEXT},Who?,Bo,8", f"c,{CONTEXT},Where?,Rome,14"]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    prepared = prepare(tmp_path / "a.csv", QA)
    assert answers(prepared)[0] == {"text": ["Bo", "Ada"], "answer_start": [8, 0]}
    assert [row["id"] for row in prepared.splits["train"]] == ["a", "b", "c"]
    assert causes(prepared) == {"a.csv:7": "duplicate id"}
    assert any(
        note.startswith("train: rows joined to an earlier one: 2") for note in prepared.notes
    )


def test_one_unusable_answer_does_not_reject_a_question_that_has_another(tmp_path: Path) -> None:
    several = [
        {"text": "Bo!", "answer_start": -1},
        {"text": "Bo", "answer_start": 8},
        {"text": "Cy", "answer_start": "x"},
    ]
    prepared = prepare(
        dump(tmp_path / "a.json", [{"context": CONTEXT, "qas": [qa(answers=several)]}]), QA
    )
    assert answers(prepared) == [BO] and not prepared.rejected
    assert any(
        note.startswith("train: answers not usable: 2 (answer is not in the context: 1, ")
        for note in prepared.notes
    )
    assert prepared.report["splits"]["train"]["answers"]["answers not usable"] == 2  # type: ignore[index]


def test_an_offset_that_is_off_is_moved_where_the_answer_stands_once_nearby(tmp_path: Path) -> None:
    far = "Bo " + "x " * 40
    rows = [
        {"context": CONTEXT, "question": "Who?", "answer": "Bo", "answer_start": 6},
        {"context": CONTEXT, "question": "Who?", "answer": "Bo", "answer_start": -1},
        {"context": "Bo or Bo", "question": "Who?", "answer": "Bo", "answer_start": 3},
        {"context": far, "question": "Who?", "answer": "Bo", "answer_start": 70},
    ]
    prepared = prepare(dump(tmp_path / "a.json", rows), QA)
    assert answers(prepared) == [BO, BO]
    assert any(note.startswith("train: answers moved: 2") for note in prepared.notes)
    assert set(causes(prepared).values()) == {"answer_start does not point at the answer"}


@pytest.mark.parametrize(
    ("encoding", "size", "unit"),
    [("utf-16-le", 2, "UTF-16 code units"), ("utf-8", 1, "UTF-8 bytes")],
)
def test_offsets_in_other_units_are_recognised_and_converted(
    tmp_path: Path, encoding: str, size: int, unit: str
) -> None:
    context = "\U0001f600 Bo, \U0001f600 é Bo, then Bo"
    at = [at for at in range(len(context)) if context.startswith("Bo", at)]
    rows = [
        {
            "context": context,
            "question": f"{n}?",
            "answer": "Bo",
            "answer_start": len(context[:start].encode(encoding)) // size,
        }
        for n, start in enumerate(at)
    ]
    prepared = prepare(dump(tmp_path / "a.json", rows), QA)
    assert [row["answers"]["answer_start"] for row in prepared.splits["train"]] == [
        [start] for start in at
    ]
    assert any(
        "answer offsets converted: 3 (most offsets of the file that are wrong in characters count "
        f"{unit}" in n
        for n in prepared.notes
    )


def made(tmp_path: Path, rows: list[dict[str, object]]) -> PreparedRows:
    path = dump(
        tmp_path / "a.json",
        [
            {"question": f"{n}?", "answers": str(row["context"])[:3], **row}
            for n, row in enumerate(rows)
        ],
    )
    return prepare_rows(load(path, QA), head_of(QA), DataConfig(validation_size=0.3, test_size=0.2))


def shared(prepared: PreparedRows, column: str) -> set[str]:
    sets = [{str(row.get(column)).casefold() for row in rows} for rows in prepared.splits.values()]
    return (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])


def test_no_passage_is_in_two_splits_even_when_most_are_distinct(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"context": f"passage {n if n > 8 else n // 3}"} for n in range(40)
    ]
    assert not shared(made(tmp_path, rows), "context")


def test_a_passage_under_two_titles_keeps_both_titles_together(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"title": f"t{n % 20}", "context": f"passage {n}"} for n in range(60)
    ]
    rows += [
        {"title": f"t{n}", "context": "One for ALL" if n % 2 else "one for all"} for n in range(5)
    ]
    rows += [{"title": None, "context": f"alone {n}"} for n in range(10)]
    prepared = made(tmp_path, rows)
    assert not shared(prepared, "context") and shared(prepared, "title") <= {"none"}


def test_one_passage_is_not_divided_and_the_message_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"30 training rows have 1 different `context`, too few to divide over 3 "
        r"splits.*validation_size=0",
    ):
        made(tmp_path, [{"context": CONTEXT}] * 30)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"text": ["Nobody"], "answer_start": [None]},
            r"is not in the context: 3, .*in its context letter for letter",
        ),
        (
            {"text": ["Ada"], "answer_start": [900]},
            r"does not point at the answer: 3, .*without an offset",
        ),
        (
            {"text": ["Ada"], "answer_start": ["x"]},
            r"is not a whole number: 3, .*`dataset\.answer_start=COLUMN`",
        ),
        (
            {"text": ["e"], "answer_start": [None]},
            r"occurs more than once .*: 3, .*`dataset\.answer_start=COLUMN`",
        ),
    ],
)
def test_refused_answers_are_told_with_what_helps_and_their_rows_are_kept(
    tmp_path: Path, answers: object, said: str
) -> None:
    rows = [
        {"question": f"who {n}?", "context": "Ada built the engine there.", "answers": answers}
        for n in range(3)
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with (
        pytest.raises(
            RejectedRowsError, match=said + r".*`data\.max_invalid=`.*refused_rows\.jsonl"
        ),
        refused_rows_kept(tmp_path),
    ):
        prepare(path, QA, ALL.model_copy(update={"max_invalid": 0.05}))
    kept = [
        json.loads(line)
        for line in (tmp_path / "refused_rows.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["place"] for row in kept] == ["a.json:[0]", "a.json:[1]", "a.json:[2]"]


def test_an_answer_that_stands_nowhere_is_told_as_such_whatever_its_offset(tmp_path: Path) -> None:
    rows = [
        {
            "context": CONTEXT,
            "question": f"{n}?",
            "answers": {"text": ["Nobody"], "answer_start": [n]},
        }
        for n in range(3)
    ]
    with pytest.raises(
        RejectedRowsError,
        match=r"answer is not in the context: 3, .*in its context letter for letter",
    ):
        prepare(dump(tmp_path / "a.json", rows), QA, ALL.model_copy(update={"max_invalid": 0.05}))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            [{"context": CONTEXT, "question": f"{n}?", "answer_text": ""} for n in range(4)],
            r"`answer_text`, read as `answers`, has no answer in any of 4 rows\. Name "
            r".*`dataset\.answers=COLUMN`",
        ),
        (
            [{"context": CONTEXT, "question": f"{n}?", "answers": None} for n in range(4)],
            r"column `answers` has no answer in any of 4 rows",
        ),
        (
            [
                {
                    "context": CONTEXT,
                    "question": f"{n}?",
                    "answers": {"text": [], "answer_start": []},
                }
                for n in range(4)
            ],
            r"column `answers` has no answer in any of 4 rows",
        ),
        (
            {"context": CONTEXT, "qas": [{"question": f"{n}?", "answers": []} for n in range(4)]},
            r"column `answers` has no answer in any of 4",
        ),
        (
            {
                "context": CONTEXT,
                "qas": [
                    {"question": f"{n}?", "answers": [], "is_impossible": True} for n in range(4)
                ],
            },
            r"all 4 are marked `is_impossible`\. Add questions that have answers",
        ),
    ],
)
def test_training_rows_without_any_answer_are_refused(
    tmp_path: Path, document: object, said: str
) -> None:
    with pytest.raises(
        DataError,
        match=rf"`a\.json`: no training row has an answer, so there is nothing to learn: .*{said}",
    ):
        prepare(dump(tmp_path / "a.json", document), QA)


def test_a_limit_that_leaves_no_answer_is_named(tmp_path: Path) -> None:
    rows = [
        {"context": CONTEXT, "question": f"{n}?", "answers": "Bo" if n > 3 else ""}
        for n in range(6)
    ]
    with pytest.raises(
        DataError,
        match=r"no training row that is left has an answer in `answers`: raise `data\.limit`",
    ):
        prepare(
            dump(tmp_path / "a.json", rows),
            QA,
            ALL.model_copy(update={"limit": 4, "sample": "first"}),
        )


def test_held_out_questions_without_answers_are_set_aside_unless_they_are_marked(
    tmp_path: Path,
) -> None:
    dump(tmp_path / "train.json", [{"context": CONTEXT, "question": "Who?", "answers": "Bo"}])
    for flag, splits in ((None, {"train"}), (True, {"train", "test"})):
        dump(
            tmp_path / "test.json",
            {"context": "Cy.", "qas": [{"question": "Who?", "answers": [], "is_impossible": flag}]},
        )
        assert set(prepare(tmp_path, QA).splits) == splits


def test_passages_that_a_given_split_shares_with_train_are_reported(tmp_path: Path) -> None:
    dump(tmp_path / "train.json", [{"context": CONTEXT, "question": "Who?", "answers": "Bo"}])
    held_out = [
        {"context": context, "question": f"{n}?", "answers": "Bo"}
        for n, context in enumerate((CONTEXT.upper() + " Bo", "ada met  Bo in Rome.", "Bo."))
    ]
    dump(tmp_path / "dev.json", held_out)
    prepared = prepare(tmp_path, QA)
    (note,) = [note for note in prepared.notes if "passage" in note]
    assert note.startswith(
        "validation: 1 of 3 rows ask about a passage that train has too, first `dev.json:[1]`, in "
        "train `train.json:[0]`"
    )
    assert "`dataset.validation=none`" in note
    assert prepared.report["splits"]["validation"]["passages_in_train"] == 1  # type: ignore[index]
    dump(tmp_path / "dev.json", held_out[2:])
    assert not any("passage" in note for note in prepare(tmp_path, QA).notes)
