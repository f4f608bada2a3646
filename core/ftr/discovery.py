"""Finding and loading plugins: one try for each, so that none takes another, or a command, down with it."""

import os
import re
import sys
import traceback as tracebacks
from collections.abc import Collection, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, distributions, version
from pathlib import Path
from typing import Literal

from ftr.collect import Specs, collect
from ftr.errors import PluginError
from ftr.specs import TaskSpec
from ftr.suggest import did_you_mean

GROUP = "ftr.plugins"
OWN = "ftr"
_UNKNOWN_VERSION = "0+unknown"
_CAUSE_LENGTH = 300
_MODULE_PATH = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")
_OWN_REQUIREMENT = re.compile(r"\s*ftr(?![\w.-]*\w)", re.IGNORECASE)
Status = Literal["loaded", "failed", "skipped", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One entry point of the group: where it comes from, what became of it, and what it registers.

    `origin` is the module's file once loaded, before that the folder its distribution is installed in. `cause` is one
    line, empty when loaded; `traceback` is there when code of the plugin failed.
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

    @property
    def described(self) -> str:
        """The plugin as messages name it: `` `name` (distribution version)``."""
        return f"`{self.name}` ({self.distribution} {self.version})"

    @property
    def faulty(self) -> bool:
        """Whether it should have loaded and did not."""
        return self.status in ("failed", "skipped")

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

    @classmethod
    def of(cls, dist: Distribution) -> "_Source":
        metadata = dist.metadata
        return cls(dist, metadata["Name"], metadata["Version"] or "?", str(dist.locate_file("")))


def own_version() -> str:
    """Return the version of the installed `ftr`, or `0+unknown` when it runs from files that were never installed."""
    try:
        return version(OWN)
    except PackageNotFoundError:
        return _UNKNOWN_VERSION


def discover(group: str = GROUP) -> tuple[PluginRecord, ...]:
    """Return a record for every plugin installed, built-ins first, then by distribution and name.

    `FTR_PLUGINS` (entry-point or distribution names, comma between) limits which outsiders load; empty means none of
    them. Raises `PluginError` for the first faulty plugin when `FTR_STRICT_PLUGINS` is set.
    """
    chosen = _chosen(os.environ.get("FTR_PLUGINS"))
    records = [found if isinstance(found, PluginRecord) else _load(*found, chosen) for found in _entry_points(group)]
    records.sort(key=lambda record: (not record.builtin, _canonical(record.distribution), record.name))
    if os.environ.get("FTR_STRICT_PLUGINS", "").lower() not in ("", "0", "false"):
        for record in records:
            if record.faulty:
                mend = f"`FTR_STRICT_PLUGINS` is set: mend or uninstall `{record.distribution}`, or unset it."
                raise PluginError(f"{record.complaint}. {mend}")
    return tuple(records)


def complaints(records: Sequence[PluginRecord]) -> Iterator[str]:
    """Yield one line for each faulty plugin, and for each name in `FTR_PLUGINS` that no plugin answers to."""
    for record in records:
        if record.faulty:
            yield record.complaint
    known = {name for record in records for name in (record.name, record.distribution)}
    for name in sorted(_chosen(os.environ.get("FTR_PLUGINS")) or ()):
        if not any(record.answers_to(name) for record in records):
            yield f"`FTR_PLUGINS` names `{name}`, and no such plugin is installed.{did_you_mean(name, known)}"


def _chosen(setting: str | None) -> frozenset[str] | None:
    return None if setting is None else frozenset(name for name in map(str.strip, setting.split(",")) if name)


def _entry_points(group: str) -> Iterator[tuple[_Source, EntryPoint] | PluginRecord]:
    """Yield the group's entry points, read file by file: one malformed file must not hide every other plugin."""
    seen: set[str] = set()
    for found in distributions():
        try:
            if group not in (found.read_text("entry_points.txt") or ""):
                continue
            # The first distribution of a name on the path is the one an import would meet.
            source = _Source.of(distribution(found.metadata["Name"]))
            points = [point for point in source.dist.entry_points if point.group == group]
        except Exception as error:
            yield _unreadable(found, error)
            continue
        if _canonical(source.name) not in seen:
            seen.add(_canonical(source.name))
            yield from ((source, point) for point in points)


def _unreadable(dist: Distribution, error: Exception) -> PluginRecord:
    folder = Path(str(getattr(dist, "_path", "unknown")))
    cause = f"its metadata cannot be read: {_one_line(error)}"
    return PluginRecord(
        name=folder.name, distribution=folder.name, version="?", origin=str(folder), builtin=False, status="failed", cause=cause
    )


def _load(source: _Source, point: EntryPoint, chosen: Collection[str] | None) -> PluginRecord:
    """Import one plugin and collect its specs. Only `KeyboardInterrupt` and its like get past the `except`."""
    builtin = _canonical(source.name) == OWN
    record = PluginRecord(
        name=point.name, distribution=source.name, version=source.version, origin=source.folder, builtin=builtin, status="disabled"
    )
    if not builtin and chosen is not None and not any(record.answers_to(choice) for choice in chosen):
        return replace(record, cause="not named in `FTR_PLUGINS`")
    try:
        unmet = None if builtin else _unmet(source.dist, point)
        if unmet:
            return replace(record, status="skipped", cause=unmet)
        if not _MODULE_PATH.fullmatch(point.value):
            raise PluginError(f"its entry point is `{point.value}`: it must be `package.module` or `package.module:attribute`.")
        # A print in a plugin must not mix with the result a command writes to stdout.
        with redirect_stdout(sys.stderr):
            hooks, specs = collect(point.load())
    except (Exception, SystemExit) as error:
        trace = "".join(tracebacks.format_exception(error))
        return replace(record, status="failed", cause=_one_line(error), traceback=trace)
    origin = getattr(sys.modules.get(point.module), "__file__", None) or record.origin
    return replace(record, status="loaded", origin=origin, hooks=hooks, specs=specs)


def _unmet(dist: Distribution, point: EntryPoint) -> str | None:
    """Return why this ftr is not one the plugin was made for, from its `Requires-Dist`, or None."""
    own = own_version()
    lines = [line for line in dist.requires or [] if _OWN_REQUIREMENT.match(line)]
    if not lines or own == _UNKNOWN_VERSION:
        return None
    # Not at the top: it takes longer than everything else `ftr list` does, and most plugins bound nothing.
    from packaging.requirements import Requirement

    for requirement in map(Requirement, lines):
        applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *point.extras))
        if applies and not requirement.specifier.contains(own, prereleases=True):
            return f"it requires `{OWN}{requirement.specifier}` and this is {OWN} {own}; install a version of it made for {OWN} {own}"
    return None


def _canonical(name: str) -> str:
    """Return the name of a distribution as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _one_line(error: BaseException) -> str:
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = "(its message cannot be shown)"
    text = message if isinstance(error, PluginError) else f"{type(error).__name__}: {message}".removesuffix(": ")
    return text if len(text) <= _CAUSE_LENGTH else f"{text[: _CAUSE_LENGTH - 1]}…"
