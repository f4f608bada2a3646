"""Look components up by name, and attribute errors to the plugin whose code raised them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from ftr.atomic import sha256
from ftr.errors import FtrError, PluginError, UnknownComponentError, did_you_mean, in_one_line
from ftr.registry import plugin_files
from ftr.registry.discovery import BEGAN, PluginRecord, complaints, discover
from ftr.registry.isolation import is_training, loading
from ftr.registry.signature import signature_model
from ftr.registry.specs import AnySpec, Kind, MetricSpec, TaskSpec
from ftr.terminal import show

if TYPE_CHECKING:
    from pydantic import BaseModel


@contextmanager
def plugin_errors(registry: Registry) -> Iterator[None]:
    """Turn what a plugin's code raises into a `PluginError` that names it, with the traceback.

    An `FtrError`, which is raised on purpose, stays as it is; so does running out of memory.
    """
    try:
        yield
    except PluginError as error:
        error.trace = error.trace or _formatted(error)
        raise
    except (FtrError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        # `OutOfMemoryError` is torch's own, which may not be imported here.
        message = accusation(error, registry)
        if message is None or type(error).__name__ == "OutOfMemoryError":
            raise
        raise PluginError(message, trace=_formatted(error)) from error


def accusation(error: BaseException, registry: Registry) -> str | None:
    """Return one line that names the plugin an error came from, and the error; None for no plugin.

    It is the plugin that owns the innermost frame of the traceback that any plugin owns. For a
    `SystemExit` only the innermost frame counts: Ray ends its processes that way.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]
    owners = _Owners(registry)
    left = isinstance(error, SystemExit)
    for frame in frames[:1] if left else frames:
        plugin = owners.of(_module(frame))
        if plugin is not None:
            components = (_component(outer, plugin) for outer in frames)
            component = next(filter(None, components), "")
            return (
                f"{component}plugin {plugin.described} failed in `{frame.f_code.co_name}`: "
                f"{in_one_line(error)}{' (it left the program)' if left else ''}"
            )
    return None


class _Owners:
    """The plugins by the modules that are theirs."""

    def __init__(self, registry: Registry) -> None:
        self.targets: dict[str, PluginRecord] = {}
        self.packages: dict[str, PluginRecord] = {}
        # The first to register something owns it, a built-in before all others.
        for plugin in reversed(registry.plugins):
            if plugin.status == "loaded":
                own = own_packages(plugin)
                self.packages |= dict.fromkeys(own, plugin)
                self.targets |= {
                    name: plugin for name in plugin.target_modules if _top(name) in own
                }

    def of(self, module: str) -> PluginRecord | None:
        """Return the plugin whose target lies nearest to `module`, or that has its package."""
        within = module
        while within:
            if within in self.targets:
                return self.targets[within]
            within = within.rpartition(".")[0]
        package, dot, _ = module.rpartition(".")
        near = [target for target in self.targets if dot and target.startswith(f"{package}.")]
        return self.targets[near[0]] if near else self.packages.get(_top(module))


def own_packages(plugin: PluginRecord) -> frozenset[str]:
    """Return the top-level packages of the plugin. A target may name a class of another, say of
    transformers.

    Takes long where hook module and targets have no package in common.
    """
    first = _top(plugin.module)
    others = frozenset(map(_top, plugin.target_modules)) - {first}
    if others and not plugin.builtin:
        from importlib.metadata import packages_distributions

        # An editable install does not tell what is in it.
        known = packages_distributions()
        others = frozenset(
            package
            for package in others
            if plugin.distribution in known.get(package, [plugin.distribution])
        )
    return others | ({first} if first else set())


