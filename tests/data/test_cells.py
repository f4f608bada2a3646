"""Columns of lists and of numbers: tokens with a class each, sets of classes, and what is learned
as a number.
"""

import json
from pathlib import Path

import pytest

from ftr.config.schema import DataConfig
from ftr.data.columns import check_cell
from ftr.errors import DataError
from ftr.registry.protocols import Row
from ftr.registry.schema import Column, RowSchema
from readers import causes, load, prepare, unlabelled

TOKENS = Column(name="tokens", type="tokens", aliases=("words",))
TAGS = Column(name="tags", type="labels", aliases=("ner_tags",))
TOPICS = Column(name="topics", type="labels", required=False, separator="|")
SCORE = Column(name="score", type="number")
TAGGED = RowSchema(columns=(TOKENS, TAGS))
FILED = RowSchema(columns=(Column(name="text"), TOPICS))
RATED = RowSchema(columns=(Column(name="text"), SCORE))


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_lists_come_as_lists_as_json_and_as_flat_text() -> None:
    for cell in (["EU", "rejects"], ("EU", "rejects"), '["EU", "rejects"]', " EU  rejects "):
        assert check_cell(cell, TOKENS, {}) == (["EU", "rejects"], None)
    assert check_cell("politics | new york", TOPICS, {}) == (["politics", "new york"], None)
    assert check_cell("[not json", TOKENS, {}) == (["[not", "json"], None)
    assert check_cell([2019, True], TOKENS, {}) == (["2019", "True"], None)


@pytest.mark.parametrize(
    ("cell", "column", "cause"),
    [
        (["a", ""], TOKENS, "tokens has an empty item"),
        (["a", None], TAGS, "tags has an empty item"),
        ("a||b", TOPICS, "topics has an empty item"),
        ([], TOKENS, "empty tokens"),
        (None, TAGS, "empty tags"),
        (7, TOKENS, "tokens is not a list of texts"),
        ({"a": 1}, TAGS, "tags is not a list of classes"),
        ([["a"]], TAGS, "tags is not a list of classes"),
        ("high", SCORE, "score is not a finite number"),
        (float("inf"), SCORE, "score is not a finite number"),
        (True, SCORE, "score is not a finite number"),
        (" ", SCORE, "empty score"),
    ],
)
def test_cells_that_do_not_fit_are_named(cell: object, column: Column, cause: str) -> None:
    assert check_cell(cell, column, {})[1] == cause


def test_no_class_at_all_is_a_set_too_where_none_is_required() -> None:
    assert check_cell("", TOPICS, {}) == ([], None)
    assert check_cell([], TOPICS, {}) == ([], None)


def test_every_token_gets_the_id_of_its_class(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"words": ["Ada", "met", "Bo"], "ner_tags": ["B-PER", "O", "B-PER"]},
        {"words": "in Rome", "ner_tags": "O B-LOC"},
        {"words": ["too", "long"], "ner_tags": ["O"]},
    )
    prepared = prepare(path, TAGGED)
    assert prepared.labels == ("B-LOC", "B-PER", "O")
    assert [row["tags"] for row in prepared.splits["train"]] == [[1, 2, 1], [2, 0]]
    assert causes(prepared) == {"a.jsonl:3": "tokens has 2 items, tags has 1"}
    assert prepared.report["splits"]["train"]["labels"] == {"B-LOC": 1, "B-PER": 2, "O": 2}  # type: ignore[index]


def test_rows_with_a_class_that_train_lacks_are_left_out(tmp_path: Path) -> None:
    lines(
        tmp_path / "train.jsonl",
        {"text": "a", "topics": ["x", "y"]},
        {"text": "b", "topics": []},
        {"text": "c", "topics": ["y"]},
    )
    lines(
        tmp_path / "test.jsonl", {"text": "d", "topics": ["x", "z"]}, {"text": "e", "topics": ["x"]}
    )
    prepared = prepare(tmp_path, FILED)
    assert [row["topics"] for row in prepared.splits["train"]] == [[0, 1], [], [1]]
    assert [row["topics"] for row in prepared.splits["test"]] == [[0]]
    assert [item.cause for item in prepared.rejected] == ["label not in train"]


