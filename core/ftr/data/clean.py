"""`data.clean`: edits of a text that keep offsets, and rows with cleaned texts."""

from __future__ import annotations

import html
import itertools
import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ftr.config.resolve import stop_words
from ftr.data.answers import (
    Answers,
    answers_column,
    as_answers,
    passage_column,
    texts_and_starts,
)
from ftr.data.rows import Rejected, Rows
from ftr.data.store import Row
from ftr.registry.protocols import Head, Prediction, provides
from ftr.registry.schema import RowSchema

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""

WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’-][^\W{_UNSPACED}]+)*")
"""One word: `film`, `don't`, `well-made`, `2011`; punctuation around it is not part of it."""


def spaced(word: str) -> bool:
    """Whether the script of a word has spaces between words."""
    return not re.match(rf"[{_UNSPACED}]", word)


Edit = tuple[int, int, str]
"""Characters [start, end) become another text.

Edits of one text come in order and do not overlap.
"""


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return `text` with `edits` made."""
    parts: list[str] = []
    at = 0
    for start, end, new in edits:
        parts += (text[at:start], new)
        at = end
    return "".join((*parts, text[at:])) if parts else text


@dataclass(frozen=True, slots=True)
class Traced:
    """A text whose character i was the characters [starts[i], ends[i]) before it was changed."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Traced:
        """Return a text that is not changed yet."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def after(self, edits: Sequence[Edit]) -> Traced:
        """Return the text with further `edits`, given in places of the present text."""
        if not edits:
            return self
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for start, end, new in edits:
            starts += self.starts[at:start]
            ends += self.ends[at:start]
            if len(new) == end - start:
                starts += self.starts[start:end]
                ends += self.ends[start:end]
            elif new:
                starts += [self.starts[start]] * len(new)
                ends += [self.ends[end - 1]] * len(new)
            at = end
        return Traced(
            edited(self.text, edits), [*starts, *self.starts[at:]], [*ends, *self.ends[at:]]
        )

    def before(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters [start, end), one or more, were."""
        return self.starts[start], self.ends[end - 1]

    def now(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where the characters [start, end) of the text as it was are now; None if nothing
        is left of them or an edge is cut.
        """
        first, after = bisect_right(self.ends, start), bisect_left(self.starts, end)
        if first >= after or self.starts[first] < start or self.ends[after - 1] > end:
            return None
        return first, after


URL, USER = "http", "@user"
"""Placeholders of links and handles: those of TweetEval (Barbieri et al. 2020)."""

_BLOCK = (
    "address article aside blockquote body br button canvas caption center col colgroup dd "
    "details dialog dir div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 "
    "h4 h5 h6 head header hgroup hr html iframe img input legend li link main map menu meta nav "
    "noscript object ol optgroup option output p param picture pre progress section select source "
    "summary svg table tbody td template textarea tfoot th thead title tr track ul video audio"
)
_INLINE = (
    "a abbr acronym area b base bdi bdo big cite code data del dfn em embed font i ins kbd label "
    "mark meter q rp rt ruby s samp slot small span strike strong sub sup time tt u var wbr"
)
_NAMES = "|".join(sorted([*_BLOCK.split(), *_INLINE.split()], key=len, reverse=True))
_INNER = frozenset(_INLINE.split())
# Known elements only, or `a <b and c> d` would lose its middle.
_TAG = re.compile(
    r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>|<!doctype\b[^<>]*>|</?(?P<name>"
    + _NAMES
    + r")(?:\s[^<>]*|/)?>",
    re.DOTALL | re.I,
)
# With the semicolon only, or `?a=1&copy=2` would change.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_URL = re.compile(r"(?<![\w@])(?:https?://|www\.(?=\w))[^\s<>\"]+", re.I)
_AFTER_URL = ".,;:!?'\"»”’…)]}"
_USER = re.compile(r"(?<![\w@/.&])@\w+")
_SPACES = re.compile(r"\s\s+|[^\S ]|\A\s|\s\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOREIGN = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners: part of how Persian is spelled and emoji are put together."""
_BREAKS = "\x0b\x0c\x85\u2028\u2029"


Pass = Callable[[str], Iterator[Edit]]


def _replace(pattern: re.Pattern[str], new: Callable[[re.Match[str]], str]) -> Pass:
    """Return the pass that replaces each match, as `re.sub` does."""

    def edits(text: str) -> Iterator[Edit]:
        for match in pattern.finditer(text):
            found = new(match)
            if found != match[0]:
                yield match.start(), match.end(), found

    return edits


def _tag(match: re.Match[str]) -> str:
    inner = (match["name"] or "").lower() in _INNER or match[0].startswith("<!--")
    return "" if inner else " "


def _urls(text: str) -> Iterator[Edit]:
    for match in _URL.finditer(text):
        found = match[0]
        url = found.rstrip(_AFTER_URL)
        if found.startswith(url + ")") and url.count("(") > url.count(")"):
            url += ")"
        if url != URL:
            yield match.start(), match.start() + len(url), URL


@cache
def _hidden() -> re.Pattern[str]:
    """Return the pattern of control and invisible characters, and of line breaks beyond ASCII."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    letters = (chr(code) for code in range(sys.maxunicode + 1))
    hidden = (
        re.escape(letter)
        for letter in letters
        if unicodedata.category(letter) in kinds and letter not in "\t\n\r" + _JOINERS
    )
    return re.compile(f"[{''.join(hidden)}]")


def _characters(text: str) -> Iterator[Edit]:
    """Delete hidden characters, and replace line breaks by spaces."""
    pattern = _CONTROL if text.isascii() else _hidden()
    return _replace(pattern, lambda match: " " if match[0] in _BREAKS else "")(text)


def _nfkc(text: str) -> Iterator[Edit]:
    if unicodedata.is_normalized("NFKC", text):
        return
    # An ASCII character never joins the one before it: from one to the next the text is normalized
    # on its own.
    for match in _FOREIGN.finditer(text):
        if not unicodedata.is_normalized("NFKC", match[0]):
            yield from _smaller(match[0], match.start())


def _smaller(part: str, start: int) -> list[Edit]:
    """Return one edit a character with its marks, if they add up to the NFKC of the whole part."""
    cuts = [
        n
        for n, letter in enumerate(part)
        if n == 0 or not (unicodedata.combining(letter) or "\u1160" <= letter <= "\u11ff")
    ]
    pieces = [part[a:b] for a, b in itertools.pairwise([*cuts, len(part)])]
    normal = [unicodedata.normalize("NFKC", piece) for piece in pieces]
    whole = unicodedata.normalize("NFKC", part)
    if "".join(normal) != whole:
        return [(start, start + len(part), whole)]
    return [
        (start + cut, start + cut + len(piece), new)
        for cut, piece, new in zip(cuts, pieces, normal, strict=True)
        if new != piece
    ]


def _space(match: re.Match[str]) -> str:
    return "" if match.start() == 0 or match.end() == len(match.string) else " "


PASSES: dict[str, tuple[Pass, ...]] = {
    "html": (_replace(_TAG, _tag), _replace(_ENTITY, lambda match: html.unescape(match[0]))),
    "unicode": (_characters, _nfkc),
    "urls": (_urls,),
    "users": (_replace(_USER, lambda match: USER),),
    "whitespace": (_replace(_SPACES, _space),),
}
"""What each name does, in the order it is done whatever the order of the names: tags end links, and
hidden characters split them.
"""

SPELLING = ("html", "unicode", "whitespace")
"""What changes the spelling of a text and not its meaning."""

# Words as the lists have them: in scripts without spaces, a list is for texts that were cut into
# words before.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def _without_stop_words(language: str) -> Pass:
    """Return the pass that deletes stop words; a text of nothing else stays whole."""
    words = stop_words(language)

    def edits(text: str) -> Iterator[Edit]:
        found = [match.span() for match in _WORD.finditer(text)]
        stops = [
            (start, end)
            for start, end in found
            if text[start:end].lower().replace("’", "'") in words
        ]
        for start, end in stops if len(stops) < len(found) else ():
            after = end
            while after < len(text) and text[after].isspace():
                after += 1
            yield start, after, ""

    return edits


GIVEN = "_given"
"""The column of passages as they were, by column, in rows where cleaning moved answers."""
STOP_WORDS, WORDS, LEFT_ALONE = "stop_words", "words_left_out", "left alone"


class Cleaner:
    """Cleans texts and rows as `data.clean` and `data.stop_words` say."""

    def __init__(self, clean: Sequence[str] = (), stop_words: str | None = None) -> None:
        """Raise `ConfigError` for a language without stop words."""
        passes = {name: several for name, several in PASSES.items() if name in clean}
        if stop_words is not None:
            # White space last: deleted words leave some.
            spaces = passes.pop("whitespace", None)
            passes[STOP_WORDS] = (_without_stop_words(stop_words),)
            if spaces:
                passes["whitespace"] = spaces
        self.names = list(passes)
        """What is done, in order."""
        self._passes = [(name, one) for name, several in passes.items() for one in several]

    def __bool__(self) -> bool:
        return bool(self._passes)

    def text(self, text: str, found: Counter[str] | None = None) -> str:
        """Return `text` cleaned; `found` gets the number of edits by name."""
        for name, one in self._passes:
            edits = list(one(text))
            text = edited(text, edits)
            if found is not None and edits:
                found[name] += len(edits)
        return text

    def traced(self, text: str) -> Traced:
        """Return `text` cleaned, with the way back."""
        traced = Traced.of(text)
        for _, one in self._passes:
            traced = traced.after(list(one(traced.text)))
        return traced

    def row(
        self, row: Mapping[str, Any], schema: RowSchema, counts: Counter[str] | None = None
    ) -> tuple[Row, str | None]:
        """Return the row with its texts cleaned, and why it cannot be used any more, or None.

        Answers move with their passage. It stays as it is if an answer would be cut, lost, or
        changed in more than its spelling; else the passage as it was goes into the column `_given`.
        `counts` gets the changed rows by name of what changed them.
        """
        counts = Counter() if counts is None else counts
        cleaned: Row = dict(row)
        changed: Counter[str] = Counter()
        cause = None
        answers, passage = answers_column(schema), passage_column(schema)
        for column in schema.columns:
            text = row.get(column.name)
            if column.type != "text" or not isinstance(text, str):
                continue
            found: Counter[str] = Counter()
            new = self.text(text, found)
            if new == text:
                continue
            if answers and column == passage:
                moved = self._moved(text, row.get(answers.name))
                if moved is None:
                    counts[LEFT_ALONE] += 1
                    continue
                cleaned[GIVEN] = {column.name: text}
                if row.get(answers.name) is not None:
                    cleaned[answers.name] = moved
            if column.required and text.strip() and not new.strip():
                cause = cause or f"{column.name}: nothing is left of it by `data.clean`"
            cleaned[column.name] = new
            changed.update(found)
        counts.update(changed.keys())
        if changed[STOP_WORDS]:
            counts[WORDS] += changed[STOP_WORDS]
        return cleaned, cause

    def _moved(self, passage: str, answers: Any) -> Answers | None:
        """Return the answers as they are in the cleaned passage; None if one would be damaged."""
        traced = self.traced(passage)
        moved = []
        for text, start in texts_and_starts(answers):
            span = traced.now(start, start + len(text))
            new = traced.text[slice(*span)] if span else ""
            if span is None or not new.strip() or new.split() != self._spelled(text).split():
                return None
            moved.append((new, span[0]))
        return as_answers(moved)

    def _spelled(self, text: str) -> str:
        for name, one in self._passes:
            if name in SPELLING:
                text = edited(text, list(one(text)))
        return text


def clean_split(
    rows: Rows, split: str, head: Head, cleaner: Cleaner
) -> tuple[Rows, list[Rejected], dict[str, int]]:
    """Return the usable rows with cleaned texts, the others, and counts of what was done."""
    rejected: list[Rejected] = []
    counts = Counter[str]()

    def good() -> Iterator[tuple[Row, str]]:
        for row, place in rows.placed():
            cleaned, cause = cleaner.row(row, head.schema, counts)
            if cause is None and cleaned != row:
                cause = head.check(cleaned)
            if cause:
                rejected.append(Rejected(place, split, cause, row))
            else:
                yield cleaned, place

    return Rows.of(good()), rejected, dict(counts)


def as_given(
    head: Head,
    rows: Sequence[Mapping[str, Any]],
    predictions: Sequence[Prediction],
    cleaner: Cleaner,
) -> list[Prediction]:
    """Return the predictions with their places in the texts as they were given, if the head says
    how: see `ftr.registry.protocols.Abilities`.
    """
    restored = list(predictions)
    if not cleaner or not provides(head, "as_given"):
        return restored
    for index, row in enumerate(rows):
        for text in (row.get(GIVEN) or {}).values():
            restored[index] = head.as_given(restored[index], text, cleaner.traced(text).before)
    return restored
