"""SQuAD's nested JSON, v1.1 and v2.0, flattened to one record per question."""

from collections.abc import Iterator, Mapping

from ftr.data.rows import Rejected, Table
from ftr.errors import DataError

COLUMNS = ["id", "title", "context", "question", "answers"]


def is_squad(document: object) -> bool:
    """Whether the document is `{"data": [{"paragraphs": ...}]}`."""
    data = document.get("data") if isinstance(document, Mapping) else None
    return isinstance(data, list) and any(isinstance(article, Mapping) and "paragraphs" in article for article in data)


def read_squad(document: object, name: str, split: str) -> Table:
    """Return one record per question; `plausible_answers` are left aside, malformed parts are rejected at their place.

    Raises `DataError` when the document has another form.
    """
    if not isinstance(document, Mapping) or not is_squad(document):
        raise DataError(f"file `{name}` has not SQuAD's form: `data[].paragraphs[].qas[]`")
    table = Table(list(COLUMNS))
    for index, article in enumerate(document["data"]):
        _article(article, f"{name}:data[{index}]", split, table)
    return table


def _article(article: object, place: str, split: str, table: Table) -> None:
    title = article.get("title") if isinstance(article, Mapping) else None
    for at, paragraph in _items(article, "paragraphs", place, split, table):
        context = paragraph.get("context")
        for spot, question in _items(paragraph, "qas", at, split, table):
            answers, cause = _answers(question)
            record = [question.get("id"), title, context, question.get("question"), answers]
            if cause:
                table.rejected.append(Rejected(spot, split, cause, dict(zip(COLUMNS, record, strict=True)), len(table.records)))
            else:
                table.records.append(record)
                table.places.append(spot)


def _items(node: object, key: str, place: str, split: str, table: Table) -> Iterator[tuple[str, Mapping[str, object]]]:
    items = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(items, list):
        table.rejected.append(Rejected(place, split, f"no list `{key}`", {"value": str(node)[:200]}, len(table.records)))
        return
    for index, item in enumerate(items):
        spot = f"{place}.{key}[{index}]"
        if isinstance(item, Mapping):
            yield spot, item
        else:
            table.rejected.append(Rejected(spot, split, "not a JSON object", {"value": item}, len(table.records)))


def _answers(question: Mapping[str, object]) -> tuple[object, str | None]:
    answers = question.get("answers")
    impossible = question.get("is_impossible")
    if impossible and answers:
        return answers, "marked impossible, but has answers"
    if impossible is False and answers == []:
        return answers, "marked answerable, but has no answer"
    if impossible and answers is None:
        return [], None
    return answers, None
