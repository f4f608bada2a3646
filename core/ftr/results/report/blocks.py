"""What a report is made of: sections of tables, facts, pictures, texts of rows and notes.

Every text here may be somebody's data. It stays text: the page and the Markdown escape all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ftr.terminal import visible

LONGEST = 600
"""Characters of a cell of a row; the rest is counted."""
_UNSEEN = re.compile(r"[\x0b\x0c\u200b\u200e\u200f\u061c\u2028\u2029\ufeff\ufffe\uffff]")
"""Marks of direction, and characters that take no room or that XML does not have."""


def readable(value: object, longest: int = LONGEST) -> str:
    r"""Return a cell as text to show: cut, with characters that nobody sees as `\u202e`."""
    text = value if isinstance(value, str) else str(value)
    size = len(text)
    text = visible(text[:longest])
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text if size <= longest else f"{text}… ({size:,} characters)"


def one_line(value: object, longest: int = 200) -> str:
    """Return a name as text of one line."""
    return " ".join(readable(value, longest).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under a header; the first `names` columns are words, the others numbers.

    A `folded` table can be opened on the page.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG element, with what it shows in words."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures beside each other where there is room."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of the data: what it is about in one line, and its cells by name."""

    title: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows of the data."""

    kind: ClassVar[str] = "examples"
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence; a `warning` is one to act on."""

    kind: ClassVar[str] = "note"
    text: str
    warning: bool = False


Simple = Table | Facts | Pictures | Examples | Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Blocks beside each other where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: Sequence[Simple]


Block = Simple | Beside


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report under its title."""

    title: str
    blocks: Sequence[Block]

    @property
    def simple(self) -> list[Simple]:
        """Its blocks, those beside each other one after the other."""
        found: list[Simple] = []
        for block in self.blocks:
            found += block.blocks if isinstance(block, Beside) else [block]
        return found

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return re.sub(r"[^a-z]+", "-", self.title.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A figure at the top: its name, its value, and what to compare it with."""

    name: str
    value: str
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Report:
    """All of a report; `missing` has, for each part that is not in it, why."""

    title: str
    subtitle: str
    warnings: list[str] = field(default_factory=list)
    headlines: list[Headline] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    footer: str = ""

    def absent(self) -> dict[str, str]:
        """Return `missing`, with the names of all parts that have the same reason in one."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            reasons.setdefault(why, []).append(name)
        return {", ".join(names): why for why, names in reasons.items()}

    def tables(self) -> list[dict[str, Any]]:
        """Return the numbers of each section, as plain data."""
        return [
            {
                "section": section.title,
                "tables": [
                    {"header": list(block.header), "rows": [list(row) for row in block.rows]}
                    for block in section.simple
                    if isinstance(block, Table)
                ],
            }
            for section in self.sections
        ]
