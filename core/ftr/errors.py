"""Every error that ftr raises on purpose, its exit code, and parts of messages:
near matches for unknown words, numbers with their nouns.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Self

_DOUBLE_STOP = re.compile(r"(?<=[^.\s/`])\.\.(?=\s|$)")
_LENGTH = 300


class FtrError(Exception):
    """The machine or a component failed: exit code 1. The message says what and where."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        """Set the message. A quoted message may double the full stop; one of them is removed."""
        super().__init__(_DOUBLE_STOP.sub(".", message))


class RequestError(FtrError):
    """The request is wrong: exit code 2.

    The message names the key, file, row or plugin, and the fix. What a caller needs to know beside
    it is in attributes: `keys` are the configuration keys at fault, `needs_integer` says that one
    of them got another number.
    """

    exit_code = 2

    def __init__(
        self, message: str = "", *, keys: Iterable[str] = (), needs_integer: bool = False
    ) -> None:
        super().__init__(message)
        self.keys, self.needs_integer = tuple(keys), needs_integer

    def with_message(self, message: str) -> Self:
        """Return the same error with another message."""
        return type(self)(message, keys=self.keys, needs_integer=self.needs_integer)


class ConfigError(RequestError):
    """A configuration key or value is unknown, missing or out of range."""


class ScoreError(ConfigError):
    """The score to rank trials by is not one that the metrics return."""


class UnknownComponentError(RequestError):
    """No component of that kind and name is registered, or the bare name is ambiguous."""


class DataError(RequestError):
    """A data file is missing, unreadable, or does not hold what the task needs."""


class NoRowsError(DataError):
    """A data file has no rows, which is no error for one of several shards."""


class ModelError(RequestError):
    """A checkpoint is missing, has no weights, or does not fit the head."""


class PluginError(FtrError):
    """A plugin failed to load, or its code failed during a run. Names plugin and version.

    `trace` is the traceback as text, because another process cannot send it; `log` is its file.
    """

    def __init__(self, message: str, *, trace: str = "", log: str = "") -> None:
        super().__init__(message)
        self.trace, self.log = trace, log

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message.rstrip('.')}. The traceback is in `{self.log}`." if self.log else message


class RunError(FtrError):
    """A training or evaluation failed on this machine (disk, memory, a lost worker)."""


def in_one_line(error: BaseException) -> str:
    """Return an error as one line of bounded length, with its type unless it is a `PluginError`."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = "(its message cannot be shown)"
    text = message
    if not isinstance(error, PluginError):
        text = f"{type(error).__name__}: {message}".removesuffix(": ")
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"


def counted(number: float, noun: str, form: str = "") -> str:
    """Return a number and its noun, `1 row` or `2 rows`; `form` is the format of the number."""
    return f"{number:{form}} {noun}{'' if number == 1 else 's'}"


def near(word: str, choices: Iterable[str]) -> list[str]:
    """Return up to three of `choices` similar to `word`, best first, ignoring case."""
    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(choice.casefold(), choice)
    return [
        folded[match] for match in get_close_matches(word.casefold(), list(folded), n=3, cutoff=0.6)
    ]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` with a leading space, or "" when nothing is near."""
    matches = near(word, choices)
    return f" Did you mean `{matches[0]}`?" if matches else ""
