"""Question answering data: SQuAD's nested JSON, answers in all their forms, and their offsets."""

from __future__ import annotations

import ast
import json
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO

from ftr.data.rows import HELD_OUT, Loaded, Rejected, Row, Rows, Table, blank_as_none, has_answer
from ftr.data.splits import text_key
from ftr.errors import DataError
from ftr.registry.schema import RowSchema

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
    """Whether questions are nested: `{"data": [{"paragraphs": ...}]}`, `{"context": ..., "qas":
    [...]}`, or lists of either.
    """
    data = document.get("data") if isinstance(document, Mapping) else None
    articles = isinstance(data, list) and any(
        isinstance(item, Mapping) and "paragraphs" in item for item in data
    )
    return articles or _nests(document)


def read_squad(document: object, name: str, split: str) -> Table:
    """Return one record per question; `plausible_answers` are left aside, malformed parts are
    rejected at their place.

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
    table = Table([*COLUMNS, *EXTRA])
    for place, document in items:
        if isinstance(document, Rejected):
            table.rejected.append(replace(document, after=len(table.records)))
        elif not (
            isinstance(document, Mapping) and set(document) == {"header"}
        ):  # the first line of MRQA's files
            _walk(document, place, None, split, table)
    for column in reversed(EXTRA):
        at = table.columns.index(column)
        if all(record[at] is None for record in table.records):
            del table.columns[at]
            table.records = [record[:at] + record[at + 1 :] for record in table.records]
    return table


def unnested(table: Table, split: str) -> Table:
    """Return a table whose rows hold lists `qas` or `paragraphs` as one of questions; any other as
    it is.
    """
    if not {"qas", "paragraphs", "data"} & set(table.columns):
        return table
    records = [dict(zip(table.columns, record, strict=True)) for record in table.records]
    return (
        read_nested(list(zip(table.places, records, strict=True)), split)
        if nest_questions(records)
        else table
    )


def nest_questions(items: Sequence[object]) -> bool:
    """Whether items of a list, the first hundred, hold questions nested as in SQuAD's form."""
    return any(map(is_squad, items[:_LOOK_AT]))


def _nests(node: object, depth: int = _DEPTH) -> bool:
    """Whether there is a list `qas` somewhere in the first items of `node`."""
    if isinstance(node, Mapping):
        if isinstance(node.get("qas"), list):
            return True
        node = [value for value in node.values() if isinstance(value, (list, Mapping))]
    return (
        isinstance(node, list)
        and depth > 0
        and any(_nests(item, depth - 1) for item in node[:_LOOK_AT])
    )


def _walk(node: object, place: str, title: object, split: str, table: Table) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _walk(item, f"{place}[{index}]", title, split, table)
    elif not isinstance(node, Mapping):
        _reject(table, place, split, "not a JSON object", node)
    elif "qas" in node:
        _paragraph(node, place, node.get("title") or title, split, table)
    elif isinstance(node.get("paragraphs"), list):
        _walk(
            node["paragraphs"],
            _inside(place, "paragraphs"),
            node.get("title") or title,
            split,
            table,
        )
    else:
        nested = [
            key
            for key, value in node.items()
            if isinstance(value, (list, Mapping)) and _nests(value)
        ]
        if is_squad(node) and not nested:
            nested = ["data"]
        if len(nested) > 1:
            names = " and ".join(f"`{key}`" for key in nested)
            raise DataError(
                f"`{place}` holds several sets of questions, {names}: write each to a file of its "
                "own"
            )
        if not nested:
            _reject(
                table,
                place,
                split,
                f"no list `{'paragraphs' if _first(node, 'context') is None else 'qas'}`",
                str(node)[:200],
            )
        for key in nested:
            _walk(node[key], _inside(place, key), node.get("title") or title, split, table)


def _reject(table: Table, place: str, split: str, cause: str, value: object) -> None:
    table.rejected.append(Rejected(place, split, cause, {"value": value}, len(table.records)))


def _inside(place: str, key: str) -> str:
    return f"{place}{key}" if place.endswith(":") else f"{place}.{key}"


