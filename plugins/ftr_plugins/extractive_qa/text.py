"""The published SQuAD v2.0 evaluation rules for one answer, standard library only."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_SPACELESS = (
    "\u0e01-\u0eff\u0f40-\u0fbc\u1000-\u109f\u1780-\u17d3"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese syllables
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_LETTER = re.compile(f"[{_SPACELESS}]")
_UNIT = re.compile(f"[{_SPACELESS}]|[^{_SPACELESS}\\s]+")


def is_spaceless(text: str) -> bool:
    """Whether the text has letters of a script that puts no spaces between words."""
    return not text.isascii() and _LETTER.search(text) is not None


def spaced(text: str) -> str:
    """Return the text without punctuation of any script and with a blank around each character of a
    script without spaces.

    The F1 of SQuAD then counts such characters one by one, and words of other scripts as before:
    the mixed segmentation of MLQA's script (Lewis et al. 2020) and CMRC 2018's.
    """
    if text.isascii():
        return text
    kept = "".join(
        letter for letter in text if letter.isascii() or unicodedata.category(letter)[0] != "P"
    )
    return " ".join(_UNIT.findall(kept))


def normalize(text: str) -> str:
    """Lower the case, then drop ASCII punctuation, English articles and extra white space, in this
    order.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(gold: str, answer: str) -> int:
    """Return 1 when the two are equal once normalized, else 0."""
    return int(normalize(gold) == normalize(answer))


def f1(gold: str, answer: str) -> float:
    """Return the F1 of the two bags of tokens, 0 to 1; where either has no token, 1 when both have
    none.
    """
    gold_tokens = normalize(gold).split()
    tokens = normalize(answer).split()
    if not gold_tokens or not tokens:
        return float(gold_tokens == tokens)
    common = sum((Counter(gold_tokens) & Counter(tokens)).values())
    if not common:
        return 0.0
    precision, recall = common / len(tokens), common / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def best_scores(golds: Sequence[str], answer: str) -> tuple[int, float]:
    """Return the best exact and F1 of `answer` over the gold answers; no gold answer means that ""
    is right.

    As in the authors' script, gold answers that normalize to nothing are left out, and F1 is 0 to
    1.
    """
    kept = [gold for gold in golds if normalize(gold)] or [""]
    return max(exact(gold, answer) for gold in kept), max(f1(gold, answer) for gold in kept)
