"""Parquet and Arrow files, and folders of `datasets.save_to_disk`: cells as Python values, classes of `ClassLabel` columns by name."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.data.rows import SourceFile, Table
from ftr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
_UNREADABLE = b"\xff"
"""Stands for a cell that Python has no value for: no text, so its row is rejected where the cell is needed."""


def read_parquet(content: bytes, path: Path) -> Table:
    """Return the table of a Parquet file. Raises `DataError`."""
    from pyarrow import parquet

    return _read(lambda: parquet.read_table(io.BytesIO(content)), path, "Parquet")


def read_arrow(content: bytes, path: Path) -> Table:
    """Return the table of an Arrow stream or file. Raises `DataError`."""
    import pyarrow as pa

    opened = pa.ipc.open_file if content.startswith(b"ARROW1") else pa.ipc.open_stream
    return _read(lambda: opened(io.BytesIO(content)).read_all(), path, "Arrow")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote the folder, for one dataset or for several splits."""
    return (folder / DICT).is_file() or ((folder / STATE).is_file() and (folder / INFO).is_file())


def saved_splits(folder: Path) -> list[str]:
    """Return the names of the splits in a folder that `DatasetDict.save_to_disk` wrote; none for a single dataset."""
    names = _json(folder / DICT).get("splits") if (folder / DICT).is_file() else None
    return [str(name) for name in names if Path(str(name)).name == str(name)] if isinstance(names, list) else []


def read_saved(folder: Path) -> tuple[Table, list[SourceFile]]:
    """Return the table of a folder that `Dataset.save_to_disk` wrote. Raises `DataError`."""
    listed = _json(folder / STATE).get("_data_files")
    names = [str(item.get("filename")) for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    features = _json(folder / INFO).get("features")
    whole, sources = Table([]), []
    for name in names:
        path = folder / Path(name).name
        if not path.is_file():
            raise DataError(f"folder `{folder}`: `{STATE}` names the file `{name}`, which is not there. Copy it, or save the dataset again")
        content = path.read_bytes()
        sources.append(SourceFile(str(path), hashlib.sha256(content).hexdigest(), len(content)))
        table = read_arrow(content, path)
        _name_classes(table, features)
        whole = Table(table.columns, whole.records + table.records, whole.places + table.places, classes=table.classes)
    if not whole.records:
        raise DataError(f"folder `{folder}` holds no rows")
    return whole, sources


def class_cells(values: Iterable[Any], names: Sequence[str]) -> list[Any]:
    """Return the names of class ids, and of lists of them; a number that is no id, such as -1, is None."""
    return [class_cells(value, names) if isinstance(value, list) else _class_cell(value, names) for value in values]


def _class_cell(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value


def _read(read: Any, path: Path, kind: str) -> Table:
    import pyarrow as pa

    try:
        table: pa.Table = read()
        columns = [_cells(column) for column in table.columns]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"file `{path}` is no readable {kind} file: {cause}. Copy or write it again") from None
    if not table.num_rows:
        raise DataError(f"file `{path}` holds no rows")
    records = [list(cells) for cells in zip(*columns, strict=True)]
    result = Table([str(name) for name in table.column_names], records, [f"{path.name}:{number}" for number in range(1, len(records) + 1)])
    metadata = table.schema.metadata or {}
    try:
        stored = json.loads(metadata.get(b"huggingface", b"{}"))
    except ValueError:
        stored = {}
    info = stored.get("info") if isinstance(stored, Mapping) else None
    _name_classes(result, info.get("features") if isinstance(info, Mapping) else None)
    return result


def _cells(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object
    except (ValueError, OverflowError):  # such as a time that `datetime` has no room for
        return _UNREADABLE


def _name_classes(table: Table, features: object) -> None:
    """Put the names of classes where the stored features of `datasets` say that a column holds class ids."""
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = _class_names(feature)
        if names and name in table.columns and name not in table.classes:
            place = table.columns.index(name)
            for record, cell in zip(table.records, class_cells([record[place] for record in table.records], names), strict=True):
                record[place] = cell
            table.classes[name] = names


def _class_names(feature: object) -> list[str]:
    """Return the names in a stored `ClassLabel`, or in a list of one."""
    if isinstance(feature, list):
        return _class_names(feature[0]) if feature else []
    if not isinstance(feature, Mapping):
        return []
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return [str(name) for name in names] if isinstance(names, list) else []
    return _class_names(feature.get("feature"))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"file `{path}` cannot be read: {error}. Save the dataset again") from None
    return document if isinstance(document, Mapping) else {}
