"""JSON and JSONL: lists of objects, columns of lists, and SQuAD's nested form."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from ftr.data.rows import PREDICT, Rejected, Table
from ftr.data.squad import is_squad, nest_questions, read_nested, read_squad
from ftr.errors import DataError

_OBJECTS = 'Write each row as an object that names its cells, such as `{"text": "...", "label": "..."}`'


def read_json(text: str, name: str, split: str) -> Table:
    """Return the table in a JSON document, whatever its form; JSONL under a `.json` name is seen. Raises `DataError`."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and text.lstrip().startswith("{"):
            return read_jsonl(text, name, split)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            raise DataError(f"file `{name}` holds a JSON list on each line. {_OBJECTS}") from None
        _broken(name, error)
    if is_squad(document):
        return read_squad(document, name, split)
    if isinstance(document, Mapping):
        inner = next(iter(document.values()), None)
        if len(document) == 1 and isinstance(inner, Mapping) and any(map(_is_records, inner.values())):
            document = inner  # {"data": {"rows": [...]}}
        document = _from_columns(document) or next((value for value in document.values() if _is_records(value)), document)
    if not _is_records(document):
        raise DataError(
            f"file `{name}` is JSON, but neither a list of objects, nor SQuAD's form (`data[].paragraphs[].qas[]`), nor columns of lists. "
            f"{_OBJECTS}"
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
            items.append((f"{name}:{number}", Rejected(f"{name}:{number}", split, "not valid JSON", {"line": line[:200]})))
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
    columns = list(dict.fromkeys(str(key) for _, item in items if isinstance(item, Mapping) for key in item))
    table = Table(columns)
    for place, item in items:
        if isinstance(item, Mapping):
            table.records.append([item.get(column) for column in columns])
            table.places.append(place)
        else:
            bad = item if isinstance(item, Rejected) else Rejected(place, split, "not a JSON object", {"value": item})
            table.rejected.append(replace(bad, after=len(table.records)))
    return table


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _from_columns(document: Mapping[str, object]) -> list[dict[str, object]] | None:
    columns = {key: list(value.values()) if isinstance(value, Mapping) else value for key, value in document.items()}
    lists = {key: value for key, value in columns.items() if isinstance(value, list) and not _is_records(value)}
    if len(lists) != len(document) or len({len(value) for value in lists.values()}) != 1:
        return None
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]


def _broken(name: str, error: ValueError | RecursionError, line: int | None = None) -> NoReturn:
    if not isinstance(error, json.JSONDecodeError):
        where = f" at line {line}" if line else ""
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise DataError(f"file `{name}` cannot be read as JSON{where}: {why}") from None
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    raise DataError(
        f"file `{name}` is not valid JSON at line {line or error.lineno}, column {error.colno}: {error.msg}"
        + (". It seems to be cut off there: fetch it again" if cut else "")
    ) from None
