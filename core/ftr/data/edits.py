"""A text that is changed piece by piece and knows where each of its characters stood in the text it was."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Edit = tuple[int, int, str]
"""Characters [start, end) become another text. Edits of one text come in order and do not overlap."""


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
    """A changed text: character i of `text` stands for the characters [starts[i], ends[i]) of the text as it was."""

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
        return Traced(edited(self.text, edits), [*starts, *self.starts[at:]], [*ends, *self.ends[at:]])

    def before(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters [start, end) stood, which are one or more."""
        return self.starts[start], self.ends[end - 1]

    def now(self, start: int, end: int) -> tuple[int, int] | None:
        """Return where the characters [start, end) of the text as it was stand; None where nothing is left of them or an edge is cut."""
        first, after = bisect_right(self.ends, start), bisect_left(self.starts, end)
        if first >= after or self.starts[first] < start or self.ends[after - 1] > end:
            return None
        return first, after