def _component(frame: FrameType, plugin: PluginRecord) -> str:
    """Return the component whose target, or a method of it, a frame belongs to, "" for none."""
    names = {f"{_module(frame)}:{frame.f_code.co_qualname}"}
    if "self" in frame.f_locals:
        mro = type(frame.f_locals["self"]).__mro__
        names |= {f"{kind.__module__}:{kind.__qualname__}" for kind in mro}
    return next(
        (
            f"the {kind} `{spec.name}` of "
            for kind, spec in plugin.specs
            if not isinstance(spec, TaskSpec) and spec.path in names
        ),
        "",
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


BareName = Literal["reachable", "shadowed", "ambiguous"]

NOTICES_PRINTED = "FTR_NOTICES_PRINTED"
"""Set for processes that a command starts: the command has printed the notices about plugins."""
_printed: set[str] = set()
_discovering: list[bool] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One component: its spec and the plugin that registered it.

    `qualified` is a name that finds exactly this component. `bare_name` tells what `spec.name`
    alone finds: this one, a built-in instead (`shadowed`), or an error that names all who
    registered it (`ambiguous`).
    """

    kind: Kind
    spec: AnySpec
    plugin: PluginRecord
    qualified: str
    bare_name: BareName

    def __str__(self) -> str:
        return f"the {self.kind} `{self.spec.name}` of plugin {self.plugin.described}"

    @property
    def short_name(self) -> str:
        """The shortest name that finds exactly this component."""
        return self.spec.name if self.bare_name == "reachable" else self.qualified

    @property
    def shadowed(self) -> bool:
        """Whether a built-in holds the bare name."""
        return self.bare_name == "shadowed"


class Registry:
    """The components of the loaded plugins. It pickles, and imports a target only when asked."""

    def __init__(self, plugins: Sequence[PluginRecord]) -> None:
        self.plugins = tuple(plugins)
        found = [(kind, spec, plugin) for plugin in self.plugins for kind, spec in plugin.specs]
        owners: dict[tuple[Kind, str], list[PluginRecord]] = {}
        for kind, spec, plugin in found:
            owners.setdefault((kind, spec.name), []).append(plugin)
        self._all = tuple(
            _registered(kind, spec, plugin, owners[kind, spec.name]) for kind, spec, plugin in found
        )

    def all(self, kind: Kind) -> tuple[Registered, ...]:
        """Return every component of `kind`, shadowed ones included, built-ins first."""
        return tuple(entry for entry in self._all if entry.kind == kind)

    @property
    def files(self) -> tuple[PluginRecord, ...]:
        """The loaded plugins that are one file each."""
        return tuple(
            plugin for plugin in self.plugins if plugin.sha256 and plugin.status == "loaded"
        )

    def hashes(self, files: Iterable[str]) -> dict[str, str]:
        """Return the sha256 of one-file plugins by path; `files` may be on another machine."""
        known = {plugin.distribution: plugin.sha256 for plugin in self.files}
        return {path: known[name] for path in files if (name := path.rpartition("/")[2]) in known}

    def rivals(self, entry: Registered) -> tuple[Registered, ...]:
        """Return the components of other plugins that have the same kind and bare name."""
        return tuple(
            other
            for other in self.all(entry.kind)
            if other.spec.name == entry.spec.name and other is not entry
        )

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the bare names of `kind` that can be asked for, in order of registration."""
        return tuple(entry.spec.name for entry in self.all(kind) if entry.bare_name == "reachable")

    def has(self, kind: Kind, name: str) -> bool:
        """Whether `name` is registered, also if `find` refuses it as ambiguous."""
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
            raise UnknownComponentError(
                f"the {kind} `{name}` is registered by more than one plugin: {owners}. Ask for "
                f"{ways}."
            )
        return first[0]

    def task(self, name: str) -> TaskSpec:
        """Return the spec of the task `name`. Raises `UnknownComponentError`."""
        spec = self.find("task", name).spec
        assert isinstance(spec, TaskSpec)  # as `discovery.read_specs` ensures
        return spec

    def metric(self, name: str) -> MetricSpec:
        """Return the spec of the metric `name`. Raises `UnknownComponentError`."""
        spec = self.find("metric", name).spec
        assert isinstance(spec, MetricSpec)
        return spec

    def target(self, kind: Kind, name: str) -> object:
        """Import and return a target.

        Raises `UnknownComponentError`, and `PluginError` when it cannot be imported or called.
        """
        entry = self.find(kind, name)
        assert not isinstance(entry.spec, TaskSpec), f"{entry} has no target"
        found: object = _imported(entry, "target", entry.spec.path)
        if not callable(found):
            raise PluginError(f"{entry}: its target `{entry.spec.path}` is not callable.")
        return found

    def options_model(self, kind: Kind, name: str) -> type[BaseModel] | None:
        """Return the pydantic model of a component's options, or None. Raises as `target` does."""
        entry = self.find(kind, name)
        if isinstance(entry.spec, TaskSpec) or entry.spec.options_path is None:
            return None
        path = entry.spec.options_path
        model = _imported(entry, "options", path)
        if _is_model(model):
            return model
        if path == entry.spec.path and callable(model):
            try:
                return signature_model(model)
            except Exception as error:
                raise PluginError(f"{entry}: its options `{path}`: {in_one_line(error)}") from error
        what = (
            f"the class `{model.__name__}`"
            if isinstance(model, type)
            else f"a `{type(model).__name__}`"
        )
        raise PluginError(f"{entry}: its options `{path}` are {what}, not a pydantic model class.")

    def _matching(self, kind: Kind, name: str) -> list[Registered]:
        qualifier, colon, bare = name.rpartition(":")
        entries = [entry for entry in self.all(kind) if entry.spec.name == bare]
        return (
            [entry for entry in entries if entry.plugin.answers_to(qualifier)] if colon else entries
        )

    def _unknown(self, kind: Kind, name: str) -> str:
        entries = self.all(kind)
        available = [entry.short_name for entry in entries]
        word = name.casefold().replace("_", "-").replace(" ", "-")
        meant = [
            f"`{kind}={entry.short_name}` ({entry.spec.summary})"
            for entry in entries
            if word in getattr(entry.spec, "also_called", ())
        ]
        if meant:
            return f"unknown {kind} `{name}`. Use {' or '.join(meant)}."
        hint = did_you_mean(name, [*available, *(entry.qualified for entry in entries)])
        listed = ", ".join(f"`{choice}`" for choice in available) or "none"
        absent = [plugin for plugin in self.plugins if plugin.status != "loaded"]
        missing = "; ".join(
            f"{plugin.described} {plugin.status}: {plugin.cause.rstrip('.')}" for plugin in absent
        )
        text = f"unknown {kind} `{name}`.{hint} Available: {listed}."
        if missing:
            text += f" It may belong to a plugin that is not loaded: {missing}."
        if not any(plugin.builtin for plugin in self.plugins):
            text += (
                " The built-in plugins are missing too: `ftr` itself is not installed here (`pip "
                "install -e .` in its project)."
            )
        return text


def registry_for_record(recorded: Mapping[str, str]) -> Registry:
    """Return the registry of this process with the one-file plugins that a record names, by path,
    with their sha256.

    Raises `RequestError` for a file that is missing or changed, or that this user neither named nor
    trained with.
    """
    with loading():
        if plugin_files.add_recorded(recorded):
            get_registry.cache_clear()
        return get_registry()


@cache
def get_registry() -> Registry:
    """Return the registry of this process; the first call prints a line for each faulty plugin.

    Raises `PluginError` when `FTR_STRICT_PLUGINS` is set and a plugin is faulty.
    """
    with loading():
        if get_registry.cache_info().currsize:  # another thread was first
            return get_registry()
        if _discovering:
            raise PluginError(
                "it asks for the plugins while they are loaded: a hook module only registers. Put "
                "the call into a function."
            )
        _discovering.append(True)
        try:
            records = discover()
        finally:
            _discovering.clear()
        for line in complaints(records):
            print_once(line)
        return Registry(records)


def print_once(line: str) -> None:
    """Print a line on stderr, unless this process or the command that started it did before."""
    if line not in _printed and not os.environ.get(NOTICES_PRINTED):
        show(f"ftr: {line}")
    _printed.add(line)


def refresh() -> None:
    """Reload one-file plugins that changed on disk, and print which other loaded plugins changed.

    During a training nothing is loaded again: it continues with the code that it began with.
    """
    if not get_registry.cache_info().currsize or is_training():
        return
    plugins = get_registry().plugins
    for plugin in plugins:
        file = changed(plugin) if plugin.status == "loaded" else None
        if file is not None:
            print_once(
                f"plugin {plugin.described}: `{file}` changed since this process loaded it: start "
                "Python again to use it"
            )
    if plugin_files.hashes() != {
        plugin.origin: plugin.sha256 for plugin in plugins if plugin.one_file
    }:
        get_registry.cache_clear()


def registry_with(files: Iterable[str | Path]) -> Registry:
    """Return the registry of this process, and add one-file plugins to it.

    Raises `RequestError` for a file that is missing or cannot be a plugin.
    """
    with loading():
        if plugin_files.add(files):
            get_registry.cache_clear()
        refresh()
        return get_registry()


def _registered(
    kind: Kind, spec: AnySpec, plugin: PluginRecord, owners: Sequence[PluginRecord]
) -> Registered:
    """Return a component, one of those by that kind and name that the plugins `owners` have."""
    if plugin.builtin or len(owners) == 1:
        bare: BareName = "reachable"
    else:
        bare = "shadowed" if any(owner.builtin for owner in owners) else "ambiguous"
    # The shortest qualifier that no other owner answers to before this plugin does.
    others = [owner for owner in owners if owner is not plugin]
    qualifier = next(
        (
            name
            for name in (plugin.name, plugin.distribution)
            if not any(
                other.answers_to(name) and (other.builtin or not plugin.builtin) for other in others
            )
        ),
        f"{plugin.distribution}.{plugin.name}",
    )
    return Registered(
        kind=kind,
        spec=spec,
        plugin=plugin,
        qualified=f"{qualifier}:{spec.name}",
        bare_name=bare,
    )


def _imported(entry: Registered, field: str, path: str) -> Any:
    try:
        return resolve_name(path)
    except (Exception, SystemExit) as error:
        lacks = f"; {entry.plugin.lacks}" if entry.plugin.lacks else ""
        raise PluginError(
            f"{entry}: its {field} `{path}` cannot be imported: {in_one_line(error)}{lacks}"
        ) from error


def _is_model(found: object) -> TypeGuard[type[BaseModel]]:
    # Where nobody has imported pydantic, nothing is a model of it.
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None and isinstance(found, type) and issubclass(found, pydantic.BaseModel)
    )


