"""`ftr plugins`: every plugin with its status and origin, what it registers and shadows, and why it
did not load.
"""

from argparse import ArgumentParser, Namespace

from ftr.cli.main import Answer
from ftr.errors import RequestError, counted, did_you_mean
from ftr.registry.discovery import GROUP, PluginRecord
from ftr.registry.registry import Registered, Registry, get_registry
from ftr.registry.specs import KINDS
from ftr.tables import table
from ftr.terminal import fitted

EXAMPLES = (
    "ftr plugins",
    "ftr plugins --json",
)


def configure(parser: ArgumentParser) -> None:
    """Add the option for tracebacks."""
    parser.add_argument(
        "--traceback",
        metavar="NAME",
        help="print the traceback of this plugin (or distribution), which failed to load",
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
    rows = [
        (
            record.name,
            record.distribution,
            record.version,
            f"{record.status}, see note" if record.notes else record.status,
            _counts(record),
        )
        for record in registry.plugins
    ]
    lines = table([("plugin", "distribution", "version", "status", "registers"), *rows])
    for record in registry.plugins:
        lines += ["", *_details(registry, record)]
    return Answer(
        [_record(registry, record) for record in registry.plugins], fitted("\n".join(lines))
    )


def _traceback(registry: Registry, name: str) -> Answer:
    records = [record for record in registry.plugins if record.answers_to(name)]
    if not records:
        known = [record.name for record in registry.plugins]
        raise RequestError(
            f"no plugin `{name}` is installed.{did_you_mean(name, known)} `ftr plugins` lists them."
        )
    keys = ("name", "status", "cause", "traceback")
    data = [{key: getattr(record, key) for key in keys} for record in records]
    texts = [
        f"plugin {record.described} {record.status}: "
        f"{(record.traceback or record.cause or 'no error').rstrip()}"
        for record in records
    ]
    return Answer(data, fitted("\n".join(texts)))


def _counts(record: PluginRecord) -> str:
    counts = [(kind, sum(named == kind for named, _ in record.specs)) for kind in KINDS]
    return ", ".join(counted(count, kind) for kind, count in counts if count)


def _record(registry: Registry, record: PluginRecord) -> dict[str, object]:
    entries = _entries(registry, record)
    shadowed = [entry for entry in entries if entry.shadowed]
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
        "shadowed": [f"{entry.kind} {entry.qualified}" for entry in shadowed],
        "ambiguous": [
            f"{entry.kind} {entry.qualified}" for entry in entries if entry.bare_name == "ambiguous"
        ],
        "shadows": [
            {"kind": entry.kind, "name": entry.spec.name, "of": rivals}
            for entry in entries
            if entry.bare_name == "reachable" and (rivals := _rivals(registry, entry))
        ],
        "shadowed_by": [
            {"kind": entry.kind, "name": entry.spec.name, "by": _rivals(registry, entry, True)}
            for entry in shadowed
        ],
    }


def _details(registry: Registry, record: PluginRecord) -> list[str]:
    what = "built-in, " if record.builtin else "one file, " if record.sha256 else ""
    lines = [f"{record.name} ({record.distribution} {record.version}, {what}{record.status})"]
    lines.append(f"  origin: {record.origin}")
    if record.group != GROUP:
        lines.append(f"  group: {record.group}")
    if record.cause:
        see = f" (`ftr plugins --traceback {record.name}`)" if record.traceback else ""
        lines.append(f"  cause: {record.cause}{see}")
    lines += [f"  note: {note}" for note in record.notes]
    if record.status == "loaded":
        lines.append(f"  hooks: {', '.join(record.hooks) or 'none'}")
    entries = _entries(registry, record)
    for kind in KINDS:
        names = [_name(registry, entry) for entry in entries if entry.kind == kind]
        lines += [f"  {kind}: {', '.join(names)}"] if names else []
    return lines


def _name(registry: Registry, entry: Registered) -> str:
    """Return a component's name, with a note where other plugins register the same one."""
    name, rivals = entry.spec.name, ", ".join(_rivals(registry, entry, entry.shadowed))
    if entry.shadowed:
        return f"{name} (shadowed by the built-in {rivals}: ask for {entry.qualified})"
    if entry.bare_name == "ambiguous":
        return f"{name} (another plugin uses this name, {rivals}: ask for {entry.qualified})"
    return f"{name} (shadows that of {rivals})" if rivals else name


def _entries(registry: Registry, record: PluginRecord) -> list[Registered]:
    return [entry for kind in KINDS for entry in registry.all(kind) if entry.plugin is record]


def _rivals(registry: Registry, entry: Registered, only_builtin: bool = False) -> list[str]:
    """Return the other plugins with a component of this name."""
    return [
        rival.plugin.described
        for rival in registry.rivals(entry)
        if rival.plugin.builtin or not only_builtin
    ]
