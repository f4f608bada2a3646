"""`data.augment`: changed copies of training rows.

After Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
Classification Tasks", with two differences: one copy gets all the changes asked for, and new words
are drawn from the training rows as often as they occur there (unigram noising, Xie et al. 2017)
rather than from a thesaurus, which would tie them to a language.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ftr.config.schema import AugmentConfig
from ftr.data.answers import answers_column, as_answers, passage_column, texts_and_starts
from ftr.data.clean import GIVEN, WORD, spaced
from ftr.data.rows import Rows
from ftr.data.store import Row
from ftr.registry.schema import RowSchema

Span = tuple[int, int]

_TRIES = 3
"""Attempts at a copy that equals its text, such as after a swap of two equal words."""


class Words:
    """The words of texts, drawn as often as they occur there."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in WORD.findall(text))
        self._words: list[str] = list(counts)
        self._sums = list(accumulate(counts.values()))

    def __bool__(self) -> bool:
        return bool(self._words)

    def draw(self, rng: random.Random) -> str:
        """Return a word."""
        return self._words[bisect_right(self._sums, rng.randrange(self._sums[-1]))]


@dataclass(slots=True)
class _Piece:
    """A piece of text: a word that may change, what is between words, or an answer."""

    text: str
    word: bool = False
    start: int | None = None
    """Of an answer: where it was before the change."""


class Augmenter:
    """Makes changed copies of training rows: equal rows, rates and seeds, equal copies."""

    def __init__(self, config: AugmentConfig, schema: RowSchema, seed: int) -> None:
        self._config, self._seed = config, seed
        self._answers, passage = answers_column(schema), passage_column(schema)
        self._columns = [column.name for column in schema.columns if column.type == "text"]
        if self._answers:
            # A question of few words would ask something else.
            self._columns = [passage.name] if passage else []

    def extended(self, rows: Rows) -> tuple[Rows, dict[str, int]]:
        """Return `rows`, each followed by its copies (ids `<id>+1`, ...), and how many copies and
        rows without a copy there are.

        A row has none if no word can change without changing an answer.
        """
        texts = [
            dict.fromkeys(str(cell or "") for cell in rows.column(name)) for name in self._columns
        ]
        words = Words([text for distinct in texts for text in distinct])
        taken = set(rows.column("id"))
        counts = {"copies": 0, "left_alone": 0}

        def extended() -> Iterator[tuple[Row, str]]:
            for row, place in rows.placed():
                made = [self._copy(row, n, words) for n in range(1, self._config.copies + 1)]
                copies = [copy for copy in made if copy is not None]
                counts["copies"] += len(copies)
                counts["left_alone"] += not copies
                yield row, place
                for copy in copies:
                    while copy["id"] in taken:
                        copy["id"] = f"{copy['id']}+"
                    taken.add(copy["id"])
                    yield copy, place

        return Rows.of(extended()), counts

    def _copy(self, row: Row, number: int, words: Words) -> Row | None:
        # A text as a seed is hashed alike everywhere.
        rng = random.Random(f"{self._seed} {number} {row['id']}")
        copy: Row = {key: value for key, value in row.items() if key != GIVEN}
        changed = False
        for name in self._columns:
            text = row.get(name)
            if not isinstance(text, str):
                continue
            given = texts_and_starts(row.get(self._answers.name)) if self._answers else []
            spans = [(start, start + len(answer)) for answer, start in given]
            copy[name], starts = self.changed(text, spans, words, rng)
            if self._answers and given:
                texts = [answer for answer, _ in given]
                copy[self._answers.name] = as_answers(zip(texts, starts, strict=True))
            changed |= copy[name] != text
        return {**copy, "id": f"{row['id']}+{number}"} if changed else None

    def changed(
        self, text: str, answers: Sequence[Span], words: Words, rng: random.Random
    ) -> tuple[str, list[int]]:
        """Return a changed text and where the `answers`, unchanged spans of `text`, begin in it."""
        pieces = _pieces(text, _joined(answers, text))
        new = text
        for _ in range(_TRIES):
            self._change(pieces, words, rng)
            new = "".join(piece.text for piece in pieces)
            if new != text:
                break
        moved: list[tuple[int, int, int]] = []
        at = 0
        for piece in pieces:
            if piece.start is not None:
                moved.append((piece.start, piece.start + len(piece.text), at - piece.start))
            at += len(piece.text)
        return new, [
            start + shift
            for start, _ in answers
            for first, end, shift in moved
            if first <= start < end
        ]

    def _change(self, pieces: list[_Piece], words: Words, rng: random.Random) -> None:
        count = len(_words(pieces))
        if not count or not words:
            return
        rates = {
            name: getattr(self._config, name) for name in ("replace", "swap", "insert", "delete")
        }
        # Whole numbers of words, whose means are `rate * count`.
        amounts = {name: int(rate * count + rng.random()) for name, rate in rates.items()}
        if not any(amounts.values()):
            # A short text would seldom change: a copy has one change at least.
            amounts[rng.choice([name for name, rate in rates.items() if rate > 0])] = 1
        for index in _some(pieces, amounts["replace"], rng):
            pieces[index].text = words.draw(rng)
        places = _words(pieces)
        for index in _some(pieces, amounts["swap"], rng):
            one, other = pieces[index], pieces[rng.choice(places)]
            one.text, other.text = other.text, one.text
        for index in sorted(_some(pieces, amounts["insert"], rng), reverse=True):
            word = words.draw(rng)
            pieces[index:index] = [_Piece(word, word=True), _Piece(" " if spaced(word) else "")]
        # One word at least stays, or the row had no text.
        deleted = min(amounts["delete"], len(_words(pieces)) - 1)
        for index in sorted(_some(pieces, deleted, rng), reverse=True):
            _delete(pieces, index)


def _delete(pieces: list[_Piece], index: int) -> None:
    """Delete a word, and a space after it if there is one before it too."""
    pieces[index].text, pieces[index].word = "", False
    before = pieces[index - 1].text if index else ""
    for after in pieces[index + 1 : index + 2]:
        space = after.start is None and after.text[:1].isspace()
        if space and (not before or before[-1].isspace()):
            after.text = after.text[1:]


def _words(pieces: Sequence[_Piece]) -> list[int]:
    return [index for index, piece in enumerate(pieces) if piece.word]


def _some(pieces: Sequence[_Piece], count: int, rng: random.Random) -> list[int]:
    words = _words(pieces)
    return rng.sample(words, min(count, len(words)))


def _joined(spans: Sequence[Span], text: str) -> list[Span]:
    """Return the spans, grown to whole words, in order, those that touch made one."""
    joined: list[Span] = []
    words = [match.span() for match in WORD.finditer(text)] if spans else []
    for start, end in sorted(spans):
        touched = [(a, b) for a, b in words if a < end and b > start]
        first = min([start, *(a for a, _ in touched)])
        last = max([end, *(b for _, b in touched)])
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _pieces(text: str, answers: Sequence[Span]) -> list[_Piece]:
    """Cut `text` into words, what is between them, and answers."""
    pieces: list[_Piece] = []
    at = 0
    for start, end in [*answers, (len(text), len(text))]:
        for match in WORD.finditer(text, at, start):
            pieces += [_Piece(text[at : match.start()]), _Piece(match[0], word=True)]
            at = match.end()
        pieces += [_Piece(text[at:start]), _Piece(text[start:end], start=start)]
        at = end
    return [piece for piece in pieces if piece.text]
