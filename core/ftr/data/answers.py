"""The column type `answers`: its cells, their offsets, and the passage that answers are part of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftr.data.rows import Loaded, Rows, blank_as_none
from ftr.data.squad import CONTEXT, IMPOSSIBLE, START, Pair, UnusableError, answer_pairs
from ftr.data.store import Row
from ftr.errors import DataError, counted
from ftr.registry.schema import Column, RowSchema

Answers = dict[str, list[Any]]

EXTRA_COLUMNS = (
    Column(
        name=START,
        type="value",
        aliases=(
            "answer_offset",
            "start_char",
            "answers.answer_start",
            "answer.answer_start",
            "answers_answer_start",
            "answer_starts",
        ),
        required=False,
    ),
    Column(name=IMPOSSIBLE, type="value", required=False),
)
"""Columns that a file may have besides its answers."""

FIXES = {
    "marked ": "without the column `is_impossible`, questions without answers are those that have "
    "none",
    "answer_start is not": "`dataset.answer_start=COLUMN` names another column",
    "does not point at": "without an offset, an answer is used if the context has it exactly once",
    "occurs more than once": "`dataset.answer_start=COLUMN` names the column of its offset",
    "is not in the context": "an answer must be in its context letter for letter; "
    "`dataset.answers=COLUMN` names another column",
    "answer": "`dataset.answers=COLUMN` and `dataset.answer_start=COLUMN` name other columns",
}
"""Part of a cause of rejection -> the option that helps if the rows are right."""

JOINED, BLANK = "rows joined", "answers blank"
AS_GIVEN, MOVED, CONVERTED, UNUSABLE = (
    "answers as given",
    "answers moved",
    "answer offsets converted",
    "answers not usable",
)
_COUNTS = (JOINED, CONVERTED, MOVED, UNUSABLE, BLANK, AS_GIVEN)

_WINDOWS = (5, 30)
"""Characters on either side of a wrong offset in which its answer is searched, smallest first."""
_UNITS = {"UTF-16 code units": ("utf-16-le", 2), "UTF-8 bytes": ("utf-8", 1)}
"""What programs count offsets in if not in characters: the encoding, and bytes per unit."""


def answers_column(schema: RowSchema) -> Column | None:
    """Return the column of type `answers`."""
    return next((column for column in schema.columns if column.type == "answers"), None)


def passage_column(schema: RowSchema) -> Column | None:
    """Return the column of texts that answers are part of."""
    if answers_column(schema) is None:
        return None
    return next((one for one in schema.columns if one.name == CONTEXT and one.type == "text"), None)


def as_answers(pairs: Iterable[Pair]) -> Answers:
    """Return texts with their offsets in SQuAD's form."""
    pairs = list(pairs)
    return {"text": [text for text, _ in pairs], START: [start for _, start in pairs]}


def texts_and_starts(answers: Any) -> list[tuple[str, int]]:
    """Return the text of each answer with its offset in the context."""
    return list(zip(answers["text"], answers[START], strict=True)) if answers else []


def check_answers(value: object, row: Mapping[str, object]) -> tuple[Answers, str | None]:
    """Return a cell of `row` in SQuAD's form, and why it cannot be used, or None.

    The forms of cells are those of `answer_pairs`. An answer without an offset must be in the
    context once; a wrong offset is moved to the answer if that occurs once nearby. A cell without
    answers is usable unless `is_impossible` says otherwise.
    """
    try:
        pairs = answer_pairs(value, blank_as_none(row.get(START)))
        answers = _locate_all(pairs, row.get(CONTEXT), None, Counter())
    except UnusableError as error:
        return {}, str(error)
    return answers, _contradiction(blank_as_none(row.get(IMPOSSIBLE)), answers)


def _locate_all(
    pairs: Sequence[Pair], context: object, unit: str | None, done: Counter[str]
) -> Answers:
    """Return the usable answers, and count in `done` what became of each.

    Raises `UnusableError` when there are answers and none is usable.
    """
    located, causes = [], []
    for text, given in [] if _only_blank(pairs) else pairs:
        try:
            found, offset, how = _locate(text, given, context, unit)
        except UnusableError as error:
            causes.append(str(error))
            continue
        located.append((found, offset))
        done[how] += 1
    if causes and not located:
        raise UnusableError(causes[0])
    done.update([UNUSABLE] * len(causes) + causes)
    return as_answers(located)


def _only_blank(pairs: Sequence[Pair]) -> bool:
    return all(text is None or (isinstance(text, str) and not text.strip()) for text, _ in pairs)


