"""Tables: CSV and TSV, JSON and JSONL, Parquet and Arrow."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ftr.atomic import sha256
from ftr.config.schema import FileOptions, Quoting
from ftr.data.rows import PREDICT, Rejected, SourceFile, Table
from ftr.data.squad import is_squad, nest_questions, read_nested, read_squad
from ftr.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


Line = tuple[int, list[str]]

_DELIMITERS = (",", "\t", ";", "|")
_FEW = 20
_SEP_LINE = re.compile(r"\"?sep=([^\r\n\"])\"?\r?\n", re.IGNORECASE)


def read_delimited(
    text: str, name: str, split: str, options: FileOptions, known: frozenset[str], *, tabs: bool
) -> Table:
    """Return the table in `text`; `known` holds the column names, in lower case, that mark a
    header.

    Rows of another width than the first are rejected. Raises `DataError` for quotes that do not
    close.
    """
    text, hinted = _without_sep_line(text)
    first = 2 if hinted else 1
    delimiter = options.delimiter or hinted or ("\t" if tabs else guess_delimiter(text))
    guessed_quoting = options.quoting == "auto" and delimiter == "\t"
    quoting = _tab_quoting(text, delimiter) if guessed_quoting else options.quoting
    lines = list(_lines(text, name, delimiter, quoting, first))
    rows = [(number, cells) for number, cells in lines if any(cell.strip() for cell in cells)]
    if not rows:
        raise DataError(f"file `{name}` holds no rows")
    header = _is_header(rows, known) if options.header == "auto" else options.header
    top = rows[0][1]
    width = len(top) if header else Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    table = Table(
        columns=[cell.strip() for cell in top] if header else [str(n) for n in range(width)],
        header=header,
    )
    table.guessed_header = header and options.header == "auto"
    _fill(table, rows[1:] if header else rows, name, split, top if header else [])
    if len(lines) > len(rows):
        table.notes.append(f"{name}: {len(lines) - len(rows)} blank lines skipped")
    if options.delimiter is None and not tabs and delimiter != ",":
        how = "from its `sep=` line" if hinted else "guessed (otherwise: `dataset.delimiter=`)"
        table.notes.append(f"{name}: delimiter {delimiter!r} {how}")
    if guessed_quoting and '"' in text:
        how = "taken as text" if quoting == "none" else "taken as quoting cells"
        table.notes.append(
            f"{name}: quotes {how} (otherwise: "
            f"`dataset.quoting={'standard' if quoting == 'none' else 'none'}`)"
        )
    if not header:
        table.notes.append(
            f"{name}: no header row"
            + (" (guessed; otherwise: `dataset.header=true`)" if options.header == "auto" else "")
        )
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


def _fill(table: Table, rows: list[Line], name: str, split: str, header: list[str]) -> None:
    width = len(table.columns)
    for number, cells in rows:
        place = f"{name}:{number}"
        if len(cells) == width and cells != header:
            table.records.append(list(cells))
            table.places.append(place)
        else:
            # Files that were joined have the header of each.
            cause = "repeats the header" if cells == header else "wrong number of cells"
            table.rejected.append(
                Rejected(
                    place, split, cause, {"cells": cells, "expected": width}, len(table.records)
                )
            )


def _without_sep_line(text: str) -> tuple[str, str | None]:
    """Return the text without the line that Excel puts above a header (`sep=;`), and the delimiter
    in it.
    """
    match = _SEP_LINE.match(text)
    return (text[match.end() :], match[1]) if match else (text, None)


def _lines(
    text: str, name: str, delimiter: str, quoting: Quoting, start: int = 1
) -> Iterator[Line]:
    if quoting == "none":
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=start):
            yield number, line.removesuffix("\r").split(delimiter)
        return
    csv.field_size_limit(sys.maxsize)
    # newline="" leaves line ends inside cells alone and splits at \n, \r and \r\n only: U+0085 is
    # text.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=quoting != "lenient"
    )
    before = start - 1
    try:
        for cells in reader:
            yield start, cells
            start = before + reader.line_num + 1
    except csv.Error as error:
        why = (
            _unclosed(text, start - before, delimiter, before)
            if "end of data" in str(error)
            else str(error)
        )
        raise DataError(
            f"file `{name}`, row beginning on line {start}: {why}. A quote inside a quoted cell "
            "must be doubled; if quotes are plain text give `dataset.quoting=none`, to read on "
            "regardless `dataset.quoting=lenient`"
        ) from None


def _unclosed(text: str, first: int, delimiter: str, before: int) -> str:
    """Return on which line the quote opens that never closes, in the row that begins on line
    `first` of `text`.
    """
    lines = io.StringIO(text, newline="").readlines()[first - 1 :]
    row = "".join(lines)
    cells = re.finditer(rf'(?:\A|(?<=[{re.escape(delimiter)}\r\n]))"[^"]*+(?:""[^"]*+)*+("?)', row)
    opened = next((cell.start() for cell in cells if not cell[1]), 0)
    above = io.StringIO(row[:opened] + '"', newline="").readlines()
    return f"the quote that opens on line {before + first + len(above) - 1} is never closed"


def guess_delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows one number of cells, above 1; the
    comma where none does better.
    """
    csv.field_size_limit(sys.maxsize)
    best, most = ",", 0.5
    for delimiter in _DELIMITERS:
        try:
            rows = [
                len(cells)
                for cells in islice(
                    csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 50
                )
                if cells
            ]
        except csv.Error:
            continue
        width, count = Counter(rows).most_common(1)[0] if rows else (0, 0)
        if width > 1 and count / len(rows) > most:
            best, most = delimiter, count / len(rows)
    return best


