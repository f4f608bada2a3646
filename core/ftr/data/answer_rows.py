"""The answers of a whole split: rows of one answer each are joined, and offsets brought to the answers they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftr.data.answers import AS_GIVEN, CONVERTED, MOVED, UNUSABLE, Pair, answer_pairs, canonical_answers, offset_unit, only_blank
from ftr.data.rows import Row, Rows

if TYPE_CHECKING:
    from ftr.data.schema import RowSchema

START, FLAG = "answer_start", "is_impossible"
JOINED, BLANK = "rows joined", "answers blank"
COUNTS = (JOINED, CONVERTED, MOVED, UNUSABLE, BLANK, AS_GIVEN)


def settle_answers(rows: Rows, schema: RowSchema) -> tuple[Rows, Counter[str], list[str]]:
    """Return rows with their answers in SQuAD's form where they can be used, what was done how often, and notes on it.

    Rows without a usable answer stay as they are: the check that follows rejects them with the cause.
    """
    name = next((column.name for column in schema.columns if column.type == "answers"), None)
    if name is None or not any(row.get(name) is not None for row in rows.rows):
        return rows, Counter(), []
    rows, joined = _joined(rows, name)
    done = Counter({JOINED: joined})
    given = [answer_pairs(row.get(name), row.get(START)) for row in rows.rows]
    unit = offset_unit([(pairs, str(row.get("context"))) for pairs, row in zip(given, rows.rows, strict=True) if isinstance(pairs, list)])
    settled = Rows(places=rows.places)
    for row, pairs in zip(rows.rows, given, strict=True):
        new = row
        if isinstance(pairs, list) and only_blank(pairs):
            done[BLANK] += bool(pairs) and row.get(FLAG) in (None, "")
        elif isinstance(pairs, list):
            answers, cause = canonical_answers(row[name], row.get(START), row.get("context"), unit, done)
            new = row if cause else {**row, name: answers}
        settled.rows.append(new)
    return settled, done, [f"{what}: {done[key]}{more}" for key, what, more in _told(name, unit, done) if done[key]]


def _told(name: str, unit: str | None, done: Counter[str]) -> list[tuple[str, str, str]]:
    causes = ", ".join(f"{cause}: {count}" for cause, count in done.most_common() if cause not in COUNTS)
    return [
        (JOINED, "rows joined to an earlier one", " (the same `id`, question and context, another answer)"),
        (CONVERTED, CONVERTED, f" (most offsets of the file that are wrong in characters count {unit})"),
        (MOVED, MOVED, " (the offset was off, and the answer stands once near it)"),
        (UNUSABLE, UNUSABLE, f" ({causes}): the other answers of their questions are used"),
        (BLANK, f"rows whose `{name}` hold no text", ": taken as questions without an answer"),
    ]


def _joined(rows: Rows, name: str) -> tuple[Rows, int]:
    """Join rows of one `id`, question and context if the answers of some differ: a file with a row for each answer.

    All answers of a question are those of its first row then. Where no answers differ, rows that repeat an id are copies.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows.rows):
        if row.get("id") not in (None, ""):
            groups.setdefault(str(row["id"]), []).append(index)
    several = [group for group in groups.values() if len(group) > 1 and len({_asked(rows.rows[index]) for index in group}) == 1]
    if all(len({_given(rows.rows[index], name) for index in group}) == 1 for group in several):
        return rows, 0
    first, later = {}, set()
    for group in several:
        merged = _merged([rows.rows[index] for index in group], name)
        if merged is not None:
            first[group[0]] = merged
            later.update(group[1:])
    kept = [index for index in range(len(rows)) if index not in later]
    joined = Rows([first.get(index, rows.rows[index]) for index in kept], [rows.places[index] for index in kept])
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
