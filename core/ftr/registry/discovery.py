"""Find and load plugins: one `try` per plugin, all of its specs or none."""

import inspect
import os
import re
import sys
import time
import traceback as tracebacks
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    distributions,
    version,
)
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import pluggy

import ftr.registry.specs
from ftr.atomic import sha256
from ftr.errors import PluginError, did_you_mean, in_one_line
from ftr.registry import plugin_files
from ftr.registry.isolation import isolated
from ftr.registry.specs import (
    DEPRECATED,
    KINDS,
    PROJECT,
    SPEC_TYPES,
    SPECS,
    AnySpec,
    Deprecated,
    Kind,
    TaskSpec,
    fault,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OWN = "ftr"
_UNKNOWN_VERSION = "0+unknown"
_PLAIN = re.compile(r"\s*\w([\w.-]*\w)?\s*")
_OWN_REQUIREMENT = re.compile(r"\s*ftr(?![\w.-]*\w)", re.IGNORECASE)


@cache
def own_version() -> str:
    """Return the version of the installed `ftr`, or `0+unknown` where it is not installed."""
    return installed(OWN) or _UNKNOWN_VERSION


def unmet(requires: Iterable[str], extras: Collection[str]) -> str | None:
    """Return why a distribution needs another version of ftr, from its `Requires-Dist`, or None."""
    own = own_version()
    for line in requires:
        if own == _UNKNOWN_VERSION or not _OWN_REQUIREMENT.match(line):
            continue
        wanted = _requirement(line, extras)
        if wanted is not None and not wanted.specifier.contains(own, prereleases=True):
            return (
                f"it requires `{OWN}{wanted.specifier}` and this is {OWN} {own}; install a "
                f"version of it made for {OWN} {own}"
            )
    return None


def lacking(requires: Iterable[str], extras: Collection[str]) -> str:
    """Return which other requirements are missing or have another version, "" for none."""
    others = [line for line in requires if not _OWN_REQUIREMENT.match(line)]
    faults = [fault for line in others if (fault := _version_fault(line, extras))]
    return f"it requires {', and '.join(faults)}" if faults else ""


def _version_fault(line: str, extras: Collection[str]) -> str:
    if _PLAIN.fullmatch(line):  # needs no parser, which takes long to import
        return "" if installed(line.strip()) else f"`{line.strip()}`, which is not installed"
    from packaging.requirements import InvalidRequirement
    from packaging.version import InvalidVersion

    try:
        wanted = _requirement(line, extras)
        if wanted is None:
            return ""
        found = installed(wanted.name)
        if found is None:
            return f"`{wanted.name}{wanted.specifier}`, which is not installed"
        met = wanted.specifier.contains(found, prereleases=True)
    except InvalidRequirement:
        return f"`{line}`, which cannot be read"
    except InvalidVersion:
        return ""
    return "" if met else f"`{wanted.name}{wanted.specifier}`, but {found} is installed"


def _requirement(line: str, extras: Collection[str]) -> "Requirement | None":
    """Return a requirement, None where its marker excludes this Python or the extras."""
    # Importing it takes longer than all else that `ftr list` does, and most plugins need it not.
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    applies = wanted.marker is None or any(
        wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)
    )
    return wanted if applies else None


@cache
def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


HOOKS: Mapping[str, Kind] = {f"ftr_{kind}s": kind for kind in KINDS}

