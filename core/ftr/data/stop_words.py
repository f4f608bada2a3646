"""`data.stop_words`: the words of a language that say little, and leaving them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from ftr.data.edits import Edit
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean

# As the lists have them: where words are not told apart by spaces, a list is for texts that were cut into words before.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language, in lower case, by its ISO 639-1 code, from the lists of Stopwords ISO.

    Raises `ConfigError` for a language without a list.
    """
    import stopwordsiso

    code = language.lower()
    known = sorted(stopwordsiso.langs())
    if code not in known:
        raise ConfigError(
            f"`data.stop_words={language}`: there is no list of stop words for this language.{did_you_mean(code, known)} "
            f"Give a code of two letters: {', '.join(known)}; or leave the key out."
        )
    return frozenset(word.lower() for word in stopwordsiso.stopwords(code))


def without(language: str) -> Callable[[str], Iterator[Edit]]:
    """Return the pass that leaves stop words out, each with the white space after it; a text of nothing else stays whole."""
    words = stop_words(language)

    def found(text: str) -> Iterator[Edit]:
        places = [match.span() for match in _WORD.finditer(text)]
        left_out = [(start, end) for start, end in places if text[start:end].lower().replace("’", "'") in words]
        if len(left_out) == len(places):
            return
        for start, end in left_out:
            after = end
            while after < len(text) and text[after].isspace():
                after += 1
            yield start, after, ""

    return found