def _tab_quoting(text: str, delimiter: str) -> Quoting:
    """TSV quotes nothing (GLUE's are full of lone quotes), unless every cell with a quote is a well
    quoted one.
    """
    if '"' not in text:
        return "none"
    bare = [cells for _, cells in _lines(text, "", delimiter, "none")]
    cells = [cell for line in bare for cell in line if '"' in cell]
    if len({len(line) for line in bare if line != [""]}) == 1:
        return (
            "standard"
            if all(map(_well_quoted, cells)) and any('""' in cell[1:-1] for cell in cells)
            else "none"
        )
    try:
        widths = {len(line) for _, line in _lines(text, "", delimiter, "standard") if line}
    except DataError:
        return "none"
    return "standard" if len(widths) == 1 else "none"


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
    return True


INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
_UNREADABLE = b"\xff"
"""Stands for a cell that Python has no value for: no text, so its row is rejected where the cell is
needed.
"""


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
    """Return the names of the splits in a folder that `DatasetDict.save_to_disk` wrote; none for a
    single dataset.
    """
    names = _json(folder / DICT).get("splits") if (folder / DICT).is_file() else None
    return (
        [str(name) for name in names if Path(str(name)).name == str(name)]
        if isinstance(names, list)
        else []
    )


def read_saved(folder: Path) -> tuple[Table, list[SourceFile]]:
    """Return the table of a folder that `Dataset.save_to_disk` wrote. Raises `DataError`."""
    listed = _json(folder / STATE).get("_data_files")
    names = (
        [str(item.get("filename")) for item in listed if isinstance(item, Mapping)]
        if isinstance(listed, list)
        else []
    )
    features = _json(folder / INFO).get("features")
    whole, sources = Table([]), []
    for name in names:
        path = folder / Path(name).name
        if not path.is_file():
            raise DataError(
                f"folder `{folder}`: `{STATE}` names the file `{name}`, which is not there. Copy "
                "it, or save the dataset again"
            )
        content = path.read_bytes()
        sources.append(SourceFile(str(path), sha256(content), len(content)))
        table = read_arrow(content, path)
        _name_classes(table, features)
        whole = Table(
            table.columns,
            whole.records + table.records,
            whole.places + table.places,
            classes=table.classes,
        )
    if not whole.records:
        raise DataError(f"folder `{folder}` holds no rows")
    return whole, sources


def class_cells(values: Iterable[Any], names: Sequence[str]) -> list[Any]:
    """Return the names of class ids, and of lists of them; a number that is no id, such as -1, is
    None.
    """
    return [
        class_cells(value, names) if isinstance(value, list) else _class_cell(value, names)
        for value in values
    ]