def _paragraph(
    paragraph: Mapping[str, object], place: str, title: object, split: str, table: Table
) -> None:
    context = _first(paragraph, "context")
    for spot, question in _questions(paragraph, place, split, table):
        named = [
            _first(question, "id"),
            title,
            context,
            _first(question, "question"),
            _first(question, "answers"),
        ]
        table.records.append([*named, *(question.get(column) for column in EXTRA)])
        table.places.append(spot)


def _questions(
    paragraph: Mapping[str, object], place: str, split: str, table: Table
) -> Iterator[tuple[str, Mapping[str, object]]]:
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


Answers = dict[str, list[object]]
Pair = tuple[object, object]
"""An answer as it was given: its text and its offset."""

AS_GIVEN, MOVED, CONVERTED, UNUSABLE = (
    "answers as given",
    "answers moved",
    "answer offsets converted",
    "answers not usable",
)
WINDOWS = (5, 30)
"""Characters to either side of a wrong offset within which its answer is looked for, the nearest
first.
"""
UNITS = {"UTF-16 code units": ("utf-16-le", 2), "UTF-8 bytes": ("utf-8", 1)}
"""What offsets are counted in by programs that do not count characters: the encoding, and bytes per
unit.
"""

_FORM = "answers are not in SQuAD's form"
_STARTS = ("answer_start", "answer_offset", "start_char", "start")
_TEXTS = ("text", "answer_text", "answer")
_ARRAYS = ("array", "int32", "int64", "str_", "list")
_ADJACENT = re.compile(r"""['"\d]\s+['"\d-]""")


def canonical_answers(
    value: object,
    start: object,
    context: object,
    unit: str | None = None,
    done: Counter[str] | None = None,
) -> tuple[Answers, str | None]:
    """Return the usable answers, and why there are none to use, or None; no answers at all are no
    fault.

    `value` is SQuAD's dict of lists, a list of `{"text", "answer_start"}`, a list of texts, the
    text of one answer, or any of these as JSON or as Python (numpy's arrays too) writes them;
    `start` its offset or the list of its offsets, looked up in `context` where there is none. A
    wrong offset is moved to the answer where that stands once nearby, and converted where `unit`
    says what the file counts in (see `offset_unit`). `done` gets how many answers were moved,
    converted, or left out.
    """
    pairs = answer_pairs(value, start)
    if isinstance(pairs, str):
        return {}, pairs
    answers: Answers = {"text": [], "answer_start": []}
    done = Counter() if done is None else done
    causes = []
    for text, offset in [] if only_blank(pairs) else pairs:
        placed = _placed(text, offset, context, unit)
        if isinstance(placed, str):
            causes.append(placed)
            continue
        answers["text"].append(placed[0])
        answers["answer_start"].append(placed[1])
        done[placed[2]] += 1
    if causes and not answers["text"]:
        return {}, causes[0]
    done.update([UNUSABLE] * len(causes) + causes)
    return answers, None


def answer_pairs(value: object, start: object = None) -> list[Pair] | str:
    """Return the answers in `value` as they were given, or why they cannot be told apart."""
    return _pairs(_parsed(value), _parsed(start))


def only_blank(pairs: Sequence[Pair]) -> bool:
    """Whether the answers say that there is none: they have no text."""
    return all(text is None or (isinstance(text, str) and not text.strip()) for text, _ in pairs)


def contradiction(flag: object, answers: Answers) -> str | None:
    """Return what is wrong between the answers and `is_impossible`, in any of its spellings, or
    None.
    """
    if marked_impossible(flag):
        return "marked impossible, but has answers" if answers["text"] else None
    word = _word(flag)
    if word in ("0", "false", "f", "no", "n"):
        return None if answers["text"] else "marked answerable, but has no answer"
    return None if word in ("none", "null", "") else "is_impossible is neither true nor false"


def marked_impossible(flag: object) -> bool:
    """Whether `is_impossible`, in any of its spellings, is true."""
    return _word(flag) in ("1", "true", "t", "yes", "y")


def _word(flag: object) -> str:
    if isinstance(flag, bool) or (isinstance(flag, float) and flag.is_integer()):
        flag = int(flag)
    return str(flag).strip().lower()