def test_flat_cells_of_a_csv_are_split_at_the_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,topics\na,new york|art\nb,\nc,art\n", encoding="utf-8")
    prepared = prepare(tmp_path / "a.csv", FILED)
    assert prepared.labels == ("art", "new york")
    assert [row["topics"] for row in prepared.splits["train"]] == [[1, 0], [], [0]]


def test_lists_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all `tags` are `O`: there is nothing to learn"):
        prepare(
            lines(tmp_path / "a.jsonl", *({"tokens": ["a"], "tags": ["O"]} for _ in range(9))),
            TAGGED,
        )
    with pytest.raises(DataError, match=r"no usable row has any `topics`"):
        prepare(
            lines(tmp_path / "b.jsonl", *({"text": f"t{n}", "topics": []} for n in range(9))), FILED
        )
    with pytest.raises(
        DataError,
        match=r"`topics` has 60 different values in 60 places, so it does not name classes",
    ):
        prepare(
            lines(
                tmp_path / "c.jsonl", *({"text": f"t{n}", "topics": [f"x{n}"]} for n in range(60))
            ),
            FILED,
        )


def test_one_class_that_applies_or_not_can_be_learned(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl", *({"text": f"t{n}", "topics": ["x"] * (n % 2)} for n in range(20))
    )
    assert prepare(path, FILED, DataConfig(validation_size=0.1, test_size=0.1)).labels == ("x",)


@pytest.mark.parametrize("row", [{}, {"topics": None}, {"topics": []}, {"topics": "-1"}])
def test_a_held_out_split_without_sets_is_set_aside(tmp_path: Path, row: Row) -> None:
    lines(tmp_path / "train.jsonl", {"text": "a", "topics": ["x"]}, {"text": "b", "topics": []})
    lines(tmp_path / "test.jsonl", {"text": "c", **row}, {"text": "d", **row})
    prepared, notes = prepare(tmp_path, FILED), load(tmp_path, FILED).notes
    assert "test" not in prepared.splits
    assert any("no labels in 2 rows of test.jsonl" in note for note in prepared.notes + notes)


def test_numbers_are_floats_and_need_no_classes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,score\na,4\nb,2.5\nc,-1e-3\nd,good\n", encoding="utf-8")
    prepared = prepare(tmp_path / "a.csv", RATED)
    assert [row["score"] for row in prepared.splits["train"]] == [4.0, 2.5, -1e-3]
    assert prepared.labels == () and causes(prepared) == {"a.csv:5": "score is not a finite number"}


def test_a_held_out_split_of_minus_one_has_no_numbers(tmp_path: Path) -> None:
    for name, cells in (("train", ["4", "2.5", "0"]), ("test", ["-1.0", "-1"])):
        rows = "".join(f"a{n},{cell}\n" for n, cell in enumerate(cells))
        (tmp_path / f"{name}.csv").write_text(f"text,score\n{rows}", encoding="utf-8")
    assert set(prepare(tmp_path, RATED).splits) == {"train"}


def test_rows_to_predict_come_without_what_is_learned(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("tokens\nin Rome\n", encoding="utf-8")
    assert unlabelled(tmp_path / "a.csv", TAGGED).rows == [
        {"id": "predict-1", "tokens": ["in", "Rome"]}
    ]
    (tmp_path / "b.csv").write_text("text,score\nx,?\n", encoding="utf-8")
    assert unlabelled(tmp_path / "b.csv", RATED).rows == [{"id": "predict-1", "text": "x"}]
    given = RowSchema(
        columns=(Column(name="text"), Column(name="score", type="number", given=True))
    )
    assert unlabelled(tmp_path / "b.csv", given).rejected[0][1] == "score is not a finite number"


def test_a_plain_text_of_tokens_takes_its_tags_from_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "train_text.txt").write_text("Ada met Bo\nin Rome\n", encoding="utf-8")
    (tmp_path / "train_labels.txt").write_text("PER O PER\nO LOC\n", encoding="utf-8")
    prepared = prepare(tmp_path / "train_text.txt", TAGGED)
    assert [row["tags"] for row in prepared.splits["train"]] == [[2, 1, 2], [1, 0]]