def _class_cell(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value


def _read(read: Any, path: Path, kind: str) -> Table:
    import pyarrow as pa

    try:
        table: pa.Table = read()
        columns = [_cells(column) for column in table.columns]
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
            f"file `{path}` is no readable {kind} file: {cause}. Copy or write it again"
        ) from None
    if not table.num_rows:
        raise DataError(f"file `{path}` holds no rows")
    records = [list(cells) for cells in zip(*columns, strict=True)]
    result = Table(
        [str(name) for name in table.column_names],
        records,
        [f"{path.name}:{number}" for number in range(1, len(records) + 1)],
    )
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
    """Put the names of classes where the stored features of `datasets` say that a column holds
    class ids.
    """
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = _class_names(feature)
        if names and name in table.columns and name not in table.classes:
            place = table.columns.index(name)
            for record, cell in zip(
                table.records,
                class_cells([record[place] for record in table.records], names),
                strict=True,
            ):
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


_OBJECTS = (
    'Write each row as an object that names its cells, such as `{"text": "...", "label": "..."}`'
)


def read_json(text: str, name: str, split: str) -> Table:
    """Return the table in a JSON document, whatever its form; JSONL under a `.json` name is seen.

    Raises `DataError`.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if (
            isinstance(error, json.JSONDecodeError)
            and error.msg == "Extra data"
            and text.lstrip().startswith("{")
        ):
            return read_jsonl(text, name, split)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            raise DataError(f"file `{name}` holds a JSON list on each line. {_OBJECTS}") from None
        _broken(name, error)
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
    assert isinstance(document, list)
    return _table([(f"{name}:[{index}]", item) for index, item in enumerate(document)], split)


def read_jsonl(text: str, name: str, split: str) -> Table:
    """Return the table in a file of one JSON object a line. Raises `DataError` naming the line."""
    if text.lstrip().startswith("["):
        return read_json(text, name, split)
    items: list[tuple[str, object]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append((f"{name}:{number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not items and (document := _whole(text)) is not None:
                return read_squad(document, name, split)
            if split != PREDICT:
                _broken(name, error, number)
            items.append(
                (
                    f"{name}:{number}",
                    Rejected(f"{name}:{number}", split, "not valid JSON", {"line": line[:200]}),
                )
            )
    if nest_questions([item for _, item in items]):
        return read_nested(items, split)
    return _table(items, split)


def _whole(text: str) -> object:
    """Return the SQuAD document that takes all lines of `text`, or None."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if is_squad(document) else None


def _table(items: Sequence[tuple[str, object]], split: str) -> Table:
    columns = list(
        dict.fromkeys(str(key) for _, item in items if isinstance(item, Mapping) for key in item)
    )
    table = Table(columns)
    for place, item in items:
        if isinstance(item, Mapping):
            table.records.append([item.get(column) for column in columns])
            table.places.append(place)
        else:
            bad = (
                item
                if isinstance(item, Rejected)
                else Rejected(place, split, "not a JSON object", {"value": item})
            )
            table.rejected.append(replace(bad, after=len(table.records)))
    return table


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _from_columns(document: Mapping[str, object]) -> list[dict[str, object]] | None:
    columns = {
        key: list(value.values()) if isinstance(value, Mapping) else value
        for key, value in document.items()
    }
    lists = {
        key: value
        for key, value in columns.items()
        if isinstance(value, list) and not _is_records(value)
    }
    if len(lists) != len(document) or len({len(value) for value in lists.values()}) != 1:
        return None
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]


def _broken(name: str, error: ValueError | RecursionError, line: int | None = None) -> NoReturn:
    if not isinstance(error, json.JSONDecodeError):
        where = f" at line {line}" if line else ""
        why = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else str(error).partition(";")[0]
        )
        raise DataError(f"file `{name}` cannot be read as JSON{where}: {why}") from None
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    raise DataError(
        f"file `{name}` is not valid JSON at line {line or error.lineno}, column {error.colno}: "
        f"{error.msg}" + (". It seems to be cut off there: fetch it again" if cut else "")
    ) from None
