"""What a word is, for all that counts or changes words: letters and digits in a row; in scripts without spaces, one character."""

import re

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, kana and Han."""

WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’-][^\W{_UNSPACED}]+)*")
"""One word: `film`, `don't`, `well-made`, `2011`; marks beside it are no part of it."""


def spaced(word: str) -> bool:
    """Whether spaces stand beside a word of its script."""
    return not re.match(rf"[{_UNSPACED}]", word)
