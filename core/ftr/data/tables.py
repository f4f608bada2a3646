"""Tables: CSV and TSV, JSON and JSONL, Parquet and Arrow."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ftr.atomic import sha256
from ftr.config.schema import FileOptions, Quoting
from ftr.data.files import lines_of
from ftr.data.rows import PREDICT, Rejected, SourceFile, Table
from ftr.data.squad import is_squad, nest_questions, read_nested, read_squad
from ftr.errors import DataError
from ftr.registry.isolation import ProcessLock

if TYPE_CHECKING:
    import pyarrow as pa


Line = tuple[int, list[str]]

_DELIMITERS = (",", "\t", ";", "|")
_FEW = 20
_WIDE = 0x2E80
"""The letters from here on are of scripts that mostly have no spaces."""
_SEP_LINE = re.compile(r"\"?sep=([^\r\n\"])\"?\r?\n", re.IGNORECASE)
_CSV_LIMIT = ProcessLock()


def read_delimited(
    text: str, name: str, split: str, options: FileOptions, known: frozenset[str], *, tabs: bool
) -> Table:
    """Return the table in `text`; a row with one of the names `known`, in lower case, is a header.

    Rows of another width are rejected. Raises `DataError` for quotes that do not close.
    """
    sep = _SEP_LINE.match(text)  # Excel writes `sep=;` above the header
    text = text[sep.end() :] if sep else text
    delimiter = options.delimiter or (sep and sep[1]) or ("\t" if tabs else guess_delimiter(text))
    guessed_quoting = options.quoting == "auto" and delimiter == "\t"
    quoting = _tab_quoting(text) if guessed_quoting else options.quoting
    lines = _lines(text, name, delimiter, quoting, first=2 if sep else 1)
    rows = [(number, cells) for number, cells in lines if any(cell.strip() for cell in cells)]
    if not rows:
        raise DataError(f"file `{name}` holds no rows")
    header = _is_header(rows, known) if options.header == "auto" else options.header
    table = _filled(rows, name, split, header=header)
    table.guessed_header = header and options.header == "auto"
    if len(lines) > len(rows):
        table.notes.append(f"{name}: {len(lines) - len(rows)} blank lines skipped")
    if options.delimiter is None and not tabs and delimiter != ",":
        how = "from its `sep=` line" if sep else "guessed (otherwise: `dataset.delimiter=`)"
        table.notes.append(f"{name}: delimiter {delimiter!r} {how}")
    if guessed_quoting and '"' in text:
        how, other = ("text", "standard") if quoting == "none" else ("quoting cells", "none")
        table.notes.append(f"{name}: quotes taken as {how} (otherwise: `dataset.quoting={other}`)")
    if not header:
        how = " (guessed; otherwise: `dataset.header=true`)" if options.header == "auto" else ""
        table.notes.append(f"{name}: no header row{how}")
    return table


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


def _filled(rows: list[Line], name: str, split: str, *, header: bool) -> Table:
    top = rows[0][1]
    width = len(top) if header else Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    columns = [cell.strip() for cell in top] if header else [str(n) for n in range(width)]
    table = Table(columns, header=header)
    for number, cells in rows[1:] if header else rows:
        if len(cells) == width and not (header and cells == top):
            table.records.append(list(cells))
            table.places.append(f"{name}:{number}")
        else:
            # Files that were joined have the header of each.
            cause = "repeats the header" if cells == top and header else "wrong number of cells"
            reject(table, f"{name}:{number}", split, cause, {"cells": cells, "expected": width})
    return table


@contextmanager
def _any_cell_size() -> Iterator[None]:
    """Lift the limit of `csv`, which belongs to the whole process, until the block ends."""
    with _CSV_LIMIT:
        limit = csv.field_size_limit(sys.maxsize)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _lines(text: str, name: str, delimiter: str, quoting: Quoting, first: int = 1) -> list[Line]:
    """Return the cells of each row, with the number of the line that it begins on."""
    if quoting == "none":
        return [(n, line.split(delimiter)) for n, line in enumerate(lines_of(text), start=first)]
    rows: list[Line] = []
    number = first
    # newline="" leaves line ends inside cells alone and splits at \n, \r and \r\n only: U+0085 is
    # text.
    source = io.StringIO(text, newline="")
    try:
        with _any_cell_size():
            reader = csv.reader(source, delimiter=delimiter, strict=quoting != "lenient")
            for cells in reader:
                rows.append((number, cells))
                number = first + reader.line_num
    except csv.Error as error:
        why = str(error)
        if "end of data" in why:
            opened = first + _unclosed(text, number - first, delimiter)
            why = f"the quote that opens on line {opened} is never closed"
        raise DataError(
            f"file `{name}`, row beginning on line {number}: {why}. A quote inside a quoted cell "
            "must be doubled; if quotes are plain text give `dataset.quoting=none`, to read on "
            "regardless `dataset.quoting=lenient`"
        ) from None
    return rows


def _unclosed(text: str, row: int, delimiter: str) -> int:
    """Return the index of the line, in the row from line `row`, whose quote never closes."""
    rest = "".join(io.StringIO(text, newline="").readlines()[row:])
    cells = re.finditer(rf'(?:\A|(?<=[{re.escape(delimiter)}\r\n]))"[^"]*+(?:""[^"]*+)*+("?)', rest)
    opened = next((cell.start() for cell in cells if not cell[1]), 0)
    return row + len(io.StringIO(rest[:opened] + '"', newline="").readlines()) - 1


def guess_delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows one width above 1, else the comma."""
    best, most = ",", 0.5
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            with _any_cell_size():
                rows = [len(cells) for cells in islice(reader, 50) if cells]
        except csv.Error:
            continue
        width, count = Counter(rows).most_common(1)[0] if rows else (0, 0)
        if width > 1 and count / len(rows) > most:
            best, most = delimiter, count / len(rows)
    return best


