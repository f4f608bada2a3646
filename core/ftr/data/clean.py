"""`data.clean`: edits of a text that keep offsets, and rows with cleaned texts."""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ftr.config.resolve import stop_words
from ftr.data.rows import Rejected, Row, Rows, Unlabelled

if TYPE_CHECKING:
    from ftr.registry.protocols import Head, Prediction
    from ftr.registry.schema import RowSchema


_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""

WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’-][^\W{_UNSPACED}]+)*")
"""One word: `film`, `don't`, `well-made`, `2011`; marks beside it are no part of it."""


def spaced(word: str) -> bool:
    """Whether spaces stand beside a word of its script."""
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
    """A changed text: character i of `text` stands for the characters [starts[i], ends[i]) of the
    text as it was.
    """

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
        """Return where the characters [start, end) stood, which are one or more."""
        return self.starts[start], self.ends[end - 1]

    def now(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where the characters [start, end) of the text as it was stand; None where nothing
        is left of them or an edge is cut.
        """
        first, after = bisect_right(self.ends, start), bisect_left(self.starts, end)
        if first >= after or self.starts[first] < start or self.ends[after - 1] > end:
            return None
        return first, after


URL, USER = "http", "@user"
"""What stands for links and handles: the placeholders of TweetEval (Barbieri et al. 2020), which
models of tweets know.
"""

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


def _html(text: str) -> Iterator[Edit]:
    for match in _TAG.finditer(text):
        name = (match["name"] or "").lower()
        inner = name in _INNER or match[0].startswith("<!--")
        yield match.start(), match.end(), "" if inner else " "


def _entities(text: str) -> Iterator[Edit]:
    for match in _ENTITY.finditer(text):
        new = html.unescape(match[0])
        if new != match[0]:
            yield match.start(), match.end(), new


def _urls(text: str) -> Iterator[Edit]:
    for match in _URL.finditer(text):
        found = match[0]
        kept = found.rstrip(_AFTER_URL)
        if found.startswith(kept + ")") and kept.count("(") > kept.count(")"):
            kept += ")"
        if kept != URL:
            yield match.start(), match.start() + len(kept), URL


def _users(text: str) -> Iterator[Edit]:
    return (
        (match.start(), match.end(), USER) for match in _USER.finditer(text) if match[0] != USER
    )


@cache
def _hidden() -> re.Pattern[str]:
    """Return what matches control and invisible characters, and line breaks other than those of
    ASCII.
    """
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    codes = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in kinds]
    return re.compile(
        "["
        + "".join(re.escape(chr(code)) for code in codes if chr(code) not in "\t\n\r" + _JOINERS)
        + "]"
    )


def _characters(text: str) -> Iterator[Edit]:
    """Leave hidden characters out, and make spaces of line breaks."""
    for match in (_CONTROL if text.isascii() else _hidden()).finditer(text):
        yield match.start(), match.end(), " " if match[0] in _BREAKS else ""


def _nfkc(text: str) -> Iterator[Edit]:
    if unicodedata.is_normalized("NFKC", text):
        return
    # An ASCII character never joins what stands before it: from one to the next the text is
    # normalized on its own.
    for match in _FOREIGN.finditer(text):
        if not unicodedata.is_normalized("NFKC", match[0]):
            yield from _smaller(match[0], match.start())


def _smaller(part: str, start: int) -> list[Edit]:
    """Return one edit for each character with its marks, where these give the same as the part in
    one piece.
    """
    cuts = [
        n
        for n, letter in enumerate(part)
        if n == 0 or not (unicodedata.combining(letter) or "\u1160" <= letter <= "\u11ff")
    ]
    pieces = [part[a:b] for a, b in zip(cuts, [*cuts[1:], len(part)], strict=True)]
    normal = [unicodedata.normalize("NFKC", piece) for piece in pieces]
    whole = unicodedata.normalize("NFKC", part)
    if "".join(normal) != whole:
        return [(start, start + len(part), whole)]
    return [
        (start + cut, start + cut + len(piece), new)
        for cut, piece, new in zip(cuts, pieces, normal, strict=True)
        if new != piece
    ]


def _spaces(text: str) -> Iterator[Edit]:
    for match in _SPACES.finditer(text):
        new = "" if match.start() == 0 or match.end() == len(text) else " "
        if new != match[0]:
            yield match.start(), match.end(), new


Pass = Callable[[str], Iterator[Edit]]

PASSES: dict[str, tuple[Pass, ...]] = {
    "html": (_html, _entities),
    "unicode": (_characters, _nfkc),
    "urls": (_urls,),
    "users": (_users,),
    "whitespace": (_spaces,),
}
"""What each name does, in the order it is done in whatever the order of the names: tags end links,
and hidden characters split them.
"""

SPELLING = ("html", "unicode", "whitespace")
"""What changes how a text is written and nothing that it says."""


def passes(names: Sequence[str]) -> list[tuple[str, Pass]]:
    """Return the passes that `names` stand for, each with its name, in their order."""
    return [(name, one) for name, several in PASSES.items() if name in names for one in several]


# As the lists have them: where words are not told apart by spaces, a list is for texts that were
# cut into words before.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def without(language: str) -> Callable[[str], Iterator[Edit]]:
    """Return the pass that leaves stop words out, each with the white space after it; a text of
    nothing else stays whole.
    """
    words = stop_words(language)

    def found(text: str) -> Iterator[Edit]:
        places = [match.span() for match in _WORD.finditer(text)]
        left_out = [
            (start, end)
            for start, end in places
            if text[start:end].lower().replace("’", "'") in words
        ]
        if len(left_out) == len(places):
            return
        for start, end in left_out:
            after = end
            while after < len(text) and text[after].isspace():
                after += 1
            yield start, after, ""

    return found


GIVEN = "_given"
"""The column that holds texts as they were, by column: of rows with answers, where cleaning moved
characters.
"""
CONTEXT = "context"
"""The column that answers stand in."""
STOP_WORDS = "stop_words"
LEFT_ALONE = "left alone"
EMPTY = "nothing is left of it by `data.clean`"


@dataclass(slots=True)
class Counts:
    """What cleaning did to the rows of a split: by name the rows that changed; stop words left out;
    passages left alone.
    """

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
            at = next(
                (number for number, (name, _) in enumerate(steps) if name == "whitespace"),
                len(steps),
            )
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

        Where the schema has answers, they follow the `context`, which stays as it is where an
        answer would be cut, or lost, or changed in more than its spelling; the context as it was
        goes along in the column `_given`.
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
        """Return the answers as they stand in the cleaned context; None where one of them would be
        damaged.
        """
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


def clean_split(
    rows: Rows, split: str, head: Head, cleaner: Cleaner
) -> tuple[Rows, list[Rejected], dict[str, int]]:
    """Return the rows with cleaned texts, those of which nothing usable is left, and what was done
    how often.
    """
    good, rejected, counts = Rows(), [], Counts()
    for row, place in zip(rows.rows, rows.places, strict=True):
        cleaned = cleaner.row(row, head.schema, counts)
        cause = _emptied(row, cleaned, head.schema) or (
            head.check(cleaned) if cleaned != row else None
        )
        if cause:
            rejected.append(Rejected(place, split, cause, row))
        else:
            good.rows.append(cleaned)
            good.places.append(place)
    return good, rejected, counts.report()


def clean_unlabelled(rows: Unlabelled, schema: RowSchema, cleaner: Cleaner) -> Unlabelled:
    """Return rows to predict with cleaned texts; those of which nothing is left join the
    rejected.
    """
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


def cleaned_row(
    row: Mapping[str, Any], schema: RowSchema, cleaner: Cleaner
) -> tuple[Row, str | None]:
    """Return one row with its texts cleaned, and that nothing is left of a text it needs, or
    None.
    """
    new = cleaner.row(row, schema, Counts())
    return new, _emptied(row, new, schema)


def _emptied(row: Mapping[str, Any], cleaned: Mapping[str, Any], schema: RowSchema) -> str | None:
    """Return that a text which is needed is gone, or None."""
    for column in schema.columns:
        if (
            column.type == "text"
            and column.required
            and str(row.get(column.name) or "").strip()
            and not str(cleaned[column.name]).strip()
        ):
            return f"{column.name}: {EMPTY}"
    return None


def as_given(
    head: Head,
    rows: Sequence[Mapping[str, Any]],
    predictions: Sequence[Prediction],
    cleaner: Cleaner,
) -> list[Prediction]:
    """Return the predictions with their places in the texts as they were given, where the head says
    how: see `ftr.registry.protocols.Places`.
    """
    from ftr.registry.protocols import Places

    if not cleaner or not isinstance(head, Places):
        return list(predictions)
    return list(_led_back(head, rows, predictions, cleaner))


def _led_back(
    head: Any,
    rows: Sequence[Mapping[str, Any]],
    predictions: Sequence[Prediction],
    cleaner: Cleaner,
) -> Iterator[Prediction]:
    for row, prediction in zip(rows, predictions, strict=True):
        text = (row.get(GIVEN) or {}).get(CONTEXT)
        yield (
            prediction
            if text is None
            else head.as_given(prediction, text, cleaner.traced(text).before)
        )
