"""What one plugin registers: its hooks called in a manager of its own, every spec checked, all or nothing."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import ModuleType

import pluggy

from ftr import hookspecs
from ftr.errors import PluginError
from ftr.hookspecs import DEPRECATED, Deprecated
from ftr.specs import KINDS, SPEC_TYPES, AnySpec, DatasetSpec, Kind, MetricSpec, TaskSpec
from ftr.suggest import did_you_mean

HOOKS: Mapping[str, Kind] = {f"ftr_{kind}s": kind for kind in KINDS}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

Specs = tuple[tuple[Kind, AnySpec], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What the plugins of one entry-point group promise.

    `hookspecs` is the module of its hooks; `read(hook, result)` yields the kind and spec of each thing that a hook gave, and
    raises `PluginError` for what is not legal; `deprecated` still works and is said.
    """

    hookspecs: ModuleType
    read: Callable[[str, object], Iterable[tuple[Kind, AnySpec]]]
    deprecated: Sequence[Deprecated] = ()


def collect(plugin: object, contract: Contract | None = None) -> tuple[tuple[str, ...], Specs]:
    """Return the hooks `plugin` implements and the specs they give, as `contract` (by default the first) wants them.

    Raises `PluginError` for an unknown or unmarked hook and for a spec that is not legal, and whatever the hooks raise.
    """
    contract = contract or V1
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(contract.hookspecs)
    known = sorted(vars(manager.hook))
    _refuse_unmarked(plugin, manager)
    manager.register(plugin)
    hooks: list[str] = []
    specs: list[tuple[Kind, AnySpec]] = []
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.name not in known:
            raise PluginError(_unknown_hook(caller.name, known, contract.deprecated))
        hooks.append(caller.name)
        for implementation in caller.get_hookimpls():
            specs.extend(contract.read(caller.name, implementation.function()))
    _refuse_duplicates(specs)
    return tuple(hooks), tuple(specs)


def deprecations(contract: Contract, hooks: Iterable[str], specs: Specs) -> Iterator[str]:
    """Yield a notice for each deprecated hook among `hooks`, and each deprecated field that one of `specs` sets."""
    used = {*hooks, *(f"{type(spec).__name__}.{name}" for _, spec in specs for name in _set_fields(spec))}
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
    return f"unknown hook `{name}`.{did_you_mean(name, known)} The hooks are {_listed(known)}."


def _refuse_unmarked(plugin: object, manager: pluggy.PluginManager) -> None:
    for name in dir(plugin):
        if name.startswith("ftr_") and inspect.isroutine(getattr(plugin, name, None)) and manager.parse_hookimpl_opts(plugin, name) is None:
            raise PluginError(f"the function `{name}` looks like a hook but is not marked: put `@ftr.hookimpl` above it, or rename it.")


def read_specs(hook: str, result: object) -> Iterator[tuple[Kind, AnySpec]]:
    """Yield the specs that one of the five hooks gave. Raises `PluginError` for the first that is not legal."""
    kind = HOOKS[hook]
    expected = SPEC_TYPES[kind]
    # The hook is called by ourselves and not through pluggy, which would drop a forgotten `return` without a word.
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise PluginError(f"`{hook}` returned `{type(result).__name__}`: return a list of `{expected.__name__}`.")
    for spec in result:
        # A subclass could hold anything; a spec is strings, and must mean the same in every process.
        if type(spec) is not expected:
            raise PluginError(f"`{hook}` gave a `{type(spec).__name__}`: it must give `{expected.__name__}` objects only.")
        fault = _fault(spec)
        if fault:
            raise PluginError(f"`{hook}` gave the {kind} {spec.name!r}: {fault}")
        yield kind, spec


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
    if isinstance(spec, DatasetSpec) and not _names(spec.columns):
        return f"`columns` is {spec.columns!r}: it must be a tuple of names, which nobody can change."
    if isinstance(spec, MetricSpec):
        if spec.mode not in ("max", "min"):
            return f"`mode` is {spec.mode!r}: it must be `max` or `min`."
        if spec.key is not None and not isinstance(spec.key, str):
            return f"`key` is {spec.key!r}: it must be the name of a score."
    return None


def _task_fault(spec: TaskSpec) -> str | None:
    for field, name in (("dataset", spec.dataset), ("model", spec.model), ("head", spec.head)):
        if not isinstance(name, str) or not name:
            return f"`{field}` is {name!r}: it must be a component's name."
    if not spec.metrics or not _names(spec.metrics):
        return f"`metrics` is {spec.metrics!r}: it must be a tuple of one or more metric names."
    for field, values in (("defaults", spec.defaults), ("search_space", spec.search_space)):
        for key, value in values.items():
            if not isinstance(key, str) or not _plain(value):
                return f"`{field}[{key!r}]` is a `{type(value).__name__}`: keys are strings, values numbers, strings, lists or mappings."
    return None


def _names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)


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


V1 = Contract(hookspecs=hookspecs, read=read_specs, deprecated=DEPRECATED)
CONTRACTS: Mapping[str, Contract] = {"ftr.plugins": V1}
"""Each group of entry points with its contract, oldest first: of a distribution that offers several, the newest known is read."""