def _tab_quoting(text: str) -> Quoting:
    """TSV quotes nothing (GLUE has lone quotes), unless all cells with a quote are well quoted."""
    if '"' not in text:
        return "none"
    bare = [cells for _, cells in _lines(text, "", "\t", "none")]
    cells = [cell for line in bare for cell in line if '"' in cell]
    if len({len(line) for line in bare if line != [""]}) == 1:
        quoted = all(map(_well_quoted, cells)) and any('""' in cell[1:-1] for cell in cells)
    else:
        try:
            lines = _lines(text, "", "\t", "standard")
        except DataError:
            return "none"
        quoted = len({len(line) for _, line in lines if line}) == 1
    return "standard" if quoted else "none"


def _well_quoted(cell: str) -> bool:
    inner = cell[1:-1]
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")


def _is_header(rows: list[Line], known: frozenset[str]) -> bool:
    first = rows[0][1]
    if any(cell.strip().lower() in known for cell in first):
        return True
    body = [cells for _, cells in rows[1:1001] if len(cells) == len(first)]
    for index, cell in enumerate(first):
        values = [cells[index] for cells in body]
        if few_values(values) and cell.strip() in {value.strip() for value in values}:
            return False
        if values and all(map(_is_number, [cell, *values])):
            return False
    return True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
_UNREADABLE = b"\xff"
"""Replaces a cell that Python has no value for: not text, so rows that need it are rejected."""


def read_parquet(content: bytes, path: Path) -> Table:
    """Return the table of a Parquet file. Raises `DataError`."""
    from pyarrow import parquet

    return _from_arrow(lambda: parquet.read_table(io.BytesIO(content)), path, "Parquet")


def first_rows(path: Path, count: int) -> Table:
    """Return the first rows of a Parquet file; the rest is not read. Raises `DataError`."""
    import pyarrow as pa
    from pyarrow import parquet

    def read() -> pa.Table:
        with parquet.ParquetFile(path) as file:
            return pa.Table.from_batches([next(file.iter_batches(count))])

    return _from_arrow(read, path, "Parquet")


def read_arrow(content: bytes, path: Path) -> Table:
    """Return the table of an Arrow stream or file. Raises `DataError`."""
    import pyarrow as pa

    opened = pa.ipc.open_file if content.startswith(b"ARROW1") else pa.ipc.open_stream
    return _from_arrow(lambda: opened(io.BytesIO(content)).read_all(), path, "Arrow")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote the folder, for one dataset or for several splits."""
    return (folder / DICT).is_file() or ((folder / STATE).is_file() and (folder / INFO).is_file())


def saved_splits(folder: Path) -> list[str]:
    """Return the splits in a folder that `DatasetDict.save_to_disk` wrote; none for one dataset."""
    names = _json(folder / DICT).get("splits") if (folder / DICT).is_file() else None
    return (
        [str(name) for name in names if Path(str(name)).name == str(name)]
        if isinstance(names, list)
        else []
    )


def read_saved(folder: Path) -> tuple[Table, list[SourceFile]]:
    """Return the table of a folder that `Dataset.save_to_disk` wrote. Raises `DataError`."""
    listed = _json(folder / STATE).get("_data_files")
    features = _json(folder / INFO).get("features")
    joined, sources = Table([]), []
    for item in listed if isinstance(listed, list) else []:
        if not isinstance(item, Mapping):
            continue
        name = str(item.get("filename"))
        path = folder / Path(name).name
        if not path.is_file():
            raise DataError(
                f"folder `{folder}`: `{STATE}` names the file `{name}`, which is missing. Copy it, "
                "or save the dataset again"
            )
        content = path.read_bytes()
        sources.append(SourceFile(str(path), sha256(content), len(content)))
        table = read_arrow(content, path)
        name_classes(table, features)
        joined.columns, joined.classes = table.columns, table.classes
        joined.records += table.records
        joined.places += table.places
    if not joined.records:
        raise DataError(f"folder `{folder}` holds no rows")
    return joined, sources


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


def _from_arrow(read: Callable[[], pa.Table], path: Path, kind: str) -> Table:
    import pyarrow as pa

    try:
        found = read()
        columns = [_cells(column) for column in found.columns]
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
    if not found.num_rows:
        raise DataError(f"file `{path}` holds no rows")
    table = Table(
        [str(name) for name in found.column_names],
        [list(cells) for cells in zip(*columns, strict=True)],
        [f"{path.name}:{number}" for number in range(1, found.num_rows + 1)],
    )
    try:
        stored = json.loads((found.schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        stored = {}
    info = stored.get("info") if isinstance(stored, Mapping) else None
    name_classes(table, info.get("features") if isinstance(info, Mapping) else None)
    return table


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
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            items.append((place, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not items and (document := _squad_document(text)) is not None:
                return read_squad(document, name, split)
            if split != PREDICT:
                raise _broken(name, error, number) from None
            items.append((place, Rejected(place, split, "not valid JSON", {"line": line[:200]})))
    if nest_questions([item for _, item in items]):
        return read_nested(items, split)
    return _table(items, split)


def _squad_document(text: str) -> object:
    """Return the SQuAD document that takes all lines of `text`, or None."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if is_squad(document) else None


def _table(items: Sequence[tuple[str, object]], split: str) -> Table:
    rows = [item for _, item in items if isinstance(item, Mapping)]
    table = Table(list(dict.fromkeys(str(key) for row in rows for key in row)))
    for place, item in items:
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