def offset_unit(cells: Sequence[tuple[Sequence[Pair], str]]) -> str | None:
    """Return the unit other than characters that the offsets of a file are counted in, if most of
    the wrong ones fit it.

    `cells` are the answers of each row and its context.
    """
    told = [
        (str(text), whole(start), context)
        for pairs, context in cells
        for text, start in pairs
        if not context.isascii()
    ]
    offsets = [
        (text, start, context) for text, start, context in told if start is not None and start >= 0
    ]
    wrong = [one for one in offsets if not _stands(*one)]
    if not wrong:
        return None
    right = [one for one in offsets if _stands(*one)]
    for unit in UNITS:
        fits = sum(
            _stands(text, _characters(start, context, unit), context)
            for text, start, context in wrong
        )
        breaks = sum(
            not _stands(text, _characters(start, context, unit), context)
            for text, start, context in right
        )
        if 2 * fits > len(wrong) and fits > breaks:
            return unit
    return None


def whole(value: object) -> int | None:
    """Return an offset as a whole number, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        return None


def _pairs(value: object, start: object) -> list[Pair] | str:
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, Mapping):
        texts, starts = _of(value, _TEXTS), _of(value, _STARTS)
        if texts is None and not any(name in value for name in _TEXTS):
            return _FORM
        return _zipped([] if texts is None else texts, start if starts is None else starts)
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        several = [_pairs(item, None) for item in value]
        wrong = next((one for one in several if isinstance(one, str)), None)
        return wrong or [pair for one in several if not isinstance(one, str) for pair in one]
    return _zipped(value, start)


def _of(value: Mapping[str, object], names: Sequence[str]) -> object:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _zipped(texts: object, starts: object) -> list[Pair] | str:
    texts = _listed(texts)
    starts = [None] * len(texts) if starts is None or starts == "" else _listed(starts)
    if any(isinstance(text, (list, dict, bool)) for text in texts):
        return _FORM
    if len(texts) != len(starts):
        return "answers have unequal numbers of texts and offsets"
    return list(zip(texts, starts, strict=True))


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _parsed(value: object) -> object:
    """Return what JSON, Python or numpy wrote as text, or the value itself. Nothing is executed."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith(("{", "[", "array(")) and text.endswith(("}", "]", ")"))):
        return value if text else ""
    for parse in (json.loads, _python):
        try:
            parsed: object = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
        # `[1]` may be the text of an answer; offsets are read from their own column.
        if isinstance(parsed, (dict, list)):
            return parsed
    return value


def _python(text: str) -> object:
    if _ADJACENT.search(text):
        text = _with_commas(text)
    return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))


class _Arrays(ast.NodeTransformer):
    """Takes `array([...], dtype=...)`, and numpy's scalars, for what is in them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        return self.visit(node.args[0]) if name in _ARRAYS and len(node.args) == 1 else node


def _with_commas(text: str) -> str:
    """Return a literal with commas between items that only white space parts, as numpy prints them:
    `['a' 'b']`.
    """
    parts: list[str] = []
    before = None
    for token in tokenize.generate_tokens(StringIO(text).readline):
        plain = token.type in (tokenize.STRING, tokenize.NUMBER) or token.string == "-"
        if plain and before in (tokenize.STRING, tokenize.NUMBER):
            parts.append(",")
        parts.append(
            token.string
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            else " "
        )
        before = token.type if token.type not in (tokenize.NL, tokenize.NEWLINE) else before
    return " ".join(parts)


def _placed(
    text: object, start: object, context: object, unit: str | None
) -> tuple[str, int, str] | str:
    """Return the text, its offset, and what was done to that; or why the answer cannot be used."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        return "answer text is empty"
    if not isinstance(context, str):
        return "answer is not in the context"
    if start is None or start == "":
        return _found(text, context, AS_GIVEN)
    offset = whole(start)
    if offset is None:
        return "answer_start is not a whole number"
    if offset < 0:  # what converters write for "not found"
        return _found(text, context, MOVED)
    converted = None if unit is None else _characters(offset, context, unit)
    if converted is not None and converted != offset and _stands(text, converted, context):
        return text, converted, CONVERTED
    if _stands(text, offset, context):
        return text, offset, AS_GIVEN
    for part in dict.fromkeys((text, text.strip())):
        near = _nearest(part, offset, context)
        if near is not None:
            return part, near, MOVED
    return (
        "answer_start does not point at the answer"
        if text.strip() in context
        else "answer is not in the context"
    )


