"""Shards: files of one split by their numbers, by a pattern, as a list, in a folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ftr.config.components import locate
from ftr.errors import DataError, RequestError
from ftr.registry.registry import Registry
from readers import load, prepare, texts

SPARK = "part-{n:05}-2bdfa4c4-8f0e-4c1f-b0a6-d1d4a3cf65a2-c000"


def csv(*names: object) -> str:
    return "text,label\n" + "".join(f"{name},{n % 2}\n" for n, name in enumerate(names))


def fill(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def numbered(folder: Path, form: str, numbers: list[int], ending: str = ".csv") -> Path:
    return fill(
        folder, {form.format(n=n) + ending: csv(f"text {n}", f"other {n}") for n in numbers}
    )


def first_words(folder: Path | str, **options: Any) -> list[str]:
    return [text for text in texts(prepare(folder, **options)) if text.startswith("text")]


@pytest.mark.parametrize(
    "form",
    ["part-{n:05}", SPARK, "part-r-{n:05}", "shard_{n}", "train-{n:05}", "data.{n:03}", "chunk{n}"],
)
def test_numbered_files_of_a_folder_are_one_split_in_the_order_of_numbers(
    form: str, tmp_path: Path
) -> None:
    numbered(tmp_path, form, list(range(12)))
    fill(tmp_path, {"_SUCCESS": "", f".{form.format(n=0)}.csv.crc": "x", "_committed_1": "{}"})
    assert first_words(tmp_path) == [f"text {n}" for n in range(12)]


def test_sub_folders_of_shards_are_splits(tmp_path: Path) -> None:
    numbered(tmp_path / "train", SPARK, [0, 1])
    numbered(tmp_path / "test", SPARK, [0, 1, 2])
    loaded = load(tmp_path)
    assert {split: len(rows) for split, rows in loaded.splits.items()} == {"train": 4, "test": 6}
    assert len(load("files", train=str(tmp_path / "test")).splits["train"]) == 6


def test_the_files_of_one_task_of_spark_are_in_order(tmp_path: Path) -> None:
    for task, piece in ((1, 0), (0, 1), (0, 0), (0, 10), (0, 2)):
        name = SPARK.replace("c000", f"c{piece:03}").format(n=task)
        fill(tmp_path, {f"{name}.csv": csv(f"text {task} {piece}", "other")})
    assert first_words(tmp_path) == [f"text {n}" for n in ("0 0", "0 1", "0 2", "0 10", "1 0")]


@pytest.mark.parametrize("numbers", [[2019, 2020], [7, 8]])
def test_years_and_ids_are_no_shards(numbers: list[int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file name says train, validation or test"):
        load(numbered(tmp_path, "reviews-{n:03}", numbers))


@pytest.mark.parametrize("where", ["folder", "pattern", "sub-folder"])
def test_a_gap_is_an_error_and_a_list_leaves_it(where: str, tmp_path: Path) -> None:
    folder = numbered(tmp_path / "train", "part-{n:05}", [0, 1, 3])
    given: str = {"folder": str(folder), "pattern": f"{folder}/*", "sub-folder": str(tmp_path)}[
        where
    ]
    with pytest.raises(DataError, match=r"`part-00000\.csv` 3 of 4 .*number 2 is missing.*list"):
        load(given)
    assert first_words("files", train=[f"{folder}/part-*.csv"]) == ["text 0", "text 1", "text 3"]


def test_a_pattern_finds_files_below_and_none_that_are_hidden(tmp_path: Path) -> None:
    for name in ("a/part-2", "a/part-10", "b/part-1", "_temporary/part-1", ".x/part-1"):
        fill(tmp_path, {f"{name}.csv": csv(f"text {name}", "other"), f"{name}.txt.md": "x"})
    words = ["text a/part-2", "text a/part-10", "text b/part-1"]
    assert first_words("files", train=[f"{tmp_path}/**/part-*.csv"]) == words
    assert first_words(tmp_path / "[ab]" / "*1*.csv") == ["text a/part-10", "text b/part-1"]
    with pytest.raises(DataError, match=r"none-\*` matches no file"):
        load(f"{tmp_path}/none-*")


def test_a_pattern_is_relative_to_the_folder_too_and_the_name_of_a_file_is_no_pattern(
    tmp_path: Path,
) -> None:
    fill(tmp_path, {"a[1].csv": csv("text 1", "b"), "a1.csv": csv("text 2", "b")})
    assert first_words(tmp_path, train="a[1].csv") == ["text 1"]
    assert first_words(tmp_path, train="a?.csv") == ["text 2"]


def test_a_list_is_one_split_in_its_order(tmp_path: Path) -> None:
    fill(tmp_path, {"b.csv": csv("text b", "x"), "a.csv": csv("text a", "x"), "dev.csv": csv("d")})
    options: dict[str, Any] = {"train": ["b.csv", "a.csv"], "validation": "dev.csv"}
    assert first_words(tmp_path, **options) == ["text b", "text a"]
    assert load(tmp_path, **options).origins["train"] == "b.csv and 1 more shards"
    with pytest.raises(DataError, match=r"`dataset\.train` has .*`.*b\.csv` twice"):
        load(tmp_path, train=["b.csv", "*b.csv"])
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path, train=["b.csv", "c.csv"])
    with pytest.raises(DataError, match="a file is one split"):
        load(tmp_path, train=["b.csv", "a.csv"], test="a.csv")
    with pytest.raises(RequestError, match=r"dataset\.train"):
        load(tmp_path, train=[])


def test_shards_without_rows_are_noted(tmp_path: Path) -> None:
    numbered(tmp_path, "part-{n}", [0, 1, 2, 3])
    fill(tmp_path, {"part-0.csv": "", "part-3.csv": "text,label\n"})
    assert first_words(tmp_path) == ["text 1", "text 2"]
    note = "train: 2 of 4 shards have no rows: part-0.csv, part-3.csv"
    assert note in load(tmp_path).notes
    fill(tmp_path, {"part-1.csv": "\n", "part-2.csv": ""})
    with pytest.raises(DataError, match=r"part-3\.csv` holds no rows"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        ("text,sentiment\nb,1\n", "lacks `label` and adds `sentiment`"),
        ("id,text,label\n1,b,1\n", "adds `id`"),
        ("b,1\nc,0\n", r"no header row, and `part-0\.csv` has one"),
    ],
)
def test_a_shard_with_other_columns_is_named_with_the_difference(
    second: str, difference: str, tmp_path: Path
) -> None:
    fill(tmp_path, {"part-0.csv": csv("a", "b"), "part-1.csv": second})
    with pytest.raises(DataError, match=rf"part-1\.csv` has .*{difference}.*leave it out"):
        load(tmp_path)
    fill(tmp_path, {"part-1.csv": "label,text\n1,text 9\n0,b\n"})  # another order is no difference
    assert first_words(tmp_path) == ["text 9"]


def test_objects_may_lack_keys_that_the_task_does_not_read(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "a", "label": 0, "lang": "en"}, {"text": "b"}]
    fill(tmp_path, {f"part-{n}.jsonl": json.dumps(row) for n, row in enumerate(rows)})
    with pytest.raises(DataError, match=r"part-1\.jsonl` has other columns.*lacks `label`"):
        load(tmp_path)
    rows[1] = {"text": "b", "label": 1, "length": 5}
    fill(tmp_path, {"part-1.jsonl": json.dumps(rows[1])})
    assert texts(prepare(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ([1, 0], [True, False], "`label` as bool, and `part-0.parquet` as int64"),
        ([1, 0], ["1", "0"], "`label` as string, and `part-0.parquet` as int64"),
        (["a", "b"], [["a"], ["b"]], "`label` as list<.*string>, and `part-0.parquet` as string"),
        ([1, 0], [1.0, None], None),
        (["a", "b"], [None, None], None),
    ],
)
def test_a_shard_with_values_of_another_kind_is_named(
    first: list[object], second: list[object], difference: str | None, tmp_path: Path
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for number, labels in enumerate((first, second)):
        table = pa.table({"text": [f"{number} a", f"{number} b"], "label": labels})
        parquet.write_table(table, tmp_path / f"part-{number}.parquet")
    if difference is None:
        assert len(load(tmp_path).splits["train"]) == 4
        return
    with pytest.raises(DataError, match=rf"part-1\.parquet` has {difference}"):
        load(tmp_path)


def test_a_pattern_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(tmp_path / "data", "part-{n}", [0, 1])
    monkeypatch.chdir(tmp_path)
    found = locate("dataset", "data/part-*.csv", Registry([]), "command line")
    assert found == ("path", f"{tmp_path}/data/part-*.csv")
    assert first_words(found[1]) == ["text 0", "text 1"]
