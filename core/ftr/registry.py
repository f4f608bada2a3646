"""Looking components up by name: bare, or qualified by the plugin they come from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Literal, TypeGuard

from ftr import plugin_files
from ftr.discovery import PluginRecord, complaints, discover
from ftr.errors import PluginError, UnknownComponentError, in_one_line
from ftr.isolation import is_training, loading
from ftr.specs import AnySpec, Kind, MetricSpec, TaskSpec
from ftr.suggest import did_you_mean
from ftr.terminal import show

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

BareName = Literal["reachable", "shadowed", "ambiguous"]

SAID = "FTR_PLUGINS_SAID"
"""Set for processes that a command starts: what there is to say of plugins, the command has said."""
_said: set[str] = set()
_discovering: list[bool] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One component: its spec and the plugin that registered it.

    `qualified` is a name that finds exactly this component. `bare_name` says what asking for `spec.name` alone gives:
    this one, a built-in instead (`shadowed`), or an error that names all who registered it (`ambiguous`).
    """

    kind: Kind
    spec: AnySpec
    plugin: PluginRecord
    qualified: str
    bare_name: BareName

    @property
    def shadowed(self) -> bool:
        """Whether a built-in holds the bare name."""
        return self.bare_name == "shadowed"


class Registry:
    """Everything the loaded plugins registered. Plain data: it pickles, and imports a target only when asked."""

    def __init__(self, plugins: Sequence[PluginRecord]) -> None:
        self.plugins = tuple(plugins)
        found = [(kind, spec, plugin) for plugin in self.plugins for kind, spec in plugin.specs]
        self._all = tuple(self._registered(kind, spec, plugin) for kind, spec, plugin in found)

    def all(self, kind: Kind) -> tuple[Registered, ...]:
        """Return every component of `kind`, shadowed ones included, built-ins first."""
        return tuple(entry for entry in self._all if entry.kind == kind)

    @property
    def files(self) -> tuple[PluginRecord, ...]:
        """The loaded plugins that are one file each."""
        return tuple(plugin for plugin in self.plugins if plugin.sha256 and plugin.status == "loaded")

    def hashes(self, files: Iterable[str]) -> dict[str, str]:
        """Return the sha256 of plugins of one file by their paths in `files`, which may be those of another machine."""
        known = {plugin.distribution: plugin.sha256 for plugin in self.files}
        return {path: known[name] for path in files if (name := path.rpartition("/")[2]) in known}

    def rivals(self, entry: Registered) -> tuple[Registered, ...]:
        """Return the components of other plugins that have the same kind and bare name."""
        return tuple(other for other in self.all(entry.kind) if other.spec.name == entry.spec.name and other is not entry)

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the bare names of `kind` that can be asked for, in order of registration."""
        return tuple(entry.spec.name for entry in self.all(kind) if entry.bare_name == "reachable")

    def has(self, kind: Kind, name: str) -> bool:
        """Whether `name` is registered; true also for a bare name that `find` refuses as ambiguous."""
        return bool(self._matching(kind, name))

    def find(self, kind: Kind, name: str) -> Registered:
        """Return the component called `name` or `plugin:name`. Raises `UnknownComponentError`."""
        matches = self._matching(kind, name)
        first = [entry for entry in matches if entry.plugin.builtin] or matches
        if not first:
            raise UnknownComponentError(self._unknown(kind, name))
        if len(first) > 1:
            owners = " and ".join(entry.plugin.described for entry in first)
            ways = " or ".join(f"`{entry.qualified}`" for entry in first)
            raise UnknownComponentError(f"the {kind} `{name}` is registered by more than one plugin: {owners}. Ask for {ways}.")
        return first[0]

    def task(self, name: str) -> TaskSpec:
        """Return the spec of the task `name`. Raises `UnknownComponentError`."""
        spec = self.find("task", name).spec
        if not isinstance(spec, TaskSpec):
            raise TypeError(f"`{name}` is registered as a task with a `{type(spec).__name__}`")
        return spec

    def metric(self, name: str) -> MetricSpec:
        """Return the spec of the metric `name`. Raises `UnknownComponentError`."""
        spec = self.find("metric", name).spec
        if not isinstance(spec, MetricSpec):
            raise TypeError(f"`{name}` is registered as a metric with a `{type(spec).__name__}`")
        return spec

    def target(self, kind: Kind, name: str) -> object:
        """Import and return what the component's `target` names.

        Raises `UnknownComponentError`, and `PluginError` when the import or the attribute fails.
        """
        entry = self.find(kind, name)
        if isinstance(entry.spec, TaskSpec):
            raise TypeError(f"the task `{name}` has no target: look up its dataset, model, head and metrics")
        return _imported(entry, "target", entry.spec.target)

    def options_model(self, kind: Kind, name: str) -> type[BaseModel] | None:
        """Import and return the pydantic model of the component's options, or None when it takes none.

        Raises as `target` does.
        """
        entry = self.find(kind, name)
        path = None if isinstance(entry.spec, TaskSpec) else entry.spec.options
        if path is None:
            return None
        model = _imported(entry, "options", path)
        if not _is_model(model):
            what = f"the class `{model.__name__}`" if isinstance(model, type) else f"a `{type(model).__name__}`"
            raise PluginError(f"{_whose(entry)}: its options `{path}` are {what}, not a pydantic model class.")
        return model

    def _matching(self, kind: Kind, name: str) -> list[Registered]:
        qualifier, colon, bare = name.rpartition(":")
        entries = [entry for entry in self.all(kind) if entry.spec.name == bare]
        return [entry for entry in entries if entry.plugin.answers_to(qualifier)] if colon else entries

    def _registered(self, kind: Kind, spec: AnySpec, plugin: PluginRecord) -> Registered:
        owners = [other for other in self.plugins for other_kind, named in other.specs if (other_kind, named.name) == (kind, spec.name)]
        builtin = any(owner.builtin for owner in owners)
        bare_name: BareName = "reachable" if plugin.builtin or len(owners) == 1 else "shadowed" if builtin else "ambiguous"
        qualified = f"{_qualifier(plugin, owners)}:{spec.name}"
        return Registered(kind=kind, spec=spec, plugin=plugin, qualified=qualified, bare_name=bare_name)

    def _unknown(self, kind: Kind, name: str) -> str:
        entries = self.all(kind)
        available = [entry.spec.name if entry.bare_name == "reachable" else entry.qualified for entry in entries]
        hint = did_you_mean(name, [*available, *(entry.qualified for entry in entries)])
        listed = ", ".join(f"`{choice}`" for choice in available) or "none"
        absent = [plugin for plugin in self.plugins if plugin.status != "loaded"]
        missing = "; ".join(f"{plugin.described} {plugin.status}: {plugin.cause.rstrip('.')}" for plugin in absent)
        text = f"unknown {kind} `{name}`.{hint} Available: {listed}."
        if missing:
            text += f" It may belong to a plugin that is not loaded: {missing}."
        if not any(plugin.builtin for plugin in self.plugins):
            text += " The built-in plugins are missing too: `ftr` itself is not installed here (`pip install -e .` in its project)."
        return text


def registry_again(recorded: Mapping[str, str]) -> Registry:
    """Return the registry of this process with the plugins of one file each that a record names, by path, with their sha256.

    Raises `RequestError` for a file that is missing or changed, or that this user neither named nor trained with.
    """
    if plugin_files.name_again(recorded):
        get_registry.cache_clear()
    return get_registry()


@cache
def get_registry() -> Registry:
    """Return the registry of this process, built on first use; prints on stderr, a line each and once, which plugins are faulty.

    Raises `PluginError` when `FTR_STRICT_PLUGINS` is set and a plugin is faulty.
    """
    with loading():
        if get_registry.cache_info().currsize:  # another thread was first
            return get_registry()
        if _discovering:
            raise PluginError("it asks for the plugins while they are loaded: a hook module only registers. Put the call into a function.")
        _discovering.append(True)
        try:
            records = discover()
        finally:
            _discovering.clear()
        for line in complaints(records):
            print_once(line)
        return Registry(records)


def print_once(line: str) -> None:
    """Print a line on stderr, unless this process, or the command that started it, has printed it before."""
    if line not in _said and not os.environ.get(SAID):
        show(f"ftr: {line}")
    _said.add(line)


def refresh() -> None:
    """Load plugins of one file again that changed on disk, and print which other loaded plugins did; for the start of a command.

    While a training is under way nothing is loaded again: it goes on with the code that it began with.
    """
    if not get_registry.cache_info().currsize or is_training():
        return
    from ftr.source import changed

    plugins = get_registry().plugins
    for plugin in plugins:
        file = changed(plugin) if plugin.status == "loaded" else None
        if file is not None:
            print_once(f"plugin {plugin.described}: `{file}` changed since this process loaded it: start Python again to use it")
    if plugin_files.hashes() != {plugin.origin: plugin.sha256 for plugin in plugins if plugin.one_file}:
        get_registry.cache_clear()


def registry_with(files: Iterable[str | Path]) -> Registry:
    """Return the registry of this process with further plugins of one file each, which it keeps.

    Raises `RequestError` for a file that is not there or cannot be a plugin.
    """
    with loading():
        if plugin_files.name(files):
            get_registry.cache_clear()
        refresh()
        return get_registry()


def _qualifier(plugin: PluginRecord, owners: Sequence[PluginRecord]) -> str:
    """Return the shortest qualifier that none of the other owners of the name answers to before `plugin` does."""
    for qualifier in (plugin.name, plugin.distribution):
        rivals = [owner for owner in owners if owner is not plugin and owner.answers_to(qualifier)]
        if not any(rival.builtin or not plugin.builtin for rival in rivals):
            return qualifier
    return f"{plugin.distribution}.{plugin.name}"


def _imported(entry: Registered, field: str, path: str) -> object:
    module, _, attributes = path.partition(":")
    try:
        found: object = import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        lacks = f"; {entry.plugin.lacks}" if entry.plugin.lacks else ""
        raise PluginError(f"{_whose(entry)}: its {field} `{path}` cannot be imported: {in_one_line(error)}{lacks}") from error
    return found


def _is_model(found: object) -> TypeGuard[type[BaseModel]]:
    # Where nobody has imported pydantic, nothing is a model of it.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(found, type) and issubclass(found, pydantic.BaseModel)


def _whose(entry: Registered) -> str:
    return f"the {entry.kind} `{entry.spec.name}` of plugin {entry.plugin.described}"
