"""`ftr list [kind]`: the components that the installed plugins register."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from ftr.cli.main import Answer
from ftr.errors import RequestError, did_you_mean
from ftr.registry.registry import Registered, get_registry
from ftr.registry.specs import KINDS, Kind
from ftr.tables import table

EXAMPLES = (
    "ftr list",
    "ftr list models",
)

# Tasks first: most people look for them.
_ORDER: tuple[Kind, ...] = ("task", *(kind for kind in KINDS if kind != "task"))
_FACTS = ("parameters", "max_length", "languages", "license")
_NOTES = {"reachable": "", "shadowed": "shadowed by the built-in", "ambiguous": "name used twice"}


def configure(parser: ArgumentParser) -> None:
    """Add the kind."""
    parser.add_argument("kind", nargs="?", help=f"list only this kind: {', '.join(_ORDER)}")


def execute(args: Namespace) -> Answer:
    """Return every component, or those of one kind. Raises `RequestError` for an unknown kind."""
    kinds = _ORDER if args.kind is None else (_kind(args.kind),)
    entries = [entry for kind in kinds for entry in get_registry().all(kind)]
    lines = _model_lines(entries) if kinds == ("model",) else _lines(entries)
    if not entries:
        lines = [f"no {' or '.join(kinds)} is registered; `ftr plugins` lists installed plugins"]
    return Answer([_record(entry) for entry in entries], "\n".join(lines))


def _lines(entries: Sequence[Registered]) -> list[str]:
    rows = [
        (entry.kind, _name(entry), _NOTES[entry.bare_name], entry.spec.summary, _plugin(entry))
        for entry in entries
    ]
    return table([("kind", "name", "note", "summary", "plugin"), *rows])


def _model_lines(entries: Sequence[Registered]) -> list[str]:
    """Return a table of facts with the summary of each model below its row: both do not fit into
    the 80 columns of a terminal.
    """
    rows = [
        (
            _name(entry),
            _NOTES[entry.bare_name],
            _short(getattr(entry.spec, "parameters", None)),
            getattr(entry.spec, "max_length", None) or "",
            getattr(entry.spec, "languages", ""),
            getattr(entry.spec, "license", ""),
            "" if entry.plugin.builtin else _plugin(entry),
        )
        for entry in entries
    ]
    names = ("name", "note", "parameters", "tokens", "languages", "license", "plugin")
    header, *lines = table([names, *rows], width=sys.maxsize)
    for place in range(len(entries), 0, -1):
        if summary := entries[place - 1].spec.summary:
            lines.insert(place, f"  {summary}")
    return [header, *lines]


def _short(number: int | None) -> str:
    """Return a number of parameters as people write it: `109M`, `1.5B`."""
    if number is None:
        return ""
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def _name(entry: Registered) -> str:
    return entry.spec.name if entry.bare_name == "reachable" else entry.qualified


def _kind(word: str) -> Kind:
    singular = word.lower().removesuffix("s")
    for kind in KINDS:
        if singular == kind:
            return kind
    raise RequestError(
        f"unknown kind `{word}`.{did_you_mean(singular, KINDS)} The kinds are "
        f"{', '.join(f'`{kind}`' for kind in _ORDER)}."
    )


def _record(entry: Registered) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "name": entry.spec.name,
        "qualified": entry.qualified,
        "bare_name": entry.bare_name,
        "summary": entry.spec.summary,
        **{name: getattr(entry.spec, name) for name in _FACTS if hasattr(entry.spec, name)},
        "plugin": entry.plugin.name,
        "distribution": entry.plugin.distribution,
        "version": entry.plugin.version,
    }


def _plugin(entry: Registered) -> str:
    plugin = entry.plugin
    origin = "" if plugin.builtin else f" ({plugin.distribution} {plugin.version})"
    return f"{plugin.name}{origin}"
