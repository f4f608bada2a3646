"""`ftr plugins`: every plugin, its status and origin, what it registers, what it shadows, and why
it did not load.
"""

from argparse import ArgumentParser, Namespace

from ftr.cli.answer import Answer, table
from ftr.errors import RequestError, did_you_mean
from ftr.registry.discovery import GROUP, PluginRecord
from ftr.registry.registry import Registered, Registry, get_registry
from ftr.registry.specs import KINDS


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--traceback",
        metavar="NAME",
        help="show where this plugin (or distribution) failed to load",
    )


def execute(args: Namespace) -> Answer:
    """Return all plugins, or the traceback of those called NAME.

    Raises `RequestError` for an unknown NAME.
    """
    registry = get_registry()
    if args.traceback is not None:
        return _traceback(registry, args.traceback)
    if not registry.plugins:
        return Answer(
            [],
            "no plugin is installed, not even the built-in ones: install `ftr` itself (`pip "
            "install -e .` in its project)",
        )
    header = ("PLUGIN", "DISTRIBUTION", "VERSION", "STATUS", "REGISTERS")
    rows = [
        (record.name, record.distribution, record.version, _status(record), _counts(record))
        for record in registry.plugins
    ]
    details = [_details(registry, record) for record in registry.plugins]
    return Answer(
        [_record(registry, record) for record in registry.plugins],
        "\n\n".join([table(header, rows), *details]),
    )


def _status(record: PluginRecord) -> str:
    return f"{record.status}, see note" if record.notes else record.status


def _traceback(registry: Registry, name: str) -> Answer:
    records = [record for record in registry.plugins if record.answers_to(name)]
    if not records:
        known = [record.name for record in registry.plugins]
        raise RequestError(
            f"no plugin `{name}` is installed.{did_you_mean(name, known)} `ftr plugins` lists them."
        )
    data = [
        {
            "name": record.name,
            "status": record.status,
            "cause": record.cause,
            "traceback": record.traceback,
        }
        for record in records
    ]
    texts = [
        f"plugin {record.described} {record.status}: "
        f"{record.traceback or record.cause or 'no fault'}"
        for record in records
    ]
    return Answer(data, "\n".join(text.rstrip() for text in texts))


def _entries(registry: Registry, record: PluginRecord) -> list[Registered]:
    return [entry for kind in KINDS for entry in registry.all(kind) if entry.plugin is record]


def _record(registry: Registry, record: PluginRecord) -> dict[str, object]:
    entries = _entries(registry, record)
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "status": record.status,
        "cause": record.cause,
        "notes": list(record.notes),
        "lacks": record.lacks,
        "builtin": record.builtin,
        "origin": record.origin,
        "sha256": record.sha256 or None,
        "group": record.group,
        "hooks": list(record.hooks),
        "registers": {
            kind: [entry.spec.name for entry in entries if entry.kind == kind] for kind in KINDS
        },
        "shadowed": [f"{entry.kind} {entry.qualified}" for entry in entries if entry.shadowed],
        "ambiguous": [
            f"{entry.kind} {entry.qualified}" for entry in entries if entry.bare_name == "ambiguous"
        ],
        "shadows": [
            _told(entry, of=_owners(registry, entry))
            for entry in entries
            if _shadows(registry, entry)
        ],
        "shadowed_by": [
            _told(entry, by=_owners(registry, entry, builtin=True))
            for entry in entries
            if entry.shadowed
        ],
    }


def _told(entry: Registered, **others: list[str]) -> dict[str, object]:
    return {"kind": entry.kind, "name": entry.spec.name, **others}


def _details(registry: Registry, record: PluginRecord) -> str:
    what = "built-in, " if record.builtin else "one file, " if record.sha256 else ""
    lines = [f"{record.name} ({record.distribution} {record.version}, {what}{record.status})"]
    lines.append(f"  origin: {record.origin}")
    if record.group != GROUP:
        lines.append(f"  group: {record.group}")
    if record.cause:
        see = f" (`ftr plugins --traceback {record.name}`)" if record.traceback else ""
        lines.append(f"  cause: {record.cause}{see}")
    lines.extend(f"  note: {note}" for note in record.notes)
    if record.status == "loaded":
        lines.append(f"  hooks: {', '.join(record.hooks) or 'none'}")
    entries = _entries(registry, record)
    for kind in KINDS:
        names = [_marked(registry, entry) for entry in entries if entry.kind == kind]
        lines.extend([f"  {kind}: {', '.join(names)}"] if names else [])
    return "\n".join(lines)


def _marked(registry: Registry, entry: Registered) -> str:
    """Return a component's name, and what other plugins have to do with that name."""
    if entry.bare_name == "shadowed":
        keeper = ", ".join(_owners(registry, entry, builtin=True))
        return (
            f"{entry.spec.name} (shadowed: the built-in {keeper} keeps this name: ask for "
            f"{entry.qualified})"
        )
    rivals = ", ".join(_owners(registry, entry))
    if entry.bare_name == "ambiguous":
        return (
            f"{entry.spec.name} (another plugin uses this name, {rivals}: ask for "
            f"{entry.qualified})"
        )
    return f"{entry.spec.name} (shadows that of {rivals})" if rivals else entry.spec.name


def _shadows(registry: Registry, entry: Registered) -> bool:
    return entry.bare_name == "reachable" and bool(registry.rivals(entry))


def _owners(registry: Registry, entry: Registered, *, builtin: bool = False) -> list[str]:
    """Return the other plugins with a component of this name, or only the built-in ones, as
    messages name them.
    """
    return [
        rival.plugin.described
        for rival in registry.rivals(entry)
        if rival.plugin.builtin or not builtin
    ]


def _counts(record: PluginRecord) -> str:
    counts = [(kind, sum(named == kind for named, _ in record.specs)) for kind in KINDS]
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts if count)
