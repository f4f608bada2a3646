"""`ftr list [kind]`: what the installed plugins register, and what is shadowed."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from ftr.cli.answer import Answer, table
from ftr.errors import RequestError, did_you_mean
from ftr.registry.registry import Registered, get_registry
from ftr.registry.specs import KINDS, Kind

# Tasks first: they are what most people look for.
_ORDER: tuple[Kind, ...] = ("task", *(kind for kind in KINDS if kind != "task"))


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("kind", nargs="?", help=f"only one kind: {', '.join(_ORDER)}")


def execute(args: Namespace) -> Answer:
    """Return every component, or those of one kind. Raises `RequestError` for an unknown kind."""
    kinds = _ORDER if args.kind is None else (_kind(args.kind),)
    entries = [entry for kind in kinds for entry in get_registry().all(kind)]
    return Answer([_record(entry) for entry in entries], _text(entries, kinds))


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
        "plugin": entry.plugin.name,
        "distribution": entry.plugin.distribution,
        "version": entry.plugin.version,
    }


def _text(entries: Sequence[Registered], kinds: Sequence[Kind]) -> str:
    if not entries:
        return (
            f"no {' or '.join(kinds)} is registered; `ftr plugins` says which plugins are installed"
        )
    rows = [
        (entry.kind, entry.short_name, _note(entry), entry.spec.summary, _owner(entry))
        for entry in entries
    ]
    return table(("KIND", "NAME", "NOTE", "SUMMARY", "PLUGIN"), rows)


def _note(entry: Registered) -> str:
    notes = {
        "reachable": "",
        "shadowed": "shadowed by the built-in",
        "ambiguous": "name used twice",
    }
    return notes[entry.bare_name]


def _owner(entry: Registered) -> str:
    plugin = entry.plugin
    return (
        f"{plugin.name} (built-in)"
        if plugin.builtin
        else f"{plugin.name} ({plugin.distribution} {plugin.version})"
    )
