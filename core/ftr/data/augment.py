"""`data.augment`: changed copies of training rows.

After Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
Classification Tasks", with two
differences: one copy gets all the changes asked for, and words that come in are drawn from the
training rows as often as they stand there (unigram noising, Xie et al. 2017) rather than from a
thesaurus, which would tie them to a language.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ftr.data.clean import CONTEXT, GIVEN, WORD, spaced
from ftr.data.rows import Row, Rows

if TYPE_CHECKING:
    from ftr.config.schema import AugmentConfig
    from ftr.registry.schema import RowSchema


Span = tuple[int, int]


class Words:
    """The words of texts, drawn as often as they stand there."""

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
    """A piece of text: a word that may change, or what stands between words, or an answer
    (`kept`).
    """

    text: str
    word: bool = False
    kept: bool = False


class Augmenter:
    """Makes changed copies of training rows: equal rows, rates and seeds, equal copies."""

    def __init__(self, config: AugmentConfig, schema: RowSchema, seed: int) -> None:
        self._config, self._seed = config, seed
        self._answers = next(
            (column.name for column in schema.columns if column.type == "answers"), None
        )
        texts = [column.name for column in schema.columns if column.type == "text"]
        # A question of few words would ask something else.
        self._columns = [name for name in texts if self._answers is None or name == CONTEXT]

    def extended(self, rows: Rows) -> tuple[Rows, dict[str, int]]:
        """Return `rows`, each followed by its copies (ids `<id>+1`, ...), and how many there are,
        and rows that have none.

        A row has none where no word can change without changing an answer.
        """
        words = Words(
            [
                text
                for name in self._columns
                for text in dict.fromkeys(str(row.get(name) or "") for row in rows.rows)
            ]
        )
        taken = {row["id"] for row in rows.rows}
        all_rows, counts = Rows(), Counter({"copies": 0, "left_alone": 0})
        for row, place in zip(rows.rows, rows.places, strict=True):
            copies = [
                copy
                for number in range(1, self._config.copies + 1)
                if (copy := self._copy(row, number, words)) is not None
            ]
            counts["copies"] += len(copies)
            counts["left_alone"] += not copies
            for copy in copies:
                while copy["id"] in taken:
                    copy["id"] = f"{copy['id']}+"
                taken.add(copy["id"])
            all_rows.rows += [row, *copies]
            all_rows.places += [place] * (1 + len(copies))
        return all_rows, dict(counts)

    def _copy(self, row: Row, number: int, words: Words) -> Row | None:
        rng = random.Random(
            f"{self._seed} {number} {row['id']}"
        )  # a text as a seed is hashed alike everywhere
        copy: Row = {key: value for key, value in row.items() if key != GIVEN}
        changed = False
        for name in self._columns:
            text = row.get(name)
            if not isinstance(text, str):
                continue
            answers: Any = row.get(self._answers) if self._answers else None
            spans = (
                [
                    (start, start + len(one))
                    for one, start in zip(answers["text"], answers["answer_start"], strict=True)
                ]
                if answers
                else ()
            )
            new, starts = self.changed(text, spans, words, rng)
            if spans:
                copy[str(self._answers)] = {**answers, "answer_start": starts}
            copy[name] = new
            changed |= new != text
        return {**copy, "id": f"{row['id']}+{number}"} if changed else None

    def changed(
        self, text: str, answers: Sequence[Span], words: Words, rng: random.Random
    ) -> tuple[str, list[int]]:
        """Return a changed text and where the answers, spans of `text`, begin in it: word for word
        as they were.
        """
        pieces, regions = _pieces(text, _joined(answers, text))
        before = "".join(piece.text for piece in pieces)
        for _ in range(_TRIES):
            self._change(pieces, words, rng)
            if "".join(piece.text for piece in pieces) != before:
                break
        starts: dict[Span, int] = {}
        at = 0
        kept = iter(regions)
        for piece in pieces:
            if piece.kept:
                starts[next(kept)] = at
            at += len(piece.text)
        found = [
            starts[region] + start - region[0]
            for start, end in answers
            for region in regions
            if region[0] <= start < region[1]
        ]
        return "".join(piece.text for piece in pieces), found

    def _change(self, pieces: list[_Piece], words: Words, rng: random.Random) -> None:
        rates = self._config
        count = sum(piece.word for piece in pieces)
        if not count or not words:
            return
        amounts = {
            name: _times(rate, count, rng)
            for name, rate in (
                ("replace", rates.replace),
                ("swap", rates.swap),
                ("insert", rates.insert),
                ("delete", rates.delete),
            )
        }
        if not any(amounts.values()):
            # A short text would seldom change: a copy has one change at least.
            amounts[rng.choice([name for name in amounts if getattr(rates, name) > 0])] = 1
        for place in _some(pieces, amounts["replace"], rng):
            pieces[place].text = words.draw(rng)
        places = _places(pieces)
        for place in _some(pieces, amounts["swap"], rng):
            other = rng.choice(places)
            pieces[place].text, pieces[other].text = pieces[other].text, pieces[place].text
        for place in sorted(_some(pieces, amounts["insert"], rng), reverse=True):
            word = words.draw(rng)
            pieces[place:place] = [_Piece(word, word=True), _Piece(" " if spaced(word) else "")]
        # One word at least stays, or the row had no text.
        for place in sorted(
            _some(pieces, min(amounts["delete"], len(_places(pieces)) - 1), rng), reverse=True
        ):
            after = (
                pieces[place + 1].text
                if place + 1 < len(pieces) and not pieces[place + 1].kept
                else ""
            )
            pieces[place].text, pieces[place].word = "", False
            if after[:1].isspace() and (
                place == 0 or pieces[place - 1].text[-1:].isspace() or not pieces[place - 1].text
            ):
                pieces[place + 1].text = after[1:]


_TRIES = 3
"""So often a copy is tried that came out as the text it is of: two equal words changed places,
say.
"""


def _times(rate: float, count: int, rng: random.Random) -> int:
    """Return a whole number of words whose mean is `rate * count`."""
    return int(rate * count + rng.random())


def _places(pieces: Sequence[_Piece]) -> list[int]:
    return [place for place, piece in enumerate(pieces) if piece.word]


def _some(pieces: Sequence[_Piece], count: int, rng: random.Random) -> list[int]:
    places = _places(pieces)
    return rng.sample(places, min(max(count, 0), len(places)))


def _joined(spans: Sequence[Span], text: str) -> list[Span]:
    """Return the spans, grown to whole words, in order, those that touch made one."""
    grown: list[Span] = []
    words = [match.span() for match in WORD.finditer(text)] if spans else []
    for start, end in sorted(spans):
        first = min((a for a, b in words if a < end and b > start), default=start)
        last = max((b for a, b in words if a < end and b > start), default=end)
        first, last = min(first, start), max(last, end)
        if grown and first <= grown[-1][1]:
            grown[-1] = (grown[-1][0], max(last, grown[-1][1]))
        else:
            grown.append((first, last))
    return grown


def _pieces(text: str, kept: Sequence[Span]) -> tuple[list[_Piece], list[Span]]:
    """Cut `text` into words, what stands between them, and the spans `kept`; returns the spans that
    have characters too.
    """
    pieces: list[_Piece] = []
    at = 0
    for start, end in [*kept, (len(text), len(text))]:
        for match in WORD.finditer(text, at, start):
            pieces += [_Piece(text[at : match.start()]), _Piece(match[0], word=True)]
            at = match.end()
        pieces.append(_Piece(text[at:start]))
        if end > start:
            pieces.append(_Piece(text[start:end], kept=True))
        at = end
    return [piece for piece in pieces if piece.text], [span for span in kept if span[1] > span[0]]
