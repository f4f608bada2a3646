"""Parquet and Arrow files with broken text or broken offsets."""

import json
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from ftr.errors import DataError
from readers import causes, load, prepare, texts, unlabelled

TEXTS = [b"good film", b"caf\xe9", b"bad film"]


def broken_text() -> pa.Array:
    return pa.array(TEXTS, pa.binary()).view(pa.string())


def write_arrow(path: Path, table: pa.Table) -> Path:
    with path.open("wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_text_that_is_not_utf8_rejects_its_row_and_no_other(
    ending: str, kind: str, tmp_path: Path
) -> None:
    text = broken_text()
    if kind == "large_string":
        text = pa.array(TEXTS, pa.large_binary()).view(pa.large_string())
    elif kind == "dictionary":
        text = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), text)
    table, path = pa.table({"text": text, "label": ["x", "y", "y"]}), tmp_path / f"a.{ending}"
    if ending == "parquet":
        parquet.write_table(table, path)
    else:
        write_arrow(path, table)
    prepared = prepare(path)
    assert texts(prepared) == ["good film", "bad film"]
    cause = "text is not UTF-8 text: it has a broken byte"
    assert causes(prepared) == {f"a.{ending}:2": cause}
    assert unlabelled(path).rejected == [(f"a.{ending}:2", cause, 1)]


def test_broken_text_in_a_list_is_no_broken_file(tmp_path: Path) -> None:
    lists = pa.ListArray.from_arrays([0, 1, 2, 3], broken_text())
    table = pa.table({"text": ["a", "b", "c"], "label": ["x", "y", "y"], "other": lists})
    assert texts(prepare(write_arrow(tmp_path / "a.arrow", table))) == ["a", "b", "c"]


@pytest.mark.parametrize("offsets", [(0, 5, 3, 9), (0, 3, 6, 1 << 30), (-9, 3, 6, 9)])
def test_offsets_that_lead_out_of_an_arrow_file_are_refused(
    offsets: tuple[int, ...], tmp_path: Path
) -> None:
    right = struct.pack("<4i", 0, 3, 6, 9)
    table = pa.table({"text": ["abc", "def", "ghi"], "label": ["x", "y", "y"]})
    path = write_arrow(tmp_path / "a.arrow", table)
    content = path.read_bytes()
    assert content.count(right) == 1
    path.write_bytes(content.replace(right, struct.pack("<4i", *offsets)))
    with pytest.raises(DataError, match="is not a readable Arrow file"):
        load(path)
    with pytest.raises(DataError, match="is not a readable Arrow file"):
        unlabelled(path)


@pytest.mark.parametrize("name", ["gone.arrow", "9" * 5000, "", "a\0b"])
def test_a_folder_of_save_to_disk_names_the_file_that_it_lacks(name: str, tmp_path: Path) -> None:
    state = {"_data_files": [{"filename": name}]}
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"`state\.json` names the file .*, which is missing"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["[" * 2000, "a\0b", "\ud83d"])
def test_a_split_whose_name_cannot_be_a_folder_is_not_looked_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": [name]}), encoding="utf-8")
    with pytest.raises(DataError):
        load(tmp_path)
