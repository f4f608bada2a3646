"""A report as one HTML page, and as Markdown. All text in it is escaped: rows stay text."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from ftr.results.report.blocks import (
    Examples,
    Facts,
    Note,
    Pictures,
    Report,
    Simple,
    Table,
    one_line,
)

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&#@{}!]|(?<!\w)_|_(?!\w)")
_LINK = re.compile(r"(?i):(?=//|\w)|(?<=www)\.")


def html(report: Report) -> str:
    """Return the page: one file without scripts, that loads nothing.

    Its Content-Security-Policy allows the style sheet in it, by hash, and nothing else.
    """
    from jinja2 import Environment, StrictUndefined

    folder = files(__package__)
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(report=report, style=style, policy=f"sha256-{digest}")


def markdown(report: Report) -> str:
    """Return the report as Markdown, without its pictures: tables have their numbers."""
    lines = [f"# {escaped(report.title)}", "", escaped(report.subtitle), ""]
    for text in report.warnings:
        lines += [f"> **{escaped(text)}**", ""]
    if report.headlines:
        lines += _table(
            ("", "", ""), [(one.name, one.value, one.detail) for one in report.headlines], names=1
        )
    for section in report.sections:
        lines += [f"## {escaped(section.title)}", ""]
        for block in section.simple:
            lines += [*_block(block), ""]
    if report.missing:
        lines += ["## Not in this report", ""]
        lines += [f"- {escaped(name)}: {escaped(why)}" for name, why in report.absent().items()]
        lines.append("")
    lines += [escaped(report.footer), ""]
    return "\n".join(lines)


def escaped(text: object) -> str:
    """Return text that Markdown shows as it is, in one line."""
    plain = one_line(text, 10_000)
    return _LINK.sub(r"\\\g<0>", _SPECIAL.sub(r"\\\g<0>", plain))


def _block(block: Simple) -> Iterator[str]:
    if isinstance(block, Table):
        if block.caption:
            yield from (f"**{escaped(block.caption)}**", "")
        yield from _table(block.header, block.rows, block.names)
    elif isinstance(block, Facts):
        yield from (f"- {escaped(name)}: {escaped(text)}" for name, text in block.facts.items())
    elif isinstance(block, Pictures):
        yield f"In the page: {escaped('; '.join(one.title for one in block.pictures))}"
    elif isinstance(block, Examples):
        for one in block.examples:
            yield f"- **{escaped(one.title)}**"
            yield from (
                f"    - {escaped(name)}: {escaped(text)}" for name, text in one.cells.items()
            )
    elif isinstance(block, Note):
        yield f"**{escaped(block.text)}**" if block.warning else escaped(block.text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> Iterator[str]:
    yield f"| {' | '.join(map(escaped, header))} |"
    yield "|" + "|".join("---" if place < names else "--:" for place in range(len(header))) + "|"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    yield ""