def _found(text: str, context: str, done: str) -> tuple[str, int, str] | str:
    count = context.count(text)
    if count == 1:
        return text, context.index(text), done
    return (
        "answer is not in the context"
        if count == 0
        else "answer occurs more than once in the context and has no answer_start"
    )


def _nearest(text: str, offset: int, context: str) -> int | None:
    """Return where `text` stands in the smallest of the windows around `offset` that has it, unless
    it stands there twice.
    """
    for window in WINDOWS:
        first, last = max(0, offset - window), offset + window + len(text)
        at = context.find(text, first, last)
        if at >= 0:
            return at if context.find(text, at + 1, last) < 0 else None
    return None


def _stands(text: str, start: int | None, context: str) -> bool:
    return start is not None and context[start : start + len(text)] == text


def _characters(offset: int, context: str, unit: str) -> int | None:
    """Return an offset in units of `unit` as one in characters; None where it falls inside a
    character.
    """
    encoding, size = UNITS[unit]
    content = context.encode(encoding, "surrogatepass")
    try:
        return (
            len(content[: offset * size].decode(encoding))
            if offset * size <= len(content)
            else None
        )
    except UnicodeDecodeError:
        return None


START, FLAG = "answer_start", "is_impossible"
JOINED, BLANK = "rows joined", "answers blank"
COUNTS = (JOINED, CONVERTED, MOVED, UNUSABLE, BLANK, AS_GIVEN)


def settle_answers(rows: Rows, schema: RowSchema) -> tuple[Rows, Counter[str], list[str]]:
    """Return rows with their answers in SQuAD's form where they can be used, what was done how
    often, and notes on it.

    Rows without a usable answer stay as they are: the check that follows rejects them with the
    cause.
    """
    name = next((column.name for column in schema.columns if column.type == "answers"), None)
    if name is None or not any(row.get(name) is not None for row in rows.rows):
        return rows, Counter(), []
    rows, joined = _joined(rows, name)
    done = Counter({JOINED: joined})
    given = [answer_pairs(row.get(name), row.get(START)) for row in rows.rows]
    unit = offset_unit(
        [
            (pairs, str(row.get("context")))
            for pairs, row in zip(given, rows.rows, strict=True)
            if isinstance(pairs, list)
        ]
    )
    settled = Rows(places=rows.places)
    for row, pairs in zip(rows.rows, given, strict=True):
        new = row
        if isinstance(pairs, list) and only_blank(pairs):
            done[BLANK] += bool(pairs) and row.get(FLAG) in (None, "")
        elif isinstance(pairs, list):
            answers, cause = canonical_answers(
                row[name], row.get(START), row.get("context"), unit, done
            )
            new = row if cause else {**row, name: answers}
        settled.rows.append(new)
    return (
        settled,
        done,
        [f"{what}: {done[key]}{more}" for key, what, more in _told(name, unit, done) if done[key]],
    )


def check_answered(rows: Rows, loaded: Loaded, schema: RowSchema) -> None:
    """Raise `DataError` where no usable training row has an answer: the model would learn to give
    none.
    """
    name = next(
        (
            column.name
            for column in schema.columns
            if column.type == "answers" and column.target and column.required
        ),
        None,
    )
    if name is None or not rows.rows or has_answer(rows, name):
        return
    given = loaded.splits["train"].rows
    column = loaded.columns.get(name, name)
    known = f"`{column}`" if column == name else f"`{column}`, read as `{name}`,"
    if all(marked_impossible(blank_as_none(row.get(FLAG))) for row in given):
        why, fix = f"all {len(given)} are marked `{FLAG}`", "Add questions that have answers"
    else:
        why = f"the column {known} has no answer in any of {len(given)} rows"
        fix = (
            f"Name the column that has them with `dataset.{name}=COLUMN`, or add questions that "
            "have answers"
        )
    raise DataError(
        f"`{loaded.origins.get('train', 'train')}`: no training row has an answer, so there is "
        f"nothing to learn: {why}. {fix}"
    )


