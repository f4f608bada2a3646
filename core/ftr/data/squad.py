"""SQuAD's nested JSON, v1.1 and v2.0, and what is nested like it, flattened to one record per question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ftr.data.rows import Rejected, Table
from ftr.errors import DataError

COLUMNS = ["id", "title", "context", "question", "answers"]
EXTRA = ["answer_start", "is_impossible"]
"""Columns that a table has only where a question has them."""
_NAMES = {
    "id": ("id", "qid", "question_id"),
    "context": ("context", "passage", "paragraph"),
    "question": ("question", "query"),
    "answers": ("answers", "answer", "answer_text"),
}
_LOOK_AT = 100
"""Items of a list that are looked at to tell its form."""
_DEPTH = 8


def is_squad(document: object) -> bool:
    """Whether questions are nested: `{"data": [{"paragraphs": ...}]}`, `{"context": ..., "qas": [...]}`, or lists of either."""
    data = document.get("data") if isinstance(document, Mapping) else None
    articles = isinstance(data, list) and any(isinstance(item, Mapping) and "paragraphs" in item for item in data)
    return articles or _nests(document)


def read_squad(document: object, name: str, split: str) -> Table:
    """Return one record per question; `plausible_answers` are left aside, malformed parts are rejected at their place.

    Raises `DataError` when the document has another form, or holds several sets of questions side by side.
    """
    if not is_squad(document):
        raise DataError(f"file `{name}` does not have SQuAD's form: `data[].paragraphs[].qas[]`")
    return read_nested([(f"{name}:", document)], split)


def read_nested(items: list[tuple[str, object]], split: str) -> Table:
    """Return one record per question in documents given with their places. Raises `DataError` as `read_squad` does."""
    table = Table([*COLUMNS, *EXTRA])
    for place, document in items:
        if isinstance(document, Rejected):
            table.rejected.append(replace(document, after=len(table.records)))
        elif not (isinstance(document, Mapping) and set(document) == {"header"}):  # the first line of MRQA's files
            _walk(document, place, None, split, table)
    for column in reversed(EXTRA):
        at = table.columns.index(column)
        if all(record[at] is None for record in table.records):
            del table.columns[at]
            table.records = [record[:at] + record[at + 1 :] for record in table.records]
    return table


def unnested(table: Table, split: str) -> Table:
    """Return a table whose rows hold lists `qas` or `paragraphs` as one of questions; any other as it is."""
    if not {"qas", "paragraphs", "data"} & set(table.columns):
        return table
    records = [dict(zip(table.columns, record, strict=True)) for record in table.records]
    return read_nested(list(zip(table.places, records, strict=True)), split) if nest_questions(records) else table


def nest_questions(items: Sequence[object]) -> bool:
    """Whether items of a list, the first hundred, hold questions nested as in SQuAD's form."""
    return any(map(is_squad, items[:_LOOK_AT]))


def _nests(node: object, depth: int = _DEPTH) -> bool:
    """Whether there is a list `qas` somewhere in the first items of `node`."""
    if isinstance(node, Mapping):
        if isinstance(node.get("qas"), list):
            return True
        node = [value for value in node.values() if isinstance(value, (list, Mapping))]
    return isinstance(node, list) and depth > 0 and any(_nests(item, depth - 1) for item in node[:_LOOK_AT])


def _walk(node: object, place: str, title: object, split: str, table: Table) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _walk(item, f"{place}[{index}]", title, split, table)
    elif not isinstance(node, Mapping):
        _reject(table, place, split, "not a JSON object", node)
    elif "qas" in node:
        _paragraph(node, place, node.get("title") or title, split, table)
    elif isinstance(node.get("paragraphs"), list):
        _walk(node["paragraphs"], _inside(place, "paragraphs"), node.get("title") or title, split, table)
    else:
        nested = [key for key, value in node.items() if isinstance(value, (list, Mapping)) and _nests(value)]
        if is_squad(node) and not nested:
            nested = ["data"]
        if len(nested) > 1:
            names = " and ".join(f"`{key}`" for key in nested)
            raise DataError(f"`{place}` holds several sets of questions, {names}: write each to a file of its own")
        if not nested:
            _reject(table, place, split, f"no list `{'paragraphs' if _first(node, 'context') is None else 'qas'}`", str(node)[:200])
        for key in nested:
            _walk(node[key], _inside(place, key), node.get("title") or title, split, table)


def _reject(table: Table, place: str, split: str, cause: str, value: object) -> None:
    table.rejected.append(Rejected(place, split, cause, {"value": value}, len(table.records)))


def _inside(place: str, key: str) -> str:
    return f"{place}{key}" if place.endswith(":") else f"{place}.{key}"


def _paragraph(paragraph: Mapping[str, object], place: str, title: object, split: str, table: Table) -> None:
    context = _first(paragraph, "context")
    for spot, question in _questions(paragraph, place, split, table):
        named = [_first(question, "id"), title, context, _first(question, "question"), _first(question, "answers")]
        table.records.append([*named, *(question.get(column) for column in EXTRA)])
        table.places.append(spot)


def _questions(paragraph: Mapping[str, object], place: str, split: str, table: Table) -> Iterator[tuple[str, Mapping[str, object]]]:
    items = paragraph["qas"]
    if not isinstance(items, list):
        _reject(table, place, split, "no list `qas`", str(paragraph)[:200])
        return
    for index, item in enumerate(items):
        spot = f"{_inside(place, 'qas')}[{index}]"
        if isinstance(item, Mapping):
            yield spot, item
        else:
            _reject(table, spot, split, "not a JSON object", item)


def _first(node: Mapping[str, object], name: str) -> object:
    """Return what `node` has under the first of the names that `name` goes by."""
    return next((node[key] for key in _NAMES[name] if node.get(key) is not None), None)
