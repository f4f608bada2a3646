"""Forms in which people have classification data, and the names of classes in them."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pytest

from ftr.config.values import label_name
from ftr.data.labels import ClassIds, label_key, label_names
from ftr.data.prepare import prepare_rows
from ftr.data.rows import RejectedRowsError
from ftr.errors import DataError
from ftr.runs.directory import refused_rows_kept
from readers import ALL, TEXT, causes, head_of, load, prepare, texts, unlabelled

ROWS = "".join(f"text {n},{n % 2}\n" for n in range(12))


def folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        (path / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", 1), ("True", True), ("TRUE", "true"), ("01", "1"), ("-0", 0.0), ("1e0", "+1.")],
)
def test_equal_numbers_and_truth_values_are_one_class(one: object, other: object) -> None:
    assert label_key(one) == label_key(other)
    assert ClassIds(label_names([one])).get(other) == 0


@pytest.mark.parametrize(
    ("one", "other"), [("1", "true"), ("1", "10"), ("a", "A"), ("1_0", "10"), ("nan", "0")]
)
def test_other_labels_are_not(one: str, other: str) -> None:
    assert label_key(one) != label_key(other)


def test_codes_keep_their_zeros_and_old_models_their_names() -> None:
    assert label_names(["007", "012"]) == ("007", "012") and label_name("1.10") == "1.1"
    assert ClassIds(["0.0", "1.0"]).get("1") == 1


def test_labels_agree_between_files_and_the_classes_are_listed(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        train_csv="text,label\n" + ROWS.replace(",1", ",1.0"),
        test_csv="text,label\na,1\nb,0\n",
    )
    prepared = prepare(data)
    assert prepared.labels == ("0", "1") and len(prepared.splits["test"]) == 2
    assert (
        "2 classes of `label`, sorted by name, with their training rows: `0` 6, `1` 6"
        in prepared.notes
    )


def test_a_mismatch_names_both_sets(tmp_path: Path) -> None:
    data = folder(tmp_path, train_csv="text,label\n" + ROWS, test_csv="text,label\na,yes\nb,no\n")
    with pytest.raises(
        DataError,
        match=r"classes of train: `0`, `1`; other classes: `yes` 1, `no` 1, first at `test\.csv:2`",
    ):
        prepare(data)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["Pos", "pos ", "neg", "p os"], "differ only in case or spaces"),
        (["['a', 'b']", "['a']", "['b']"], "look like lists of labels"),
        (["joy", "love", "joy|love"], "look like lists of labels"),
        (["N/A"] * 9 + ["x"], 'looks like "no answer"'),
    ],
)
def test_what_is_strange_about_classes_is_noted(
    tmp_path: Path, labels: list[str], said: str
) -> None:
    rows = "".join(f'text {n},"{labels[n % len(labels)]}"\n' for n in range(40))
    assert any(
        said in note for note in prepare(folder(tmp_path, a_csv="text,label\n" + rows)).notes
    )


def test_class_ids_follow_the_mapping_that_came_with_the_data(tmp_path: Path) -> None:
    data = folder(tmp_path, train_csv="text,label\n" + ROWS, mapping_txt="1\tbad\n0\tworse\n")
    assert prepare(data).labels == ("worse", "bad")
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    dataset = Dataset.from_dict(
        {"text": [f"t{n}" for n in range(8)], "label": [n % 2 for n in range(8)]}, features=features
    )
    dataset.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(str(tmp_path / "two"))
    dataset.to_parquet(str(tmp_path / "a.parquet"))
    for name in ("one", "two", "a.parquet"):
        prepared = prepare(tmp_path / name)
        assert prepared.labels == ("pos", "neg") and [
            row["label"] for row in prepared.splits["train"]
        ][:2] == [0, 1]


def test_binary_text_is_decoded_and_broken_text_rejects_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    labels = pa.array([b"x", b"y", b"x", b"y"], pa.binary())
    cells = pa.array(["å".encode(), b"b", b"\xff", b"d"], pa.binary())
    for name, column in (("binary", cells), ("string", cells.view(pa.string()))):
        parquet.write_table(
            pa.table({"text": column, "label": labels}), tmp_path / f"{name}.parquet"
        )
        prepared = prepare(tmp_path / f"{name}.parquet")
        assert texts(prepared) == ["å", "b", "d"] and prepared.labels == ("x", "y")
        assert causes(prepared) == {
            f"{name}.parquet:3": "text is not UTF-8 text: it has a broken byte"
        }


@pytest.mark.parametrize("column", ["id", "text", "label"])
def test_half_a_surrogate_pair_rejects_its_row(tmp_path: Path, column: str) -> None:
    rows = [{"id": str(n), "text": f"t{n}", "label": "xy"[n % 2]} for n in range(6)]
    rows[3][column] = "\ud83d"
    prepared = prepare(folder(tmp_path, a_jsonl="\n".join(map(json.dumps, rows))) / "a.jsonl")
    assert causes(prepared) == {
        "a.jsonl:4": f"{column} is not UTF-8 text: it has half a surrogate pair"
    }
    assert json.dumps([item.record() for item in prepared.rejected], ensure_ascii=False).encode()


def test_bad_rows_to_predict_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "a"}\n{"text": \n{"text": "\xff"}\n{"text": "\\ud83d"}\n{"text": "e"}\n3\n'
    )
    rows = unlabelled(path, TEXT)
    found = [str(row["text"]) for row in rows.rows]
    for _, cause, after in reversed(rows.rejected):
        found.insert(after, cause)
    assert (
        found[0] == "a"
        and found[1] == "not valid JSON"
        and "broken byte" in found[2]
        and "half a surrogate" in found[3]
    )
    assert found[4:] == ["e", "not a JSON object"]


def test_texts_in_folders_of_their_class_are_read_and_the_unlabelled_set_aside(
    tmp_path: Path,
) -> None:
    for split in ("train", "test"):
        for name in ("pos", "neg", "unsup"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                (tmp_path / split / name / f"{number}_7.txt").write_text(
                    f"{name} {number}", encoding="utf-8"
                )
    (tmp_path / "notes.txt").write_text("1\n", encoding="utf-8")
    (tmp_path / "train" / "pos" / "9_9.txt").write_bytes(b"\xff")
    prepared = prepare(tmp_path)
    assert prepared.labels == ("neg", "pos") and {
        name: len(rows) for name, rows in prepared.splits.items()
    } == {"train": 6, "test": 6}
    assert list(causes(prepared)) == ["pos/9_9.txt:1"] and any(
        "unsup" in note for note in load(tmp_path).notes
    )
    assert len(prepare(tmp_path / "train").splits["train"]) == 6


@pytest.mark.parametrize("ending", ["zip", "bz2", "xz"])
def test_packed_files_are_read(tmp_path: Path, ending: str) -> None:
    content = ("text,label\n" + ROWS).encode()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("inner.csv", content)
        archive.writestr("__MACOSX/._inner.csv", b"x")
    packed = {"zip": sink.getvalue(), "bz2": bz2.compress(content), "xz": lzma.compress(content)}[
        ending
    ]
    (tmp_path / f"a.csv.{ending}").write_bytes(packed)
    assert len(prepare(tmp_path / f"a.csv.{ending}").splits["train"]) == 12


def test_shards_are_one_split_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"train-0000{number}-of-00003.csv").write_text(
            "text,label\n" + ROWS, encoding="utf-8"
        )
    assert len(load(tmp_path).splits["train"]) == 36
    (tmp_path / "data" / "train-00001-of-00003.csv").unlink()
    with pytest.raises(DataError, match="number 1 is missing"):
        load(tmp_path)


def test_a_file_is_one_split(tmp_path: Path) -> None:
    data = folder(tmp_path, dev_csv="text,label\n" + ROWS)
    loaded = load(data, train="dev.csv")
    assert list(loaded.splits) == ["train"] and any(
        "not validation as well" in note for note in loaded.notes
    )
    with pytest.raises(DataError, match="a file is one split"):
        load(data, train="dev.csv", test="dev.csv")


@pytest.mark.parametrize(
    "content",
    ["text\nc\nd\n", "text,label\nc,-1\nd,-1\n", "text,label\nc,\nd,\n", "text,other\nc,1\nd,0\n"],
)
def test_a_held_out_split_without_labels_is_set_aside(tmp_path: Path, content: str) -> None:
    prepared = prepare(folder(tmp_path, train_csv="text,label\n" + ROWS, test_csv=content))
    notes = prepared.notes + load(tmp_path).notes
    assert list(prepared.splits) == ["train"] and any("set aside" in note for note in notes)


def test_minus_one_is_a_class_where_it_is_one_in_train(tmp_path: Path) -> None:
    prepared = prepare(
        folder(
            tmp_path,
            train_csv="text,label\n" + ROWS.replace(",0", ",-1"),
            test_csv="text,label\nc,-1\nd,-1\n",
        )
    )
    assert len(prepared.splits["test"]) == 2


def test_a_ragged_row_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    prepared = prepare(
        folder(tmp_path, a_csv="text;label\n" + "a;b;c\n" + ROWS.replace(",", ";")) / "a.csv"
    )
    assert len(prepared.splits["train"]) == 12 and causes(prepared) == {
        "a.csv:2": "wrong number of cells"
    }


def test_a_blank_can_be_the_delimiter_and_a_sep_line_names_one(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        a_csv="text label\n" + ROWS.replace("text ", "t").replace(",", " "),
        b_csv="sep=;\n" + "text;label\na;x\nb;y;z\nc;y\n",
    )
    for blank in ("space", " "):
        assert len(load(data / "a.csv", delimiter=blank).splits["train"]) == 12
    assert causes(prepare(data / "b.csv")) == {"b.csv:4": "wrong number of cells"}


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        ("{l} {t}", ("0", "1")),
        ("{t}\t{l}", ("0", "1")),
        ("{t}@c{l}", ("c0", "c1")),
        ("__label__{l} {t}", ("0", "1")),
        ("A:f{l} {t}", ("A:f0", "A:f1")),
    ],
)
def test_a_label_on_the_line_of_its_text_is_read_where_it_is_clear(
    tmp_path: Path, form: str, labels: tuple[str, ...]
) -> None:
    lines = "\n".join(form.format(t=f"the text {n} is long", l=n % 2) for n in range(20))
    prepared = prepare(folder(tmp_path, a_txt=lines) / "a.txt")
    assert prepared.labels == labels and texts(prepared)[0] == "the text 0 is long"


def test_words_in_columns_are_refused_by_a_head_that_reads_texts(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        a_conll="Ada\tB-PER\nslept\tO\n\nOslo\tB-LOC\n",
        b_tsv="Ada\tB-PER\nslept\tO\n\nOslo\tB-LOC\n",
    )
    for name in ("a.conll", "b.tsv"):
        with pytest.raises(DataError, match="words and tags in columns"):
            load(data / name)


def test_rows_for_which_data_is_refused_are_written_and_the_file_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, a_csv="text,label\n,x\n,y\na,x\n") / "a.csv"
    with (
        pytest.raises(
            RejectedRowsError,
            match=r"empty text: 2, first `a\.csv:2` .*All 2 rows are in `.*refused_rows\.jsonl`",
        ),
        refused_rows_kept(tmp_path),
    ):
        prepare_rows(load(path), head_of(TEXT), ALL.model_copy(update={"max_invalid": 0.05}))
    assert len((tmp_path / "refused_rows.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("label", [["a", "b"], {"a": 1.0, "b": 1.0}])
def test_a_list_of_several_classes_points_to_a_multi_label_head(
    tmp_path: Path, label: object
) -> None:
    rows = [{"text": f"t{n}", "label": label if n % 2 else ["a"]} for n in range(6)]
    path = folder(tmp_path, a_jsonl="\n".join(map(json.dumps, rows))) / "a.jsonl"
    with pytest.raises(
        RejectedRowsError,
        match=r"list of several classes: 3, first `a\.jsonl:2` .*multi-label head: `task=topics`",
    ):
        prepare(path, data=ALL.model_copy(update={"max_invalid": 0.05}))


def test_parquet_shards_in_the_folder_data_are_one_split(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    folder(tmp_path, README_md="---\n---\n")
    for number in range(2):
        rows = pa.table(
            {"text": [f"{number} {n}" for n in range(8)], "label": [n % 2 for n in range(8)]}
        )
        parquet.write_table(rows, tmp_path / "data" / f"train-0000{number}-of-00002.parquet")
    loaded = load(tmp_path)
    assert [len(rows) for rows in loaded.splits.values()] == [16] and any(
        "its folder `data`" in note for note in loaded.notes
    )


def test_a_class_of_the_mapping_without_rows_is_not_put_down_to_a_limit(tmp_path: Path) -> None:
    data = folder(
        tmp_path, train_csv="text,label\n" + ROWS, mapping_txt="0\tbad\n1\tgood\n2\tnone\n"
    )
    notes = prepare(data).notes
    assert "train: no row has the class `none`" in notes
    assert any(
        "3 classes of `label`, in the order of `mapping.txt`" in note and "`none` 0" in note
        for note in notes
    )
    limited = prepare(data, data=ALL.model_copy(update={"limit": 6})).notes
    assert "train: no row that `data.limit` leaves has the class `none`" in limited


def test_a_header_that_is_repeated_is_no_row(tmp_path: Path) -> None:
    part = "text,label\n" + ROWS
    prepared = prepare(folder(tmp_path, a_csv=part + part.replace("text ", "other ")) / "a.csv")
    assert prepared.labels == ("0", "1") and causes(prepared) == {"a.csv:14": "repeats the header"}


def test_rows_below_two_keys_are_found_and_rows_without_names_are_refused(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n % 2} for n in range(6)]
    lists = [[f"t{n}", n % 2] for n in range(6)]
    folder(
        tmp_path,
        a_json=json.dumps({"data": {"rows": rows}}),
        b_json=json.dumps(lists),
        c_jsonl="\n".join(map(json.dumps, lists)),
    )
    assert len(load(tmp_path / "a.json").splits["train"]) == 6
    for name in ("b.json", "c.jsonl"):
        with pytest.raises(DataError, match="Write each row as an object that names its cells"):
            load(tmp_path / name)


def test_a_file_that_is_packed_twice_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(
        gzip.compress(gzip.compress(("text,label\n" + ROWS).encode()))
    )
    with pytest.raises(DataError, match="packed twice: unpack it"):
        load(tmp_path / "a.csv.gz")


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = (
        folder(
            tmp_path, a_json=json.dumps({str(n): {"text": "t", "label": n % 2} for n in range(500)})
        )
        / "a.json"
    )
    with pytest.raises(DataError, match=r"`49`, and 450 more\. Name it"):
        load(path)