MOST = 1000
"""A package with more files is a library: of a class inherited from it, one module is hashed."""
LARGEST = 1_000_000
"""Bytes of a file that is hashed; of a larger one, such as weights, its size is."""


def code_hash(classes: Iterable[type], plugin: PluginRecord | None = None) -> str:
    """Return a hash of the source of `classes`, of their base classes, and of the packages of
    `plugin`.

    If the plugin changed since this process loaded it, the hash is unique to this process: other
    code runs here.
    """
    own = own_packages(plugin) if plugin is not None else frozenset[str]()
    files = {label: file for name in own for label, file in _package(name).items()}
    for name in {kind.__module__ for one in classes for kind in one.__mro__}:
        if _top(name) not in {*own, *sys.stdlib_module_names}:
            alone = {name: Path(str(sys.modules[name].__file__))}
            files |= alone if _is_library(_top(name)) else _package(name)
    lines = [f"{label} {_hash(file, *_state(file))}" for label, file in sorted(files.items())]
    if plugin is not None and changed(plugin):
        lines.append(f"changed while process {os.getpid()} of {BEGAN} ran")
    return sha256("\n".join(lines))


def changed(plugin: PluginRecord) -> Path | None:
    """Return a file of the plugin's code that changed since this process loaded it, or None.

    A one-file plugin is loaded again when it changes; modules that it imported are not.
    """
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {
        file
        for name in own_packages(plugin)
        for file in _package(name).values()
        if str(file) in loaded
    }
    reloaded = {Path(plugin.origin)} if plugin.sha256 else set()
    return next(
        (file for file in sorted(files - reloaded) if max(_state(file)[:2]) / 1e9 > BEGAN), None
    )


def _package(name: str) -> dict[str, Path]:
    """Return the files of the outermost package of a module, or those beside it, by their names."""
    # Not a namespace package, which has no file: others have modules in it too.
    outer = (sys.modules.get(part) for part in accumulate(name.split("."), "{}.{}".format))
    found = next((module for module in outer if getattr(module, "__file__", None)), None)
    if found is None:
        return {}
    folders = [Path(folder) for folder in getattr(found, "__path__", ())]
    if not folders:
        return {file.name: file for file in Path(str(found.__file__)).parent.glob("*.py")}
    return {
        f"{found.__name__}/{Path(place, name).relative_to(folder)}": Path(place, name)
        for folder in folders
        for place, _, names in os.walk(folder)
        if "__pycache__" not in place
        for name in names
    }


@cache
def _is_library(name: str) -> bool:
    return len(_package(name)) > MOST


def _state(file: Path) -> tuple[int, int, int]:
    """Return both times of change and the size. A copy may keep the first time of its original."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


@cache
def _hash(file: Path, modified: int, changed: int, size: int) -> str:
    if size > LARGEST:
        return str(size)
    try:
        return sha256(file)
    except OSError:
        return ""
