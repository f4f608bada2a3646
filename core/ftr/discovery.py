"""Finding and loading plugins: one try for each, so that none takes another, or a command, down with it."""

import os
import re
import sys
import time
import traceback as tracebacks
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distribution, distributions
from pathlib import Path
from typing import Literal

from ftr import plugin_files
from ftr.collect import CONTRACTS, Contract, Specs, collect, deprecations
from ftr.compatible import OWN, installed, lacking, own_version, unmet
from ftr.errors import PluginError, in_one_line
from ftr.isolation import isolated
from ftr.specs import TaskSpec
from ftr.suggest import did_you_mean

__all__ = ["GROUP", "OWN", "PluginRecord", "Status", "complaints", "discover", "own_version"]

GROUP = "ftr.plugins"
BEGAN = time.time()
"""When this process first asked for plugins: code that is changed on disk later is not what runs here."""
_GROUP = re.compile(rf"{re.escape(GROUP)}(\.v\d+)?")
_MODULE_PATH = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")
Status = Literal["loaded", "failed", "skipped", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One plugin, an entry point of the group or a file: where it comes from, what became of it, and what it registers.

    `origin` is the module's file once loaded, before that the folder its distribution is installed in. `cause` is one
    line, empty when loaded; `traceback` is there when code of the plugin failed. `notes` are one line each on what a
    loaded one should not do; `lacks` is one on what it requires and does not find. A plugin that is one file has its
    `sha256`; the distribution is then the file's name, and the version begins the hash.
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
    def packages(self) -> frozenset[str]:
        """The top-level packages its components are imported from."""
        return frozenset(spec.target.partition(":")[0].partition(".")[0] for _, spec in self.specs if not isinstance(spec, TaskSpec))

    @property
    def complaint(self) -> str:
        """The one line that is printed for a faulty plugin."""
        see = f" (see `ftr plugins --traceback {self.name}`)" if self.traceback else ""
        return f"plugin {self.described} not loaded: {self.cause}{see}"

    def answers_to(self, qualifier: str) -> bool:
        """Whether `qualifier:name` means this plugin: its entry point, its distribution, or `distribution.entry-point`."""
        distribution_name = _canonical(self.distribution)
        return qualifier in (self.name, f"{distribution_name}.{self.name}") or _canonical(qualifier) == distribution_name


@dataclass(frozen=True, slots=True)
class _Source:
    """A distribution with its metadata read once: parsing it is the slow part."""

    dist: Distribution
    name: str
    version: str
    folder: str
    requires: tuple[str, ...]

    @classmethod
    def of(cls, dist: Distribution) -> "_Source":
        metadata = dist.metadata
        requires = metadata.get_all("Requires-Dist") or dist.requires or ()
        return cls(dist, metadata["Name"], metadata["Version"] or "?", str(dist.locate_file("")), tuple(requires))


def discover(contracts: Mapping[str, Contract] = CONTRACTS) -> tuple[PluginRecord, ...]:
    """Return a record for every plugin: built-ins first, installed ones by distribution and name, then those of one file.

    `contracts` are the groups of entry points that are known, oldest first. `FTR_PLUGINS` (entry-point or distribution names,
    comma between) limits which outsiders load; empty means none of them. `FTR_PLUGIN_FILES` names files. Raises
    `PluginError` for the first faulty plugin when `FTR_STRICT_PLUGINS` is set.
    """
    chosen = _chosen(os.environ.get("FTR_PLUGINS"))
    installed.cache_clear()
    records = [found if isinstance(found, PluginRecord) else _load(*found, contracts, chosen) for found in _entry_points(contracts)]
    records.sort(key=lambda record: (not record.builtin, _canonical(record.distribution), record.name))
    files = plugin_files.named()
    newest = list(contracts)[-1]
    records += [_load_file(path, files[:place], newest, contracts[newest]) for place, path in enumerate(files)]
    if os.environ.get("FTR_STRICT_PLUGINS", "").lower() not in ("", "0", "false"):
        for record in records:
            if record.faulty:
                mend = f"`FTR_STRICT_PLUGINS` is set: mend or uninstall `{record.distribution}`, or unset it."
                raise PluginError(f"{record.complaint}. {mend}")
    return tuple(records)


def complaints(records: Sequence[PluginRecord]) -> Iterator[str]:
    """Yield one line for each fault of a plugin, and for each name in `FTR_PLUGINS` that no plugin answers to."""
    for record in records:
        if record.faulty:
            yield record.complaint
        yield from (f"plugin {record.described}: {note}" for note in record.notes)
    known = {name for record in records for name in (record.name, record.distribution)}
    for name in sorted(_chosen(os.environ.get("FTR_PLUGINS")) or ()):
        if not any(record.answers_to(name) for record in records):
            yield f"`FTR_PLUGINS` names `{name}`, and no such plugin is installed.{did_you_mean(name, known)}"


def _chosen(setting: str | None) -> frozenset[str] | None:
    return None if setting is None else frozenset(name for name in map(str.strip, setting.split(",")) if name)


def _entry_points(groups: Collection[str]) -> Iterator[tuple[_Source, EntryPoint] | PluginRecord]:
    """Yield the entry points of the newest of `groups` that each distribution offers; all of them where none is known.

    They are read file by file: one malformed file must not hide every other plugin.
    """
    seen: set[str] = set()
    for found in distributions():
        try:
            if GROUP not in (found.read_text("entry_points.txt") or ""):
                continue
            # The first distribution of a name on the path is the one an import would meet.
            source = _Source.of(distribution(found.metadata["Name"]))
            points = [point for point in source.dist.entry_points if _GROUP.fullmatch(point.group)]
        except Exception as error:
            yield _unreadable(found, error)
            continue
        if _canonical(source.name) not in seen:
            seen.add(_canonical(source.name))
            newest = next((group for group in reversed(list(groups)) if any(point.group == group for point in points)), None)
            yield from ((source, point) for point in points if newest is None or point.group == newest)


def _unreadable(dist: Distribution, error: Exception) -> PluginRecord:
    folder = Path(str(getattr(dist, "_path", "unknown")))
    cause = f"its metadata cannot be read: {in_one_line(error)}"
    return PluginRecord(
        name=folder.name, distribution=folder.name, version="?", origin=str(folder), builtin=False, status="failed", cause=cause
    )


def _load(source: _Source, point: EntryPoint, contracts: Mapping[str, Contract], chosen: Collection[str] | None) -> PluginRecord:
    """Import one plugin and collect its specs, unless it is not wanted or was made for another ftr."""
    record = PluginRecord(
        name=point.name,
        distribution=source.name,
        version=source.version,
        origin=source.folder,
        builtin=_canonical(source.name) == OWN,
        status="disabled",
        group=point.group,
        module=point.module if _MODULE_PATH.fullmatch(point.value) else "",
    )
    if not record.builtin and chosen is not None and not any(record.answers_to(choice) for choice in chosen):
        return replace(record, cause="not named in `FTR_PLUGINS`")
    try:
        trouble = None if record.builtin else unmet(source.requires, point.extras)
        lacks = "" if record.builtin else lacking(source.requires, point.extras)
    except Exception as error:  # it says what it requires in no words that can be read
        return replace(record, status="failed", cause=in_one_line(error), traceback="".join(tracebacks.format_exception(error)))
    if trouble is None and point.group not in contracts:
        trouble = f"it offers `{point.group}`, and this is {OWN} {own_version()}, which knows no such plugins: install a newer {OWN}"
    if trouble is not None:
        return replace(record, status="skipped", cause=trouble)
    if not record.module:
        return replace(
            record, status="failed", cause=f"its entry point is `{point.value}`: it must be `package.module` or `package.module:attribute`."
        )
    return _collected(replace(record, lacks=lacks), point.load, contracts[point.group])


def _load_file(path: Path, others: Sequence[Path], group: str, contract: Contract) -> PluginRecord:
    record = PluginRecord(
        name=path.stem, distribution=path.name, version="?", origin=str(path), builtin=False, status="failed", group=group, module=path.stem
    )
    trouble = plugin_files.fault(path, others)
    if trouble:
        return replace(record, cause=trouble)
    try:
        sha256 = plugin_files.sha256(path)
    except OSError as error:
        return replace(record, cause=f"the file cannot be read: {error.strerror or error}")
    record = replace(record, version=sha256[:12], sha256=sha256)
    return _collected(record, lambda: plugin_files.load(path, sha256), contract)


def _collected(record: PluginRecord, load: Callable[[], object], contract: Contract) -> PluginRecord:
    """Import the hook module and call its hooks. Only `KeyboardInterrupt` and its like get past the `except`."""
    with isolated(record.module.partition(".")[0]) as found:
        try:
            hooks, specs = collect(load(), contract)
        except (Exception, SystemExit) as error:
            trace = "".join(tracebacks.format_exception(error))
            cause = f"{in_one_line(error)}; {record.lacks}" if record.lacks else in_one_line(error)
            return replace(record, status="failed", cause=cause, traceback=trace)
    notes = (*filter(None, [found.note, record.lacks]), *deprecations(contract, hooks, specs))
    origin = getattr(sys.modules.get(record.module), "__file__", None) or record.origin
    return replace(record, status="loaded", origin=origin, hooks=hooks, specs=specs, notes=notes)


def _canonical(name: str) -> str:
    """Return the name of a distribution as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
