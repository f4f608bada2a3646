"""Tables: JSON and JSONL, Parquet and Arrow."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ftr.atomic import sha256
from ftr.data.arrow_check import validate
from ftr.data.files import split_lines
from ftr.data.rows import PIECE, PREDICT, Rejected, SourceFile, Table
from ftr.data.squad import is_squad, nest_questions, read_nested, read_squad
from ftr.errors import DataError, NoRowsError
from ftr.paths import fault, present

if TYPE_CHECKING:
    import pyarrow as pa


_FEW = 20
_WIDE = 0x2E80
"""The letters from here on are of scripts that mostly have no spaces."""


def few_values(values: Sequence[object]) -> bool:
    """Whether a column looks like classes: short values, few distinct ones, each repeated."""
    present = [str(value).strip() for value in values if value is not None and str(value).strip()]
    distinct = set(present)
    return (
        bool(present)
        and len(distinct) <= min(_FEW, len(present) // 2)
        and max(map(len, distinct)) <= 40
    )


def are_texts(values: Sequence[object]) -> bool:
    """Whether a column looks like texts: of several words, or in a script without spaces."""
    found = [value for value in values if isinstance(value, str) and value.strip()]
    if not found or len(found) < len(values) / 2 or few_values(found):
        return False
    words = sum(len(text.split()) for text in found) / len(found)
    wide = sum(any(ord(letter) > _WIDE for letter in text) for text in found) > len(found) / 2
    return words >= 2 or (wide and sum(map(len, found)) / len(found) >= 4)


def reject(table: Table, place: str, split: str, cause: str, row: Mapping[str, object]) -> None:
    """Add a row that cannot be used, behind the table's rows so far."""
    table.rejected.append(Rejected(place, split, cause, row, len(table.records)))


INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
_ARROW = b"ARROW1"
_UNREADABLE = b"\xff"
"""Replaces a cell that Python has no value for: not text, so rows that need it are rejected."""


def read_parquet(content: bytes, path: Path) -> Table:
    """Return the table of a Parquet file. Raises `DataError`."""
    from pyarrow import parquet

    return _whole(lambda: parquet.read_table(io.BytesIO(content)), path, "Parquet")


def first_rows(path: Path, count: int) -> Table:
    """Return the first rows of a Parquet file; the rest is not read. Raises `DataError`."""
    import pyarrow as pa
    from pyarrow import parquet

    def read() -> pa.Table:
        with parquet.ParquetFile(path) as file:
            return pa.Table.from_batches([next(file.iter_batches(count))])

    return _whole(read, path, "Parquet")


