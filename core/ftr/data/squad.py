"""SQuAD's forms: questions nested in JSON, and the forms that files give answers in."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO

from ftr.data.rows import Rejected, Table, parse_text
from ftr.errors import DataError

CONTEXT, START, IMPOSSIBLE = "context", "answer_start", "is_impossible"
_COLUMNS = {
    "id": ("id", "qid", "question_id"),
    "title": ("title",),
    CONTEXT: (CONTEXT, "passage", "paragraph"),
    "question": ("question", "query"),
    "answers": ("answers", "answer", "answer_text"),
    START: (START,),
    IMPOSSIBLE: (IMPOSSIBLE,),
}
"""The columns of a table of questions, and the names that each has in JSON."""
_OPTIONAL = (START, IMPOSSIBLE)
"""Columns that a table has only if a question has them."""
_FIRST = 100
"""Items of a list that tell its form."""
_DEPTH = 8


def is_squad(document: object) -> bool:
    """Whether questions are nested: `{"data": [{"paragraphs": ...}]}`, `{"context": ..., "qas":
    [...]}`, or lists of either.
    """
    data = document.get("data") if isinstance(document, Mapping) else None
    articles = isinstance(data, list) and any(
        isinstance(item, Mapping) and "paragraphs" in item for item in data
    )
    return articles or _nests(document)


def nest_questions(items: Sequence[object]) -> bool:
    """Whether some of the first items of a list hold questions nested as in SQuAD's form."""
    return any(map(is_squad, items[:_FIRST]))


def read_squad(document: object, name: str, split: str) -> Table:
    """Return one record per question; `plausible_answers` are ignored, malformed parts rejected.

    Raises `DataError` when the document has another form, or holds several sets of questions side
    by side.
    """
    if not is_squad(document):
        raise DataError(f"file `{name}` does not have SQuAD's form: `data[].paragraphs[].qas[]`")
    return read_nested([(f"{name}:", document)], split)


def read_nested(items: list[tuple[str, object]], split: str) -> Table:
    """Return one record per question in documents given with their places.

    Raises `DataError` as `read_squad` does.
    """
    reader = _Reader(split)
    for place, document in items:
        if isinstance(document, Rejected):
            reader.rejected.append(replace(document, after=len(reader.questions)))
        # The first line of MRQA's files is a header.
        elif not (isinstance(document, Mapping) and set(document) == {"header"}):
            reader.walk(document, place)
    return reader.table()


def unnested(table: Table, split: str) -> Table:
    """Return a table of questions for one whose rows nest them, else the table itself."""
    if not {"qas", "paragraphs", "data"} & set(table.columns):
        return table
    records = [dict(zip(table.columns, record, strict=True)) for record in table.records]
    if not nest_questions(records):
        return table
    return read_nested(list(zip(table.places, records, strict=True)), split)


def _nests(node: object, depth: int = _DEPTH) -> bool:
    """Whether there is a list `qas` somewhere in the first items of `node`."""
    if isinstance(node, Mapping):
        if isinstance(node.get("qas"), list):
            return True
        node = [value for value in node.values() if isinstance(value, (list, Mapping))]
    return (
        isinstance(node, list)
        and depth > 0
        and any(_nests(item, depth - 1) for item in node[:_FIRST])
    )


class _Reader:
    """Collects the questions of nested documents."""

    def __init__(self, split: str) -> None:
        self._split = split
        self.questions: list[dict[str, object]] = []
        self.places: list[str] = []
        self.rejected: list[Rejected] = []

    def table(self) -> Table:
        """Return the questions as records."""
        columns = [
            name
            for name in _COLUMNS
            if name not in _OPTIONAL or any(one[name] is not None for one in self.questions)
        ]
        records = [[question[name] for name in columns] for question in self.questions]
        return Table(columns, records, self.places, rejected=self.rejected)

    def walk(self, node: object, place: str, title: object = None) -> None:
        """Read all questions in `node`, which is at `place`."""
        if isinstance(node, list):
            for index, item in enumerate(node):
                self.walk(item, f"{place}[{index}]", title)
        elif not isinstance(node, Mapping):
            self._reject(place, "not a JSON object", node)
        elif "qas" in node:
            self._paragraph(node, place, node.get("title") or title)
        else:
            for key in self._nested(node, place):
                self.walk(node[key], _inside(place, key), node.get("title") or title)

    def _nested(self, node: Mapping[str, object], place: str) -> list[str]:
        """Return the key of `node` that holds questions; reject a node that holds none."""
        if isinstance(node.get("paragraphs"), list):
            return ["paragraphs"]
        nested = [
            key
            for key, value in node.items()
            if isinstance(value, (list, Mapping)) and _nests(value)
        ]
        if not nested and is_squad(node):
            return ["data"]
        if len(nested) > 1:
            names = " and ".join(f"`{key}`" for key in nested)
            raise DataError(
                f"`{place}` holds several sets of questions, {names}: write each to a file of its "
                "own"
            )
        if not nested:
            missing = "paragraphs" if _first_of(node, _COLUMNS[CONTEXT]) is None else "qas"
            self._reject(place, f"no list `{missing}`", str(node)[:200])
        return nested

    def _paragraph(self, paragraph: Mapping[str, object], place: str, title: object) -> None:
        if not isinstance(paragraph["qas"], list):
            self._reject(place, "no list `qas`", str(paragraph)[:200])
            return
        context = _first_of(paragraph, _COLUMNS[CONTEXT])
        for index, item in enumerate(paragraph["qas"]):
            spot = f"{_inside(place, 'qas')}[{index}]"
            if not isinstance(item, Mapping):
                self._reject(spot, "not a JSON object", item)
                continue
            cells = {name: _first_of(item, names) for name, names in _COLUMNS.items()}
            self.questions.append({**cells, "title": title, CONTEXT: context})
            self.places.append(spot)

    def _reject(self, place: str, cause: str, value: object) -> None:
        self.rejected.append(
            Rejected(place, self._split, cause, {"value": value}, len(self.questions))
        )