def _contradiction(flag: object, answers: Answers) -> str | None:
    """Return what is wrong between the answers and `is_impossible`, or None."""
    impossible = _truth(flag)
    if impossible:
        return "marked impossible, but has answers" if answers["text"] else None
    if impossible is False:
        return None if answers["text"] else "marked answerable, but has no answer"
    unset = str(flag).strip().lower() in ("none", "null", "")
    return None if unset else "is_impossible is neither true nor false"


def _truth(flag: object) -> bool | None:
    """Return the truth value of `is_impossible` in any of its spellings; None if it is none."""
    if isinstance(flag, bool) or (isinstance(flag, float) and flag.is_integer()):
        flag = int(flag)
    word = str(flag).strip().lower()
    true, false = ("1", "true", "t", "yes", "y"), ("0", "false", "f", "no", "n")
    return word in true if word in (*true, *false) else None


def _locate(text: object, start: object, context: object, unit: str | None) -> tuple[str, int, str]:
    """Return the text, its offset, and what was done to that. Raises `UnusableError`."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        raise UnusableError("answer text is empty")
    if not isinstance(context, str):
        raise UnusableError("answer is not in the context")
    if start is None or start == "":
        return text, _only_place(text, context), AS_GIVEN
    offset = _whole(start)
    if offset is None:
        raise UnusableError("answer_start is not a whole number")
    if offset < 0:  # what converters write for "not found"
        return text, _only_place(text, context), MOVED
    converted = None if unit is None else _characters(offset, context, unit)
    if converted is not None and converted != offset and _is_at(text, converted, context):
        return text, converted, CONVERTED
    if _is_at(text, offset, context):
        return text, offset, AS_GIVEN
    for part in dict.fromkeys((text, text.strip())):
        near = _nearest(part, offset, context)
        if near is not None:
            return part, near, MOVED
    raise UnusableError(
        "answer_start does not point at the answer"
        if text.strip() in context
        else "answer is not in the context"
    )


def _only_place(text: str, context: str) -> int:
    count = context.count(text)
    if count == 0:
        raise UnusableError("answer is not in the context")
    if count > 1:
        raise UnusableError("answer occurs more than once in the context and has no answer_start")
    return context.index(text)


def _nearest(text: str, offset: int, context: str) -> int | None:
    """Return where `text` is in the smallest window around `offset` that has it, if only once."""
    for window in _WINDOWS:
        first, last = max(0, offset - window), offset + window + len(text)
        at = context.find(text, first, last)
        if at >= 0:
            return at if context.find(text, at + 1, last) < 0 else None
    return None


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        return None


def _is_at(text: str, start: int | None, context: str) -> bool:
    return start is not None and context[start : start + len(text)] == text


def _characters(offset: int, context: str, unit: str) -> int | None:
    """Return an offset counted in `unit` as characters; None inside a character."""
    encoding, size = _UNITS[unit]
    content = context.encode(encoding, "surrogatepass")
    if offset * size > len(content):
        return None
    try:
        return len(content[: offset * size].decode(encoding))
    except UnicodeDecodeError:
        return None


def _offset_unit(cells: Iterable[tuple[Sequence[Pair], str]]) -> str | None:
    """Return the unit that the offsets of a file count if most of those wrong in characters fit it.

    `cells` are the answers of each row and its context.
    """
    right: list[tuple[str, int, str]] = []
    wrong: list[tuple[str, int, str]] = []
    for pairs, context in cells:
        for text, start in () if context.isascii() else pairs:
            offset = _whole(start)
            if offset is not None and offset >= 0:
                at = _is_at(str(text), offset, context)
                (right if at else wrong).append((str(text), offset, context))

    def fitting(offsets: list[tuple[str, int, str]], unit: str) -> int:
        return sum(
            _is_at(text, _characters(offset, context, unit), context)
            for text, offset, context in offsets
        )

    for unit in _UNITS if wrong else ():
        fit = fitting(wrong, unit)
        if 2 * fit > len(wrong) and fit > len(right) - fitting(right, unit):
            return unit
    return None


def settle_answers(rows: Rows, schema: RowSchema) -> tuple[Rows, Counter[str], list[str]]:
    """Return rows with usable answers in SQuAD's form, counts of what was done, and notes on it.

    Rows without a usable answer stay as they are: `check_rows` rejects them with the cause.
    """
    column = answers_column(schema)
    if column is None:
        return rows, Counter(), []
    name = column.name
    empty = sum(cell is None or cell == "" for cell in rows.column(name))
    rows, joined = _join_rows(rows, name)
    done = Counter({JOINED: joined})
    given = [_readable(row, name) for row in rows.rows]
    unit = _offset_unit(
        (pairs, str(row.get(CONTEXT)))
        for pairs, row in zip(given, rows.rows, strict=True)
        if pairs is not None
    )

    def settle(row: Row, pairs: Sequence[Pair] | None) -> Row:
        if pairs is None:
            return row
        if _only_blank(pairs):
            done[BLANK] += bool(pairs) and row.get(IMPOSSIBLE) in (None, "")
            return row
        try:
            return {**row, name: _locate_all(pairs, row.get(CONTEXT), unit, done)}
        except UnusableError:
            return row

    settled = Rows.of(
        (settle(row, pairs), place)
        for (row, place), pairs in zip(rows.placed(), given, strict=True)
    )
    return settled, done, _notes(name, empty, unit, done)


def _notes(name: str, empty: int, unit: str | None, done: Counter[str]) -> list[str]:
    causes = ", ".join(
        f"{cause}: {count}" for cause, count in done.most_common() if cause not in _COUNTS
    )
    known = [
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
        (MOVED, MOVED, " (the offset was wrong, and the answer occurs once near it)"),
        (UNUSABLE, UNUSABLE, f" ({causes}): the other answers of their questions are used"),
        (BLANK, f"rows whose `{name}` hold no text", ": treated as questions without an answer"),
    ]
    notes = [f"{what}: {done[key]}{more}" for key, what, more in known if done[key]]
    if empty:
        notes.append(
            f"{counted(empty, 'row')} with an empty `{name}` cell: treated as questions without an "
            "answer"
        )
    return notes


def _readable(row: Mapping[str, object], name: str) -> list[Pair] | None:
    try:
        return answer_pairs(row.get(name), row.get(START))
    except UnusableError:
        return None


def _join_rows(rows: Rows, name: str) -> tuple[Rows, int]:
    """Join rows of one `id`, question and context if their answers differ: a file with a row for
    each answer. Also return how many rows were joined to an earlier one.

    If no answers differ, rows that repeat an id are copies.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, cell in enumerate(rows.column("id")):
        if cell not in (None, ""):
            groups[str(cell)].append(index)
    several = [group for group in groups.values() if len(group) > 1]
    picked = sorted(index for group in several for index in group)
    row_of = dict(zip(picked, rows.take(picked).rows, strict=True))

    def equal(group: list[int], *names: str) -> bool:
        return len({str([row_of[index].get(one) for one in names]) for index in group}) == 1

    several = [group for group in several if equal(group, "question", CONTEXT)]
    if all(equal(group, name, START) for group in several):
        return rows, 0
    first: dict[int, Row] = {}
    later: set[int] = set()
    for group in several:
        merged = _merged([row_of[index] for index in group], name)
        if merged is not None:
            first[group[0]] = merged
            later.update(group[1:])
    joined = Rows.of(
        (first.get(index, row), place)
        for index, (row, place) in enumerate(rows.placed())
        if index not in later
    )
    return joined, len(later)


