"""`data.clean`: what is cleaned from a text, each by name, as edits: see `ftr.data.edits`."""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from ftr.data.edits import Edit

URL, USER = "http", "@user"
"""What stands for links and handles: the placeholders of TweetEval (Barbieri et al. 2020), which models of tweets know."""

_BLOCK = (
    "address article aside blockquote body br button canvas caption center col colgroup dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main "
    "map menu meta nav noscript object ol optgroup option output p param picture pre progress section select source summary svg "
    "table tbody td template textarea tfoot th thead title tr track ul video audio"
)
_INLINE = (
    "a abbr acronym area b base bdi bdo big cite code data del dfn em embed font i ins kbd label mark meter q rp rt ruby s samp slot "
    "small span strike strong sub sup time tt u var wbr"
)
_NAMES = "|".join(sorted([*_BLOCK.split(), *_INLINE.split()], key=len, reverse=True))
_INNER = frozenset(_INLINE.split())
# Known elements only, or `a <b and c> d` would lose its middle.
_TAG = re.compile(
    r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>|<!doctype\b[^<>]*>|</?(?P<name>" + _NAMES + r")(?:\s[^<>]*|/)?>", re.DOTALL | re.I
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
    return ((match.start(), match.end(), USER) for match in _USER.finditer(text) if match[0] != USER)


@cache
def _hidden() -> re.Pattern[str]:
    """Return what matches control and invisible characters, and line breaks other than those of ASCII."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    codes = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in kinds]
    return re.compile("[" + "".join(re.escape(chr(code)) for code in codes if chr(code) not in "\t\n\r" + _JOINERS) + "]")


def _characters(text: str) -> Iterator[Edit]:
    """Leave hidden characters out, and make spaces of line breaks."""
    for match in (_CONTROL if text.isascii() else _hidden()).finditer(text):
        yield match.start(), match.end(), " " if match[0] in _BREAKS else ""


def _nfkc(text: str) -> Iterator[Edit]:
    if unicodedata.is_normalized("NFKC", text):
        return
    # An ASCII character never joins what stands before it: from one to the next the text is normalized on its own.
    for match in _FOREIGN.finditer(text):
        if not unicodedata.is_normalized("NFKC", match[0]):
            yield from _smaller(match[0], match.start())


def _smaller(part: str, start: int) -> list[Edit]:
    """Return one edit for each character with its marks, where these give the same as the part in one piece."""
    cuts = [n for n, letter in enumerate(part) if n == 0 or not (unicodedata.combining(letter) or "\u1160" <= letter <= "\u11ff")]
    pieces = [part[a:b] for a, b in zip(cuts, [*cuts[1:], len(part)], strict=True)]
    normal = [unicodedata.normalize("NFKC", piece) for piece in pieces]
    whole = unicodedata.normalize("NFKC", part)
    if "".join(normal) != whole:
        return [(start, start + len(part), whole)]
    return [(start + cut, start + cut + len(piece), new) for cut, piece, new in zip(cuts, pieces, normal, strict=True) if new != piece]


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
"""What each name does, in the order it is done in whatever the order of the names: tags end links, and hidden characters split them."""

SPELLING = ("html", "unicode", "whitespace")
"""What changes how a text is written and nothing that it says."""


def passes(names: Sequence[str]) -> list[tuple[str, Pass]]:
    """Return the passes that `names` stand for, each with its name, in their order."""
    return [(name, one) for name, several in PASSES.items() if name in names for one in several]