def _inside(place: str, key: str) -> str:
    return f"{place}{key}" if place.endswith(":") else f"{place}.{key}"


def _first_of(node: Mapping[str, object], names: Sequence[str]) -> object:
    """Return what `node` has under the first of `names` that has a value."""
    return next((node[name] for name in names if node.get(name) is not None), None)


Pair = tuple[object, object]
"""An answer as it was given: its text and its offset."""

_FORM = "answers are not in SQuAD's form"
_STARTS = (START, "answer_offset", "start_char", "start")
_TEXTS = ("text", "answer_text", "answer")
_ARRAYS = ("array", "int32", "int64", "str_", "list")
_ADJACENT = re.compile(r"""['"\d]\s+['"\d-]""")


class UnusableError(ValueError):
    """Answers that cannot be used; its text is the cause of the rejected row."""


def answer_pairs(value: object, start: object) -> list[Pair]:
    """Return the answers in a cell as they were given; `start` is the cell of their offsets.

    `value` is SQuAD's dict of lists, a list of `{"text", "answer_start"}`, a list of texts, the
    text of one answer, or any of these as JSON, Python or numpy writes them. Raises
    `UnusableError`.
    """
    return _pairs(_parsed(value), _parsed(start))


def _pairs(value: object, start: object) -> list[Pair]:
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [pair for item in value for pair in _pairs(item, None)]
    if isinstance(value, Mapping):
        if not any(name in value for name in _TEXTS):
            raise UnusableError(_FORM)
        starts = _first_of(value, _STARTS)
        start = start if starts is None else starts
        value = _first_of(value, _TEXTS)
        value = [] if value is None else value
    texts = _as_list(value)
    offsets = [None] * len(texts) if start is None or start == "" else _as_list(start)
    if any(isinstance(text, (list, dict, bool)) for text in texts):
        raise UnusableError(_FORM)
    if len(texts) != len(offsets):
        raise UnusableError("answers have unequal numbers of texts and offsets")
    return list(zip(texts, offsets, strict=True))


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def parse_list(text: str) -> list[object] | None:
    """Return the list that JSON, Python or numpy wrote as text, or None. Nothing is executed."""
    found = _parsed(text)
    return found if isinstance(found, list) else None


def _parsed(value: object) -> object:
    """Return what JSON, Python or numpy wrote as text, or the value itself. Nothing is executed."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith(("{", "[", "array(")) and text.endswith(("}", "]", ")"))):
        return value if text else ""
    parsed = parse_text(text, _python)
    return parsed if isinstance(parsed, (dict, list)) else value


def _python(text: str) -> object:
    if _ADJACENT.search(text):
        text = _with_commas(text)
    return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))


class _Arrays(ast.NodeTransformer):
    """Replaces `array([...], dtype=...)`, and numpy's scalars, by what is in them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        return self.visit(node.args[0]) if name in _ARRAYS and len(node.args) == 1 else node


def _with_commas(text: str) -> str:
    """Return a literal with commas between items separated by white space alone: `['a' 'b']`."""
    parts: list[str] = []
    before = None
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            continue
        begins = token.type in (tokenize.STRING, tokenize.NUMBER) or token.string == "-"
        if begins and before in (tokenize.STRING, tokenize.NUMBER):
            parts.append(",")
        parts.append(token.string)
        before = token.type
    return " ".join(parts)