def _merged(rows: list[Row], name: str) -> Row | None:
    """Return one row with the answers of all, or None if those of one cannot be read."""
    pairs: list[Pair] = []
    answered = rows[0]
    for row in rows:
        own = _readable(row, name)
        if own is None:
            return None
        if not _only_blank(own):
            answered = answered if pairs else row
            pairs += own
    return {**answered, name: as_answers(pairs), START: None}


def unanswered(row: Mapping[str, object], name: str) -> bool:
    """Whether a row, as it was read, has no answer and does not say that there is none."""
    cells = {key: blank_as_none(row.get(key)) for key in (name, START, IMPOSSIBLE)}
    pairs = _readable(cells, name)
    return pairs is not None and _only_blank(pairs) and cells[IMPOSSIBLE] is None


def lacks_answers(rows: Rows, schema: RowSchema) -> str | None:
    """Return the column of answers to learn if no row, checked, has an answer; else None."""
    column = answers_column(schema)
    if column is None or not (column.target and column.required):
        return None
    cells = rows.column(column.name)
    answered = any(isinstance(cell, Mapping) and cell.get("text") for cell in cells)
    return None if answered else column.name


def check_answered(rows: Rows, loaded: Loaded, schema: RowSchema) -> None:
    """Raise `DataError` if no usable training row has an answer: the model would learn none."""
    name = lacks_answers(rows, schema)
    if name is None or not len(rows):
        return
    given = loaded.splits["train"]
    column = loaded.columns.get(name, name)
    if all(_truth(blank_as_none(cell)) for cell in given.column(IMPOSSIBLE)):
        why, fix = f"all {len(given)} are marked `{IMPOSSIBLE}`", "Add questions that have answers"
    else:
        known = f"`{column}`" if column == name else f"`{column}`, read as `{name}`,"
        why = f"the column {known} has no answer in any of {len(given)} rows"
        fix = (
            f"Name the column that has them with `dataset.{name}=COLUMN`, or add questions that "
            "have answers"
        )
    raise DataError(
        f"`{loaded.origins.get('train', 'train')}`: no training row has an answer, so there is "
        f"nothing to learn: {why}. {fix}"
    )