def unanswered(row: Mapping[str, object], name: str) -> bool:
    """Whether a row, as it was read, has no answer and does not say that there is none."""
    pairs = answer_pairs(blank_as_none(row.get(name)), blank_as_none(row.get(START)))
    return isinstance(pairs, list) and only_blank(pairs) and blank_as_none(row.get(FLAG)) is None


def shared_passages(splits: Mapping[str, Rows], schema: RowSchema) -> dict[str, tuple[int, str]]:
    """Return, for held-out splits, how many rows have the passage of a training row, and the places
    of the first and of that row.
    """
    column = next(
        (column for column in schema.columns if column.name == "context" and column.type == "text"),
        None,
    )
    if (
        column is None
        or not any(column.type == "answers" for column in schema.columns)
        or "train" not in splits
    ):
        return {}
    alone = RowSchema(columns=(column,))
    keys: dict[str, object] = {}
    passages: dict[object, str] = {}

    def key(row: Row) -> object:
        text = str(row.get(column.name))
        if text not in keys:
            keys[text] = text_key(row, alone)
        return keys[text]

    for row, place in zip(splits["train"].rows, splits["train"].places, strict=True):
        passages.setdefault(key(row), place)
    found: dict[str, tuple[int, str]] = {}
    for split in HELD_OUT:
        rows = splits.get(split, Rows())
        both = [
            (place, passages[key(row)])
            for row, place in zip(rows.rows, rows.places, strict=True)
            if key(row) in passages
        ]
        if both:
            found[split] = len(both), f"`{both[0][0]}`, in train `{both[0][1]}`"
    return found


def _told(name: str, unit: str | None, done: Counter[str]) -> list[tuple[str, str, str]]:
    causes = ", ".join(
        f"{cause}: {count}" for cause, count in done.most_common() if cause not in COUNTS
    )
    return [
        (
            JOINED,
            "rows joined to an earlier one",
            " (the same `id`, question and context, another answer)",
        ),
        (
            CONVERTED,
            CONVERTED,
            f" (most offsets of the file that are wrong in characters count {unit})",
        ),
        (MOVED, MOVED, " (the offset was off, and the answer stands once near it)"),
        (UNUSABLE, UNUSABLE, f" ({causes}): the other answers of their questions are used"),
        (BLANK, f"rows whose `{name}` hold no text", ": taken as questions without an answer"),
    ]


def _joined(rows: Rows, name: str) -> tuple[Rows, int]:
    """Join rows of one `id`, question and context if the answers of some differ: a file with a row
    for each answer.

    All answers of a question are those of its first row then. Where no answers differ, rows that
    repeat an id are copies.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows.rows):
        if row.get("id") not in (None, ""):
            groups.setdefault(str(row["id"]), []).append(index)
    several = [
        group
        for group in groups.values()
        if len(group) > 1 and len({_asked(rows.rows[index]) for index in group}) == 1
    ]
    if all(len({_given(rows.rows[index], name) for index in group}) == 1 for group in several):
        return rows, 0
    first, later = {}, set()
    for group in several:
        merged = _merged([rows.rows[index] for index in group], name)
        if merged is not None:
            first[group[0]] = merged
            later.update(group[1:])
    kept = [index for index in range(len(rows)) if index not in later]
    joined = Rows(
        [first.get(index, rows.rows[index]) for index in kept],
        [rows.places[index] for index in kept],
    )
    return joined, len(later)


def _asked(row: Mapping[str, object]) -> tuple[str, str]:
    return str(row.get("question")), str(row.get("context"))


def _given(row: Mapping[str, object], name: str) -> str:
    return f"{row.get(name)!r} {row.get(START)!r}"


def _merged(rows: list[Row], name: str) -> Row | None:
    """Return one row with the answers of all, or None where those of one cannot be read."""
    pairs: list[Pair] = []
    answered = rows[0]
    for row in rows:
        own = answer_pairs(row.get(name), row.get(START))
        if isinstance(own, str):
            return None
        if not only_blank(own):
            answered = answered if pairs else row
            pairs += own
    answers = {"text": [text for text, _ in pairs], START: [start for _, start in pairs]}
    return {**answered, name: answers, START: None}
