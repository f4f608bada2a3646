"""Rows with cleaned texts: answers follow their passages, and places in predictions lead back to the text as it was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ftr.data.clean import SPELLING, passes
from ftr.data.edits import Traced, edited
from ftr.data.rows import Rejected, Row, Rows, Unlabelled
from ftr.data.stop_words import without

if TYPE_CHECKING:
    from ftr.data.schema import RowSchema
    from ftr.protocols import Head, Prediction

GIVEN = "_given"
"""The column that holds texts as they were, by column: of rows with answers, where cleaning moved characters."""
CONTEXT = "context"
"""The column that answers stand in."""
STOP_WORDS = "stop_words"
LEFT_ALONE = "left alone"
EMPTY = "nothing is left of it by `data.clean`"


@dataclass(slots=True)
class Counts:
    """What cleaning did to the rows of a split: by name the rows that changed; stop words left out; passages left alone."""

    rows: Counter[str] = field(default_factory=Counter)
    words: int = 0

    def report(self) -> dict[str, int]:
        """Return the counts as plain values."""
        return {**self.rows, **({"words_left_out": self.words} if self.words else {})}


class Cleaner:
    """Cleans texts and rows as `data.clean` and `data.stop_words` say."""

    def __init__(self, clean: Sequence[str] = (), stop_words: str | None = None) -> None:
        """Raise `ConfigError` for a language without stop words."""
        steps = passes(clean)
        if stop_words is not None:
            # White space last: words that go leave some.
            at = next((number for number, (name, _) in enumerate(steps) if name == "whitespace"), len(steps))
            steps.insert(at, (STOP_WORDS, without(stop_words)))
        self._passes = steps
        self._spelling = [one for name, one in steps if name in SPELLING]

    def __bool__(self) -> bool:
        return bool(self._passes)

    @property
    def names(self) -> list[str]:
        """What is done, in order."""
        return list(dict.fromkeys(name for name, _ in self._passes))

    def text(self, text: str, found: Counter[str] | None = None) -> str:
        """Return `text` cleaned; `found` gets the number of edits by name."""
        for name, one in self._passes:
            edits = list(one(text))
            if edits:
                text = edited(text, edits)
                if found is not None:
                    found[name] += len(edits)
        return text

    def traced(self, text: str) -> Traced:
        """Return `text` cleaned, with the way back."""
        traced = Traced.of(text)
        for _, one in self._passes:
            traced = traced.after(list(one(traced.text)))
        return traced

    def row(self, row: Mapping[str, Any], schema: RowSchema, counts: Counts) -> Row:
        """Return the row with its texts cleaned.

        Where the schema has answers, they follow the `context`, which stays as it is where an answer would be cut, or lost,
        or changed in more than its spelling; the context as it was goes along in the column `_given`.
        """
        cleaned: Row = dict(row)
        changed: Counter[str] = Counter()
        answers = next((column.name for column in schema.columns if column.type == "answers"), None)
        for column in schema.columns:
            text = row.get(column.name)
            if column.type != "text" or not isinstance(text, str):
                continue
            found: Counter[str] = Counter()
            new = self.text(text, found)
            if new == text:
                continue
            if answers is not None and column.name == CONTEXT:
                moved = self._moved(text, row.get(answers))
                if moved is None:
                    counts.rows[LEFT_ALONE] += 1
                    continue
                cleaned[GIVEN] = {CONTEXT: text}
                if row.get(answers) is not None:
                    cleaned[answers] = moved
            cleaned[column.name] = new
            changed.update(found)
        counts.rows.update(set(changed))
        counts.words += changed[STOP_WORDS]
        return cleaned

    def _moved(self, context: str, answers: Any) -> dict[str, list[Any]] | None:
        """Return the answers as they stand in the cleaned context; None where one of them would be damaged."""
        moved: dict[str, list[Any]] = {"text": [], "answer_start": []}
        if not answers:
            return moved
        traced = self.traced(context)
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            place = traced.now(start, start + len(text))
            if place is None:
                return None
            new = traced.text[place[0] : place[1]]
            if new.split() != self._spelled(text).split() or not new.strip():
                return None
            moved["text"].append(new)
            moved["answer_start"].append(place[0])
        return moved

    def _spelled(self, text: str) -> str:
        for one in self._spelling:
            text = edited(text, list(one(text)))
        return text


def clean_split(rows: Rows, split: str, head: Head, cleaner: Cleaner) -> tuple[Rows, list[Rejected], dict[str, int]]:
    """Return the rows with cleaned texts, those of which nothing usable is left, and what was done how often."""
    good, rejected, counts = Rows(), [], Counts()
    for row, place in zip(rows.rows, rows.places, strict=True):
        cleaned = cleaner.row(row, head.schema, counts)
        cause = _emptied(row, cleaned, head.schema) or (head.check(cleaned) if cleaned != row else None)
        if cause:
            rejected.append(Rejected(place, split, cause, row))
        else:
            good.rows.append(cleaned)
            good.places.append(place)
    return good, rejected, counts.report()


def clean_unlabelled(rows: Unlabelled, schema: RowSchema, cleaner: Cleaner) -> Unlabelled:
    """Return rows to predict with cleaned texts; those of which nothing is left join the rejected."""
    cleaned = Unlabelled(notes=rows.notes)
    for item in rows.in_order(zip(rows.rows, rows.places, strict=True)):
        if isinstance(item, Rejected):
            cleaned.rejected.append(replace(item, after=len(cleaned)))
            continue
        row, place = item
        new, cause = cleaned_row(row, schema, cleaner)
        if cause:
            cleaned.rejected.append(Rejected(place, "predict", cause, row, len(cleaned)))
        else:
            cleaned.rows.append(new)
            cleaned.places.append(place)
    return cleaned


def cleaned_row(row: Mapping[str, Any], schema: RowSchema, cleaner: Cleaner) -> tuple[Row, str | None]:
    """Return one row with its texts cleaned, and that nothing is left of a text it needs, or None."""
    new = cleaner.row(row, schema, Counts())
    return new, _emptied(row, new, schema)


def _emptied(row: Mapping[str, Any], cleaned: Mapping[str, Any], schema: RowSchema) -> str | None:
    """Return that a text which is needed is gone, or None."""
    for column in schema.columns:
        if column.type == "text" and column.required and str(row.get(column.name) or "").strip() and not str(cleaned[column.name]).strip():
            return f"{column.name}: {EMPTY}"
    return None


def as_given(head: Head, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction], cleaner: Cleaner) -> list[Prediction]:
    """Return the predictions with their places in the texts as they were given, where the head says how: see `ftr.protocols.Places`."""
    from ftr.protocols import Places

    if not cleaner or not isinstance(head, Places):
        return list(predictions)
    return list(_led_back(head, rows, predictions, cleaner))


def _led_back(head: Any, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction], cleaner: Cleaner) -> Iterator[Prediction]:
    for row, prediction in zip(rows, predictions, strict=True):
        text = (row.get(GIVEN) or {}).get(CONTEXT)
        yield prediction if text is None else head.as_given(prediction, text, cleaner.traced(text).before)