def read_arrow(content: bytes, path: Path) -> Table:
    """Return the table of an Arrow stream or file. Raises `DataError`."""
    import pyarrow as pa

    opened = pa.ipc.open_file if content.startswith(_ARROW) else pa.ipc.open_stream
    return _whole(lambda: opened(io.BytesIO(content)).read_all(), path, "Arrow")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote the folder, for one dataset or for several splits."""
    return (folder / DICT).is_file() or ((folder / STATE).is_file() and (folder / INFO).is_file())


def saved_splits(folder: Path) -> list[str]:
    """Return the splits in a folder that `DatasetDict.save_to_disk` wrote; none for one dataset."""
    names = _json(folder / DICT).get("splits") if (folder / DICT).is_file() else None
    return (
        [
            text
            for text in map(str, names)
            if Path(text).name == text and len(text) < 100 and fault(text) is None
        ]
        if isinstance(names, list)
        else []
    )


def read_saved(folder: Path) -> tuple[Table, list[SourceFile]]:
    """Return the table of a folder that `Dataset.save_to_disk` wrote. Raises `DataError`."""
    joined = Table([])
    for path, features in _saved_files(folder):
        content = path.read_bytes()
        table = read_arrow(content, path)
        name_classes(table, features)
        joined.columns, joined.classes = table.columns, table.classes
        joined.records += table.records
        joined.places += table.places
    if not joined.records:
        raise _no_rows(folder, "folder")
    return joined, saved_sources(folder)


def saved_sources(folder: Path) -> list[SourceFile]:
    """Return the records of the files of such a folder that hold rows."""
    return [
        SourceFile(str(path), sha256(path), path.stat().st_size) for path, _ in _saved_files(folder)
    ]


def saved_pieces(folder: Path) -> Iterator[Table]:
    """Yield the table of such a folder in pieces. Raises `DataError`."""
    empty = True
    for path, features in _saved_files(folder):
        with path.open("rb") as file:
            for table in arrow_pieces(file, path):
                name_classes(table, features)
                empty = False
                yield table
    if empty:
        raise _no_rows(folder, "folder")


def _saved_files(folder: Path) -> Iterator[tuple[Path, object]]:
    listed = _json(folder / STATE).get("_data_files")
    features = _json(folder / INFO).get("features")
    for item in listed if isinstance(listed, list) else []:
        if not isinstance(item, Mapping):
            continue
        name = str(item.get("filename"))
        path = folder / Path(name).name
        if not present(str(path)) or not path.is_file():
            raise DataError(
                f"folder `{folder}`: `{STATE}` names the file `{name[:80]}`, which is missing. "
                "Copy it, "
                "or save the dataset again"
            )
        yield path, features


def name_classes(table: Table, features: object) -> None:
    """Replace class ids by names, in the columns that `features` of `datasets` declare as classes.

    A number that is no id, such as -1, becomes None.
    """
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = _class_names(feature)
        if names and name in table.columns and name not in table.classes:
            index = table.columns.index(name)
            for record in table.records:
                record[index] = _named(record[index], names)
            table.classes[name] = names


def _named(cell: object, names: Sequence[str]) -> object:
    if isinstance(cell, list):
        return [_named(one, names) for one in cell]
    if isinstance(cell, int):
        return names[cell] if 0 <= cell < len(names) else None
    return cell


def _class_names(feature: object) -> list[str]:
    """Return the names in a stored `ClassLabel`, or in a list of one."""
    if isinstance(feature, list):
        return _class_names(feature[0]) if feature else []
    if not isinstance(feature, Mapping):
        return []
    if feature.get("_type") != "ClassLabel":
        return _class_names(feature.get("feature"))
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) else []


def parquet_pieces(file: Any, path: Path) -> Iterator[Table]:
    """Yield the table of an open Parquet file in pieces. Raises `DataError`."""
    from pyarrow import parquet

    return _arrow_pieces(
        lambda: parquet.ParquetFile(file, pre_buffer=False).iter_batches(PIECE), path, "Parquet"
    )


def arrow_pieces(file: Any, path: Path) -> Iterator[Table]:
    """Yield the table of an open Arrow stream or file in pieces. Raises `DataError`."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        is_file = file.read(len(_ARROW)) == _ARROW
        file.seek(0)
        if not is_file:
            yield from pa.ipc.open_stream(file)
            return
        opened = pa.ipc.open_file(file)
        yield from (opened.get_batch(number) for number in range(opened.num_record_batches))

    return _arrow_pieces(batches, path, "Arrow")


def _arrow_pieces(
    open_batches: Callable[[], Iterator[pa.RecordBatch]], path: Path, kind: str
) -> Iterator[Table]:
    import pyarrow as pa

    batches: list[Iterator[pa.RecordBatch]] = []
    rest: list[pa.RecordBatch] = []
    count = 0

    def read() -> pa.Table | None:
        if not batches:
            batches.append(open_batches())
        while not rest:
            batch = next(batches[0], None)
            if batch is None:
                return None
            rest.extend(batch.slice(at, PIECE) for at in range(0, batch.num_rows, PIECE))
        return pa.Table.from_batches([rest.pop(0)])

    while table := _from_arrow(read, path, kind, count):
        yield table
        count += len(table.places)
    if not count:
        raise _no_rows(path)


