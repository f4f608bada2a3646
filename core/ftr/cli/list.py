"""`ftr list [kind]`: the components that the installed plugins register."""

from argparse import ArgumentParser, Namespace

from ftr.cli.main import Answer
from ftr.errors import RequestError, did_you_mean
from ftr.registry.registry import Registered, get_registry
from ftr.registry.specs import KINDS, Kind
from ftr.runs.report import table

# Tasks first: most people look for them.
_ORDER: tuple[Kind, ...] = ("task", *(kind for kind in KINDS if kind != "task"))
_NOTES = {"reachable": "", "shadowed": "shadowed by the built-in", "ambiguous": "name used twice"}


def configure(parser: ArgumentParser) -> None:
    """Add the kind."""
    parser.add_argument("kind", nargs="?", help=f"list only this kind: {', '.join(_ORDER)}")


def execute(args: Namespace) -> Answer:
    """Return every component, or those of one kind. Raises `RequestError` for an unknown kind."""
    kinds = _ORDER if args.kind is None else (_kind(args.kind),)
    entries = [entry for kind in kinds for entry in get_registry().all(kind)]
    rows = [
        (
            entry.kind,
            entry.spec.name if entry.bare_name == "reachable" else entry.qualified,
            _NOTES[entry.bare_name],
            entry.spec.summary,
            _plugin(entry),
        )
        for entry in entries
    ]
    lines = table([("KIND", "NAME", "NOTE", "SUMMARY", "PLUGIN"), *rows])
    if not entries:
        lines = [f"no {' or '.join(kinds)} is registered; `ftr plugins` lists installed plugins"]
    return Answer([_record(entry) for entry in entries], "\n".join(lines))


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


def _plugin(entry: Registered) -> str:
    plugin = entry.plugin
    origin = "built-in" if plugin.builtin else f"{plugin.distribution} {plugin.version}"
    return f"{plugin.name} ({origin})"
