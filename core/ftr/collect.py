"""What one plugin registers: its hooks called in a manager of its own, every spec checked, all or nothing."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping

import pluggy

from ftr import hookspecs
from ftr.errors import PluginError
from ftr.specs import KINDS, SPEC_TYPES, AnySpec, Kind, MetricSpec, TaskSpec
from ftr.suggest import did_you_mean

HOOKS: Mapping[str, Kind] = {f"ftr_{kind}s": kind for kind in KINDS}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

Specs = tuple[tuple[Kind, AnySpec], ...]


def collect(plugin: object) -> tuple[tuple[str, ...], Specs]:
    """Return the hooks `plugin` implements and the specs they give.

    Raises `PluginError` for an unknown or unmarked hook and for a spec that is not legal, and whatever the hooks raise.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _refuse_unmarked(plugin, manager)
    manager.register(plugin)
    hooks: list[str] = []
    specs: list[tuple[Kind, AnySpec]] = []
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.name not in HOOKS:
            raise PluginError(f"unknown hook `{caller.name}`.{did_you_mean(caller.name, HOOKS)} The hooks are {_listed(HOOKS)}.")
        hooks.append(caller.name)
        for implementation in caller.get_hookimpls():
            specs.extend((HOOKS[caller.name], spec) for spec in _checked(caller.name, implementation.function()))
    _refuse_duplicates(specs)
    return tuple(hooks), tuple(specs)


def _refuse_unmarked(plugin: object, manager: pluggy.PluginManager) -> None:
    for name in dir(plugin):
        if name.startswith("ftr_") and inspect.isroutine(getattr(plugin, name, None)) and manager.parse_hookimpl_opts(plugin, name) is None:
            raise PluginError(f"the function `{name}` looks like a hook but is not marked: put `@ftr.hookimpl` above it, or rename it.")


def _checked(hook: str, result: object) -> Iterator[AnySpec]:
    expected = SPEC_TYPES[HOOKS[hook]]
    # The hook is called here and not through pluggy, which would drop a forgotten `return` without a word.
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise PluginError(f"`{hook}` returned `{type(result).__name__}`: return a list of `{expected.__name__}`.")
    for spec in result:
        if not isinstance(spec, expected):
            raise PluginError(f"`{hook}` gave a `{type(spec).__name__}`: it must give `{expected.__name__}` objects only.")
        fault = _fault(spec)
        if fault:
            raise PluginError(f"`{hook}` gave the {HOOKS[hook]} {spec.name!r}: {fault}")
        yield spec


def _fault(spec: AnySpec) -> str | None:
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        return "its name must be lower-case letters, digits, `.`, `_` and `-`, and start with a letter or digit."
    if not isinstance(spec.summary, str):
        return f"`summary` must be a string, not `{type(spec.summary).__name__}`."
    if isinstance(spec, TaskSpec):
        return _task_fault(spec)
    for field, path in (("target", spec.target), ("options", spec.options)):
        if (path is not None or field == "target") and not (isinstance(path, str) and _TARGET.fullmatch(path)):
            return f"`{field}` is {path!r}: it must be a string `package.module:attribute`."
    if isinstance(spec, MetricSpec) and spec.mode not in ("max", "min"):
        return f"`mode` is {spec.mode!r}: it must be `max` or `min`."
    return None


def _task_fault(spec: TaskSpec) -> str | None:
    for field, name in (("dataset", spec.dataset), ("model", spec.model), ("head", spec.head)):
        if not isinstance(name, str) or not name:
            return f"`{field}` is {name!r}: it must be a component's name."
    if not isinstance(spec.metrics, tuple) or not spec.metrics or not all(isinstance(name, str) and name for name in spec.metrics):
        return f"`metrics` is {spec.metrics!r}: it must be a tuple of one or more metric names."
    for field, values in (("defaults", spec.defaults), ("search_space", spec.search_space)):
        for key, value in values.items():
            if not isinstance(key, str) or not _plain(value):
                return f"`{field}[{key!r}]` is a `{type(value).__name__}`: keys are strings, values numbers, strings, lists or mappings."
    return None


def _plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, (str, int, float))


def _refuse_duplicates(specs: Iterable[tuple[Kind, AnySpec]]) -> None:
    seen: set[tuple[Kind, str]] = set()
    for kind, spec in specs:
        if (kind, spec.name) in seen:
            raise PluginError(f"the {kind} `{spec.name}` is registered twice by this plugin: give one of them another name.")
        seen.add((kind, spec.name))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
