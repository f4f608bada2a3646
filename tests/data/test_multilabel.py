"""Sets of labels: several columns of 0/1, and lists in cells."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftr.config.schema import DataConfig
from ftr.data.multilabel import divided, is_flag_column, separator_of
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.data.read import from_splits, load_rows
from ftr.data.rows import Loaded, RejectedRowsError
from ftr.errors import DataError, RequestError
from ftr.registry.registry import Registry
from ftr.registry.schema import Column, RowSchema
from readers import ALL, causes, head_of

SETS = RowSchema(
    columns=(
        Column(name="text", aliases=("comment_text",)),
        Column(name="labels", type="labels", aliases=("label", "topics"), required=False),
    )
)
NAMES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
JIGSAW = [[0] * 6, [1, 0, 1, 0, 1, 0], [1] * 6, [0, 0, 0, 1, 0, 0]] * 6


def csv(path: Path, rows: list[list[Any]], names: tuple[str, ...] = NAMES) -> Path:
    lines = [f"{n},comment {n},{','.join(map(str, row))}" for n, row in enumerate(rows)]
    path.write_text("\n".join([f"id,comment_text,{','.join(names)}", *lines]), encoding="utf-8")
    return path


def load(path: Path, classes: tuple[str, ...] = (), **options: object) -> Loaded:
    return load_rows(str(path), options, Registry([]), SETS, classes)


def prepare(path: Path, data: DataConfig = ALL, **options: object) -> PreparedRows:
    loaded = load_rows(str(path), options, Registry([]), SETS)
    return prepare_rows(loaded, head_of(SETS), data)


def labels(loaded: Loaded, split: str = "train") -> list[object]:
    return [row.get("labels") for row in loaded.splits[split].rows]


def test_columns_of_zeros_and_ones_are_a_set(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", JIGSAW)
    loaded = load(path)
    assert labels(loaded)[:2] == [[], ["toxic", "obscene", "insult"]]
    assert (
        "`a.csv`: labels from 6 columns of 0/1: `toxic`, `severe_toxic`, `obscene`, `threat`, "
        "`insult`, `identity_hate` (others: `dataset.labels=[…]`)"
    ) in loaded.notes
    prepared = prepare(path)
    assert prepared.labels == NAMES
    assert prepared.splits["train"][1] == {"id": "1", "text": "comment 1", "labels": [0, 2, 4]}
    assert any("in the order of the columns of the file" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("no", "yes"), [("0.0", "1.0"), ("false", "true"), ("FALSE", "True"), (" 0", "1 ")]
)
def test_other_spellings_of_zero_and_one(tmp_path: Path, no: str, yes: str) -> None:
    rows = [[yes if cell else no for cell in row] for row in JIGSAW]
    assert labels(load(csv(tmp_path / "a.csv", rows))) == labels(
        load(csv(tmp_path / "b.csv", JIGSAW))
    )


def test_the_columns_can_be_named(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", JIGSAW)
    assert prepare(path, labels=["threat", "obscene"]).labels == ("threat", "obscene")
    assert prepare(path, labels=["threat"]).labels == ("threat",)
    assert labels(load(path, labels=["threat", 2]))[2] == ["threat", "toxic"]
    with pytest.raises(DataError, match=r"has no column `hate` .*`dataset.labels` names it.*`id`"):
        load(path, labels=["threat", "hate"])
    with pytest.raises(DataError, match=r"write `dataset.labels=\[threat,obscene\]`"):
        load(path, labels="threat,obscene")
    with pytest.raises(RequestError, match="labels"):
        load(path, labels=[])


@pytest.mark.parametrize(
    ("cell", "shown"), [("2", "`2`"), ("-1", "`-1`"), ("", "blank"), ("yes", "`yes`")]
)
def test_another_value_rejects_its_row_with_column_and_place(
    tmp_path: Path, cell: str, shown: str
) -> None:
    rows: list[list[Any]] = [list(row) for row in JIGSAW]
    rows[5][3] = cell
    path = csv(tmp_path / "a.csv", rows)
    prepared = prepare(path)
    assert causes(prepared) == {"a.csv:7": f"`threat` is {shown}, not 0 or 1"}
    assert prepared.rejected[0].row["comment_text"] == "comment 5"
    assert prepared.report["splits"]["train"]["read"] == 24  # type: ignore[index]
    with pytest.raises(
        RejectedRowsError,
        match=r"`threat` is .*, not 0 or 1: 1, first `a\.csv:7` \(`dataset.labels=",
    ):
        prepare(path, DataConfig(max_invalid=0.01))


def test_a_rating_of_three_values_is_no_column_of_zeros_and_ones(tmp_path: Path) -> None:
    rows = [[n % 2, (n + 1) % 2, n % 3] for n in range(30)]
    assert prepare(csv(tmp_path / "a.csv", rows, ("a", "b", "stars"))).labels == ("a", "b")


def test_a_column_of_the_right_name_comes_first(tmp_path: Path) -> None:
    rows = [[n % 2, 1 - n % 2, "x;y" if n % 3 else "y"] for n in range(12)]
    prepared = prepare(csv(tmp_path / "a.csv", rows, ("is_a", "is_b", "topics")))
    assert prepared.labels == ("x", "y")


def test_training_rows_need_their_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,stars\nsome text,1\nmore text,5\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"has no column `labels` .*`stars`.*`dataset.labels=\[…\]`"
    ):
        load(tmp_path / "a.csv")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`a\.csv` has two columns `x`"):
        load(csv(tmp_path / "a.csv", [[0, 1]] * 4, ("x", "x")))


def test_json_and_parquet_and_splits_of_a_dataset(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = [
        {"text": f"t{n}", "a": bool(n % 2), "b": n % 3 == 0, "n": n, "c": float(n % 2)}
        for n in range(12)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    dataset = Dataset.from_list(rows)
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(str(tmp_path / "both"))
    for name in ("a.jsonl", "a.json", "a.parquet", "both"):
        loaded = load(tmp_path / name)
        assert labels(loaded)[:4] == [["b"], ["a", "c"], [], ["a", "b", "c"]]
        assert loaded.classes == ["a", "b", "c"]
    found = from_splits(DatasetDict({"train": dataset, "test": dataset}), SETS, {}, "it")
    assert labels(found, "test") == labels(found) and labels(found)[0] == ["b"]


def test_held_out_splits_have_the_columns_of_train(tmp_path: Path) -> None:
    csv(tmp_path / "train.csv", JIGSAW)
    csv(tmp_path / "dev.csv", [[0] * 6, [0, 0, 0, 1, 0, 0]])
    csv(tmp_path / "test.csv", [[-1] * 6] * 3)
    loaded = load(tmp_path)
    assert labels(loaded, "validation") == [[], ["threat"]]
    assert "test" not in loaded.splits
    assert any(note.startswith("test: no labels in 3 rows of test.csv") for note in loaded.notes)
    csv(tmp_path / "test.csv", [[-1] * 6, [0, 1, 0, 0, 0, 0], [-1] * 6, [0, -1, 0, 0, 0, 0]])
    loaded = load(tmp_path)
    assert labels(loaded, "test") == [["severe_toxic"]]
    assert any(
        note.startswith("test: 2 of 4 rows of `test.csv` have -1 or nothing in all columns")
        for note in loaded.notes
    )
    assert [(item.place, item.cause) for item in loaded.rejected] == [
        ("test.csv:5", "`severe_toxic` is `-1`, not 0 or 1")
    ]
    csv(tmp_path / "test.csv", [[0]] * 3, ("toxic",))
    with pytest.raises(DataError, match=r"`test\.csv` has no column `severe_toxic` .*train has it"):
        load(tmp_path)
    (tmp_path / "test.csv").write_text("id,comment_text\n1,x\n", encoding="utf-8")
    assert "test" not in load(tmp_path).splits


def test_other_data_of_a_model_is_read_by_its_classes(tmp_path: Path) -> None:
    rows = [[*row, 1] for row in JIGSAW[:2]]
    path = csv(tmp_path / "a.csv", rows, (*NAMES, "is_english"))
    assert labels(load(path, classes=NAMES)) == [[], ["toxic", "obscene", "insult"]]
    with pytest.raises(DataError, match=r"has no column `other` .*a class of the model"):
        load(path, classes=(*NAMES, "other"))
    path.write_text('text,labels\na,"toxic,other"\n', encoding="utf-8")
    assert labels(load(path, classes=("toxic", "other"))) == [["toxic", "other"]]


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ('["a b", "c"]', ["a b", "c"]),
        ("['a b', 'c']", ["a b", "c"]),
        ("['a b' 'c']", ["a b", "c"]),
        ("[]", []),
        ("[a b, c]", ["a b", "c"]),
        ("a b; c", ["a b", "c"]),
        ("a b;c;", ["a b", "c"]),
        ("a b", ["a b"]),
        (" ", []),
    ],
)
def test_lists_in_a_cell(cell: str, items: list[str]) -> None:
    assert divided(cell, ";") == items


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["climate change", "art"], ""),
        (["climate change|art"], "|"),
        (["climate change; art", "x, y"], ";"),
        (["a\tb"], "\t"),
        (["a, b", "b, c", "a"], ","),
        (["Paris, France", "Oslo, Norway", "Rome, Italy"], ""),
        (["news, sport"], ""),
    ],
)
def test_the_separator_is_found_in_the_cells(cells: list[str], separator: str) -> None:
    assert separator_of(cells * 3) == separator


def test_the_separator_is_noted_and_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["climate change; art", "art", "politics; art", "climate change"] * 3
    path.write_text("text,topics\n" + "".join(f"t{n},{row}\n" for n, row in enumerate(rows)))
    loaded = load(path)
    assert labels(loaded)[:2] == [["climate change", "art"], ["art"]]
    assert any("labels divided at `;` (others: `dataset.separator=`" in one for one in loaded.notes)
    assert labels(load(path, separator="none"))[0] == ["climate change; art"]
    assert labels(load(path, separator="space"))[0] == ["climate", "change;", "art"]
    with pytest.raises(RequestError, match=r"separator.*give one character"):
        load(path, separator="ab")


def test_other_splits_are_divided_as_train_is(tmp_path: Path) -> None:
    for name, cells in (("train", ["a, b", "b, c", "a, c", "c"]), ("test", ["a, b", "c"])):
        rows = "".join(f't{n},"{cell}"\n' for n, cell in enumerate(cells))
        (tmp_path / f"{name}.csv").write_text(f"text,topics\n{rows}", encoding="utf-8")
    assert labels(load(tmp_path), "test") == [["a", "b"], ["c"]]


@pytest.mark.parametrize("cell", [3, {"a": 1}, True])
def test_a_cell_that_is_no_list_is_rejected(tmp_path: Path, cell: object) -> None:
    rows = [{"text": f"t{n}", "topics": ["a"] if n % 2 else ["b", "a"]} for n in range(12)]
    rows[4]["topics"] = cell  # type: ignore[assignment]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert causes(prepare(tmp_path / "a.jsonl")) == {"a.jsonl:5": "labels is not a list of classes"}


def test_one_cell_with_another_separator_does_not_decide(tmp_path: Path) -> None:
    cells = ["a,b", "b,c", "a", "a,c"] * 20 + ["a;b"]
    assert separator_of(cells) == ","
    assert separator_of(["a;b", "b;c, d", "a"] * 9) == ";"


def test_vectors_of_zeros_and_ones_name_no_labels(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "labels": [n % 2, n // 2 % 2, 1]} for n in range(12)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=r"`labels` holds a 0 or 1 for each label, such as"):
        load(tmp_path / "a.jsonl")


@pytest.mark.parametrize("cell", ["3", "03", "9" * 5000, "0" * 5000 + "3"])
def test_a_column_with_a_whole_number_from_3_up_is_no_column_of_flags(cell: str) -> None:
    assert is_flag_column(["0", "1"] * 20 + ["2"])
    assert not is_flag_column(["0", "1"] * 20 + [cell])