def _no_rows(path: Path, what: str = "file") -> NoRowsError:
    return NoRowsError(f"{what} `{path}` holds no rows")


def _whole(read: Callable[[], pa.Table], path: Path, kind: str) -> Table:
    table = _from_arrow(read, path, kind)
    if table is None or not table.records:
        raise _no_rows(path)
    return table


def _from_arrow(
    read: Callable[[], pa.Table | None], path: Path, kind: str, before: int = 0
) -> Table | None:
    """Return the table that is read, behind `before` rows; None: there is none."""
    import pyarrow as pa

    try:
        found = read()
        if found is None:
            return None
        validate(found)
        schema, count = found.schema, found.num_rows
        columns = [python_values(column) for column in found.columns]
        del found
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"file `{path}` is not a readable {kind} file: {cause}. Copy or write it again"
        ) from None
    numbers = range(before + 1, before + count + 1)
    table = Table(
        [str(name) for name in schema.names],
        [list(cells) for cells in zip(*columns, strict=True)],
        [f"{path.name}:{number}" for number in numbers],
        types=schema.types,
    )
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        stored = {}
    info = stored.get("info") if isinstance(stored, Mapping) else None
    name_classes(table, info.get("features") if isinstance(info, Mapping) else None)
    return table


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; a time that Python has no room for is its text."""
    import pyarrow as pa

    try:
        # Python's times end with microseconds: the rest would be dropped without a word.
        if column.type != pa.time64("ns"):
            return list(column.to_pylist())
    except (ValueError, OverflowError):
        pass
    return [_python_value(scalar) for scalar in column]


def _python_value(scalar: Any) -> Any:
    import pyarrow as pa

    kind = scalar.type
    try:
        if kind != pa.time64("ns") or not scalar.is_valid or not scalar.value % 1000:
            return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object
    except (ValueError, OverflowError):
        pass
    if pa.types.is_struct(kind):
        return {name: _python_value(item) for name, item in scalar.items()}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_python_value(item) for item in scalar.values]
    try:
        return scalar.cast(pa.string()).as_py()
    except pa.ArrowException:
        return _UNREADABLE


def _json(path: Path) -> Mapping[str, Any]:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"file `{path}` cannot be read: {error}. Save the dataset again") from None
    return document if isinstance(document, Mapping) else {}


_OBJECTS = (
    'Write each row as an object that names its cells, such as `{"text": "...", "label": "..."}`'
)


def read_json(text: str, name: str, split: str) -> Table:
    """Return the table in a JSON document of any form, or in JSONL. Raises `DataError`."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            if text.lstrip().startswith("{"):
                return read_jsonl(text, name, split)
            raise DataError(f"file `{name}` holds a JSON list on each line. {_OBJECTS}") from None
        raise _broken(name, error) from None
    if is_squad(document):
        return read_squad(document, name, split)
    if isinstance(document, Mapping):
        inner = next(iter(document.values()), None)
        if (
            len(document) == 1
            and isinstance(inner, Mapping)
            and any(map(_is_records, inner.values()))
        ):
            document = inner  # {"data": {"rows": [...]}}
        document = _from_columns(document) or next(
            (value for value in document.values() if _is_records(value)), document
        )
    if document == []:
        raise NoRowsError(f"file `{name}` holds no rows")
    if not _is_records(document):
        raise DataError(
            f"file `{name}` is JSON, but neither a list of objects, nor SQuAD's form "
            f"(`data[].paragraphs[].qas[]`), nor columns of lists. {_OBJECTS}"
        )
    return _table([(f"{name}:[{index}]", item) for index, item in enumerate(document)], split)


def read_jsonl(text: str, name: str, split: str) -> Table:
    """Return the table in a file of one JSON object a line. Raises `DataError` naming the line."""
    if text.lstrip().startswith("["):
        return read_json(text, name, split)
    items: list[tuple[str, object]] = []
    for number, line in enumerate(split_lines([text]), start=1):
        if not line.strip():
            continue
        try:
            items.append((f"{name}:{number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not items and (document := _squad_document(text)) is not None:
                return read_squad(document, name, split)
            items.append(_invalid(error, line.removesuffix("\n"), name, number, split))
    return _items_table(items, split, nested=nest_questions([item for _, item in items]))


def _invalid(
    error: ValueError | RecursionError, line: str, name: str, number: int, split: str
) -> tuple[str, object]:
    if split != PREDICT:
        raise _broken(name, error, number) from None
    place = f"{name}:{number}"
    return place, Rejected(place, split, "not valid JSON", {"line": line[:200]})


def nested_lines(start: str, name: str) -> bool | None:
    """Return whether JSONL whose text begins so nests questions in its rows, as SQuAD does; None
    for a text that is a JSON document, over several lines or as a list.
    """
    first = list(islice((line for line in start.split("\n") if line.strip()), 2))
    if start.lstrip().startswith("[") or not any(map(_parses, first)):
        return None
    return nest_questions([item for _, item in _line_items(start.split("\n"), name, PREDICT)])


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _line_items(lines: Iterable[str], name: str, split: str) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{name}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                yield _invalid(error, line.removesuffix("\n"), name, number, split)


def jsonl_pieces(
    pieces: Iterable[str],
    name: str,
    split: str,
    *,
    nested: bool = False,
    columns: Sequence[str] = (),
) -> Iterator[Table]:
    """Yield the tables of a JSONL text in pieces, with `columns`, else those of its own rows.

    Raises `DataError` for a line that is not JSON, unless the rows are to be predicted.
    """
    items = _line_items(split_lines(pieces), name, split)
    while piece := list(islice(items, PIECE)):
        yield read_nested(piece, split) if nested else _table(piece, split, columns)


def _items_table(items: list[tuple[str, object]], split: str, *, nested: bool) -> Table:
    return read_nested(items, split) if nested else _table(items, split)


def _squad_document(text: str) -> object:
    """Return the SQuAD document that takes all lines of `text`, or None."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if is_squad(document) else None


def _table(items: list[tuple[str, object]], split: str, columns: Sequence[str] = ()) -> Table:
    """Return the items, with their places, as a table, with `columns` or those of the items. They
    are taken out of the list, so that memory holds them once.
    """
    rows = (item for _, item in items if isinstance(item, Mapping))
    table = Table(list(columns or dict.fromkeys(str(key) for row in rows for key in row)))
    for number, (place, item) in enumerate(items):
        items[number] = place, None
        if isinstance(item, Mapping):
            table.records.append([item.get(column) for column in table.columns])
            table.places.append(place)
        elif isinstance(item, Rejected):
            table.rejected.append(replace(item, after=len(table.records)))
        else:
            reject(table, place, split, "not a JSON object", {"value": item})
    return table


def _is_records(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _from_columns(document: Mapping[str, object]) -> list[dict[str, object]] | None:
    """Return the rows of a document of columns: `{"text": [...]}`, or `{"text": {"0": ...}}`."""
    columns = [
        list(value.values()) if isinstance(value, Mapping) else value for value in document.values()
    ]
    lists = [value for value in columns if isinstance(value, list) and not _is_records(value)]
    if len(lists) != len(document) or len(set(map(len, lists))) != 1:
        return None
    return [dict(zip(document, cells, strict=True)) for cells in zip(*lists, strict=True)]


def _broken(name: str, error: ValueError | RecursionError, line: int | None = None) -> DataError:
    if not isinstance(error, json.JSONDecodeError):
        where = f" at line {line}" if line else ""
        why = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else str(error).partition(";")[0]
        )
        return DataError(f"file `{name}` cannot be read as JSON{where}: {why}")
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    return DataError(
        f"file `{name}` is not valid JSON at line {line or error.lineno}, column {error.colno}: "
        f"{error.msg}" + (". It seems to be cut off there: fetch it again" if cut else "")
    )
