"""Near matches for a misspelled word, for every message that says a name or key is unknown."""

from collections.abc import Iterable


def near(word: str, choices: Iterable[str]) -> list[str]:
    """Return up to three of `choices` that look like `word`, best first; upper and lower case are the same."""
    from difflib import get_close_matches

    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(choice.casefold(), choice)
    return [folded[match] for match in get_close_matches(word.casefold(), list(folded), n=3, cutoff=0.6)]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` with a leading space, or "" when nothing is near."""
    matches = near(word, choices)
    return f" Did you mean `{matches[0]}`?" if matches else ""
