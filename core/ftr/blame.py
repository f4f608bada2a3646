"""Whose code failed: errors that come out of a plugin name its component, its distribution and version, in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from ftr.errors import FtrError, PluginError, in_one_line
from ftr.specs import Kind, TaskSpec

if TYPE_CHECKING:
    from ftr.discovery import PluginRecord
    from ftr.registry import Registry


class Culprit(NamedTuple):
    """A plugin whose code an error came through, the innermost function of it, and the component where that can be told."""

    plugin: PluginRecord
    function: str
    component: tuple[Kind, str] | None

    def __str__(self) -> str:
        whose = f"plugin {self.plugin.described}"
        return f"the {self.component[0]} `{self.component[1]}` of {whose}" if self.component else whose


@contextmanager
def plugin_errors(registry: Registry) -> Iterator[None]:
    """Turn what the code of a plugin raises within into a `PluginError` that names it and keeps the traceback.

    What ftr or a plugin raises on purpose, an `FtrError`, stays what it is; so does running out of memory.
    """
    try:
        yield
    except PluginError as error:
        error.trace = error.trace or _formatted(error)
        raise
    except (FtrError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        # torch's own, which may not be imported here.
        message = None if type(error).__name__ == "OutOfMemoryError" else accusation(error, registry)
        if message is None:
            raise
        raise PluginError(message, trace=_formatted(error)) from error


def accusation(error: BaseException, registry: Registry) -> str | None:
    """Return one line that names the plugin an error came out of, and what it was; None when it came out of none."""
    found = culprit(error, registry)
    if found is None:
        return None
    left = " (it left the program)" if isinstance(error, SystemExit) else ""
    return f"{found} failed in `{found.function}`: {in_one_line(error)}{left}"


def culprit(error: BaseException, registry: Registry) -> Culprit | None:
    """Return the plugin that owns the innermost frame of the traceback that any plugin owns, or None.

    Of what leaves the program only the innermost frame counts: Ray ends its processes that way.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    owners = _Owners(registry)
    for frame in frames[-1:] if isinstance(error, SystemExit) else reversed(frames):
        plugin = owners.of(_module(frame))
        if plugin is not None:
            component = next((found for outer in reversed(frames) if (found := _component(outer, plugin)) is not None), None)
            return Culprit(plugin, frame.f_code.co_name, component)
    return None


class _Owners:
    """The plugins by the modules that are theirs."""

    def __init__(self, registry: Registry) -> None:
        loaded = [plugin for plugin in registry.plugins if plugin.status == "loaded"]
        self.targets: dict[str, PluginRecord] = {}
        self.packages: dict[str, PluginRecord] = {}
        for plugin in reversed(loaded):  # so that the first to register something has it, a built-in before all others
            own = own_packages(plugin)
            self.packages.update(dict.fromkeys(own, plugin))
            self.targets.update({module: plugin for module in _target_modules(plugin) if _top(module) in own})

    def of(self, module: str) -> PluginRecord | None:
        """Return the plugin whose target lies nearest to `module`, or that has its package."""
        within = module
        while within:
            if within in self.targets:
                return self.targets[within]
            within = within.rpartition(".")[0]
        near = [target for target in self.targets if target.startswith(f"{module.rpartition('.')[0]}.")] if "." in module else []
        return self.targets[near[0]] if near else self.packages.get(_top(module))


def _target_modules(plugin: PluginRecord) -> Iterator[str]:
    yield from (spec.target.partition(":")[0] for _, spec in plugin.specs if not isinstance(spec, TaskSpec))


def own_packages(plugin: PluginRecord) -> frozenset[str]:
    """Return the top-level packages that are the plugin's: a target may as well name a class of somebody else, say of transformers.

    Takes long where hook module and targets have no package in common.
    """
    first = _top(plugin.module)
    others = plugin.packages - {first}
    if others and not plugin.builtin:
        from importlib.metadata import packages_distributions

        # An editable install does not tell what is in it.
        known = packages_distributions()
        others = frozenset(package for package in others if plugin.distribution in known.get(package, [plugin.distribution]))
    return others | ({first} if first else set())


def _component(frame: FrameType, plugin: PluginRecord) -> tuple[Kind, str] | None:
    """Return the component of `plugin` that a frame belongs to: a method of its target's class, or its target itself."""
    names = {f"{_module(frame)}:{frame.f_code.co_qualname}"}
    if "self" in frame.f_locals:
        names |= {f"{kind.__module__}:{kind.__qualname__}" for kind in type(frame.f_locals["self"]).__mro__}
    return next(((kind, spec.name) for kind, spec in plugin.specs if not isinstance(spec, TaskSpec) and spec.target in names), None)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
