"""`data.stop_words`: the words of a language that say little, and leaving them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ftr.config.texts import stop_words
from ftr.data.edits import Edit

# As the lists have them: where words are not told apart by spaces, a list is for texts that were cut into words before.
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


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