Specs = tuple[tuple[Kind, AnySpec], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What ftr promises the plugins of one entry-point group.

    `hookspecs` is the module of its hooks; `read(hook, result)` yields the kind and spec of each
    item that a hook returned, and raises `PluginError` for an invalid one; `deprecated` entries
    still work, with a notice.
    """

    hookspecs: ModuleType
    read: Callable[[str, object], Iterable[tuple[Kind, AnySpec]]]
    deprecated: Sequence[Deprecated] = ()


def read_specs(hook: str, result: object) -> Iterator[tuple[Kind, AnySpec]]:
    """Yield the specs that a hook returned. Raises `PluginError` for the first invalid one."""
    kind = HOOKS[hook]
    expected = SPEC_TYPES[kind]
    # ftr calls the hook itself: pluggy would silently drop a forgotten `return`.
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise PluginError(
            f"`{hook}` returned `{type(result).__name__}`: return a list of `{expected.__name__}`."
        )
    for spec in result:
        # A subclass could hold anything; a spec must mean the same in every process.
        if type(spec) is not expected:
            raise PluginError(
                f"`{hook}` gave a `{type(spec).__name__}`: it must give `{expected.__name__}` "
                "objects only."
            )
        if trouble := fault(spec):
            raise PluginError(f"`{hook}` gave the {kind} {spec.name!r}: {trouble}")
        yield kind, spec


V1 = Contract(hookspecs=ftr.registry.specs, read=read_specs, deprecated=DEPRECATED)
GROUP = "ftr.plugins"
CONTRACTS: Mapping[str, Contract] = {GROUP: V1}
"""The contract of each group of entry points, oldest first; the newest known one is read."""


def collect(plugin: object, contract: Contract = V1) -> tuple[tuple[str, ...], Specs]:
    """Return the hooks that `plugin` implements and the specs that they return.

    What `@task` declares comes first. Raises `PluginError` for an unknown or unmarked hook and for
    an invalid spec, and whatever the hooks raise.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(contract.hookspecs)
    known = sorted(vars(manager.hook))
    _refuse_unmarked(plugin, manager)
    manager.register(plugin)
    hooks: list[str] = []
    specs: list[tuple[Kind, AnySpec]] = []
    for kind, spec in declared(plugin):
        hooks = hooks or ["@task"]
        specs.extend(contract.read(f"ftr_{kind}s", [spec]))
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.name not in known:
            raise PluginError(_unknown_hook(caller.name, known, contract.deprecated))
        hooks.append(caller.name)
        for implementation in caller.get_hookimpls():
            specs.extend(contract.read(caller.name, implementation.function()))
    for (kind, name), count in Counter((kind, spec.name) for kind, spec in specs).items():
        if count > 1:
            raise PluginError(
                f"the {kind} `{name}` is registered twice by this plugin: give one of them "
                "another name."
            )
    return tuple(hooks), tuple(specs)


def declared(plugin: object) -> Iterator[tuple[Kind, AnySpec]]:
    """Yield the specs of `@task` at the functions and classes of a hook module; those that it
    imports from its own package count, others do not.
    """
    own = getattr(plugin, "__name__", type(plugin).__module__).partition(".")[0]
    for found in dict.fromkeys(filter(callable, vars(plugin).values())):
        attributes = getattr(found, "__dict__", {})
        if str(getattr(found, "__module__", "")).partition(".")[0] == own:
            for spec in attributes.get(SPECS, ()):
                yield next(kind for kind in KINDS if type(spec) is SPEC_TYPES[kind]), spec


def deprecations(contract: Contract, hooks: Iterable[str], specs: Specs) -> Iterator[str]:
    """Yield a notice for each deprecated hook, and each deprecated field that a spec sets."""
    used = {
        *hooks,
        *(f"{type(spec).__name__}.{name}" for _, spec in specs for name in _set_fields(spec)),
    }
    yield from (entry.notice for entry in contract.deprecated if entry.name in used)


def _set_fields(spec: AnySpec) -> Iterator[str]:
    for field in fields(spec):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if getattr(spec, field.name) != default:
            yield field.name


def _unknown_hook(name: str, known: Sequence[str], deprecated: Iterable[Deprecated]) -> str:
    for entry in deprecated:
        if entry.name == name:
            return f"the hook `{name}` was removed in ftr {entry.removed}: use {entry.instead}."
    listed = ", ".join(f"`{hook}`" for hook in known)
    return f"unknown hook `{name}`.{did_you_mean(name, known)} The hooks are {listed}."


def _refuse_unmarked(plugin: object, manager: pluggy.PluginManager) -> None:
    for name in dir(plugin):
        if (
            name.startswith("ftr_")
            and inspect.isroutine(getattr(plugin, name, None))
            and manager.parse_hookimpl_opts(plugin, name) is None
        ):
            raise PluginError(
                f"the function `{name}` looks like a hook but is not marked: put `@hookimpl` (of "
                "`ftr.plugin`) above it, or rename it."
            )


BEGAN = time.time()
"""When this process first asked for plugins: code that changes later is not what runs here."""
_GROUP = re.compile(rf"{re.escape(GROUP)}(\.v\d+)?")
_MODULE_PATH = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")
Status = Literal["loaded", "failed", "skipped", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One plugin, an entry point or a file: its source, its status and what it registers.

    `origin` is the module's file once loaded, before that the folder of its distribution. `cause`
    is one line, empty when loaded; `traceback` is set when code of the plugin failed. `notes` are
    lines on what a loaded plugin should not do; `lacks` is a line on missing requirements. A
    one-file plugin has a `sha256`; its distribution is the file's name, its version the start of
    the hash.
    """

    name: str
    distribution: str
    version: str
    origin: str
    builtin: bool
    status: Status
    cause: str = ""
    traceback: str = ""
    hooks: tuple[str, ...] = ()
    specs: Specs = ()
    group: str = GROUP
    module: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()
    lacks: str = ""

    @property
    def described(self) -> str:
        """The plugin as messages name it: `` `name` (distribution version)``."""
        return f"`{self.name}` ({self.distribution} {self.version})"

    @property
    def faulty(self) -> bool:
        """Whether it should have loaded and did not."""
        return self.status in ("failed", "skipped")

    @property
    def one_file(self) -> bool:
        """Whether it is a Python file that was named, and not an entry point."""
        return self.distribution == Path(self.origin).name

    @property
    def target_modules(self) -> frozenset[str]:
        """The modules its components are imported from."""
        return frozenset(
            spec.path.partition(":")[0] for _, spec in self.specs if not isinstance(spec, TaskSpec)
        )

    @property
    def complaint(self) -> str:
        """The one line that is printed for a faulty plugin."""
        see = f" (see `ftr plugins --traceback {self.name}`)" if self.traceback else ""
        return f"plugin {self.described} not loaded: {self.cause}{see}"

    def answers_to(self, qualifier: str) -> bool:
        """Whether `qualifier` is its entry point, distribution, or `distribution.entry-point`."""
        distribution_name = _canonical(self.distribution)
        return (
            qualifier in (self.name, f"{distribution_name}.{self.name}")
            or _canonical(qualifier) == distribution_name
        )


def discover(contracts: Mapping[str, Contract] = CONTRACTS) -> tuple[PluginRecord, ...]:
    """Return a record for every plugin: built-in, then installed, then one-file plugins.

    `contracts` are the known groups of entry points, oldest first. `FTR_PLUGINS` (entry-point or
    distribution names, comma-separated) limits which third-party plugins load; empty means none.
    Raises `PluginError` for the first faulty plugin when `FTR_STRICT_PLUGINS` is set.
    """
    chosen = _chosen(os.environ.get("FTR_PLUGINS"))
    installed.cache_clear()
    records = [
        record if point is None else _load(record, point, requires, contracts, chosen)
        for record, point, requires in _entry_points(contracts)
    ]
    records.sort(
        key=lambda record: (not record.builtin, _canonical(record.distribution), record.name)
    )
    files = plugin_files.named()
    newest = list(contracts)[-1]
    records += [
        _load_file(path, files[:index], newest, contracts[newest])
        for index, path in enumerate(files)
    ]
    if os.environ.get("FTR_STRICT_PLUGINS", "").lower() not in ("", "0", "false"):
        for record in records:
            if record.faulty:
                raise PluginError(
                    f"{record.complaint}. `FTR_STRICT_PLUGINS` is set: fix or uninstall "
                    f"`{record.distribution}`, or unset it."
                )
    return tuple(records)


def complaints(records: Sequence[PluginRecord]) -> Iterator[str]:
    """Yield a line for each fault of a plugin and each name in `FTR_PLUGINS` that none has."""
    for record in records:
        if record.faulty:
            yield record.complaint
        yield from (f"plugin {record.described}: {note}" for note in record.notes)
    known = {name for record in records for name in (record.name, record.distribution)}
    for name in sorted(_chosen(os.environ.get("FTR_PLUGINS")) or ()):
        if not any(record.answers_to(name) for record in records):
            yield (
                f"`FTR_PLUGINS` names `{name}`, and no such plugin is "
                f"installed.{did_you_mean(name, known)}"
            )


def _chosen(setting: str | None) -> frozenset[str] | None:
    return None if setting is None else frozenset(filter(None, map(str.strip, setting.split(","))))


def _entry_points(
    groups: Collection[str],
) -> Iterator[tuple[PluginRecord, EntryPoint | None, Sequence[str]]]:
    """Yield each entry point with its record and the requirements of its distribution.

    A distribution that offers several `groups` gives the newest known one. The metadata is read
    file by file: one malformed file must not hide every other plugin.
    """
    seen: set[str] = set()
    for found in distributions():
        try:
            if GROUP not in (found.read_text("entry_points.txt") or ""):
                continue
            # The first distribution of a name on the path is the one an import would meet.
            dist = distribution(found.metadata["Name"])
            metadata = dist.metadata  # parsing it is the slow part
            requires = metadata.get_all("Requires-Dist") or dist.requires or ()
            points = [point for point in dist.entry_points if _GROUP.fullmatch(point.group)]
        except Exception as error:
            yield _unreadable(found, error), None, ()
            continue
        name = metadata["Name"]
        if _canonical(name) in seen:
            continue
        seen.add(_canonical(name))
        offered = {point.group for point in points}
        newest = next((group for group in reversed(list(groups)) if group in offered), None)
        for point in points:
            if newest in (None, point.group):
                record = PluginRecord(
                    name=point.name,
                    distribution=name,
                    version=metadata["Version"] or "?",
                    origin=str(dist.locate_file("")),
                    builtin=_canonical(name) == OWN,
                    status="disabled",
                    group=point.group,
                    module=point.module if _MODULE_PATH.fullmatch(point.value) else "",
                )
                yield record, point, requires


def _unreadable(dist: Distribution, error: Exception) -> PluginRecord:
    folder = Path(str(getattr(dist, "_path", "unknown")))
    return PluginRecord(
        name=folder.name,
        distribution=folder.name,
        version="?",
        origin=str(folder),
        builtin=False,
        status="failed",
        cause=f"its metadata cannot be read: {in_one_line(error)}",
    )


def _load(
    record: PluginRecord,
    point: EntryPoint,
    requires: Sequence[str],
    contracts: Mapping[str, Contract],
    chosen: Collection[str] | None,
) -> PluginRecord:
    """Import one plugin and collect its specs, unless it is not selected or does not fit here."""
    trouble, lacks = None, ""
    if not record.builtin:
        if chosen is not None and not any(map(record.answers_to, chosen)):
            return replace(record, cause="not named in `FTR_PLUGINS`")
        try:
            trouble = unmet(requires, point.extras)
            lacks = lacking(requires, point.extras)
        except Exception as error:  # its requirements cannot be parsed
            return _failed(record, error)
    if trouble is None and point.group not in contracts:
        trouble = (
            f"it offers `{point.group}`, and this is {OWN} {own_version()}, which knows no such "
            f"plugins: install a newer {OWN}"
        )
    if trouble is not None:
        return replace(record, status="skipped", cause=trouble)
    if not record.module:
        return replace(
            record,
            status="failed",
            cause=f"its entry point is `{point.value}`: it must be `package.module` or "
            "`package.module:attribute`.",
        )
    return _collected(replace(record, lacks=lacks), point.load, contracts[point.group])


def _failed(record: PluginRecord, error: BaseException) -> PluginRecord:
    cause = f"{in_one_line(error)}; {record.lacks}" if record.lacks else in_one_line(error)
    trace = "".join(tracebacks.format_exception(error))
    return replace(record, status="failed", cause=cause, traceback=trace)


def _load_file(path: Path, others: Sequence[Path], group: str, contract: Contract) -> PluginRecord:
    record = PluginRecord(
        name=path.stem,
        distribution=path.name,
        version="?",
        origin=str(path),
        builtin=False,
        status="failed",
        group=group,
        module=path.stem,
    )
    if trouble := plugin_files.fault(path, others):
        return replace(record, cause=trouble)
    try:
        digest = sha256(path)
    except OSError as error:
        return replace(record, cause=f"the file cannot be read: {error.strerror or error}")
    record = replace(record, version=digest[:12], sha256=digest)
    return _collected(record, lambda: plugin_files.load(path, digest), contract)


def _collected(
    record: PluginRecord, load: Callable[[], object], contract: Contract
) -> PluginRecord:
    """Import the hook module and call its hooks. `KeyboardInterrupt` and its like get through."""
    with isolated(record.module.partition(".")[0]) as found:
        try:
            hooks, specs = collect(load(), contract)
        except (Exception, SystemExit) as error:
            return _failed(record, error)
    notes = (*filter(None, [found.note, record.lacks]), *deprecations(contract, hooks, specs))
    origin = getattr(sys.modules.get(record.module), "__file__", None) or record.origin
    return replace(record, status="loaded", origin=origin, hooks=hooks, specs=specs, notes=notes)


def _canonical(name: str) -> str:
    """Return the name of a distribution as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
