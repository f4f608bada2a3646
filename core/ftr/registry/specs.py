"""Specs, frozen records of strings that a plugin registers, and the six hooks that return them.

They import nothing and pickle.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import pluggy

Kind = Literal["dataset", "model", "head", "metric", "task", "tracker"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OTHER_AVERAGES = ("_macro", "_micro", "_weighted")
"""Endings of a score that is another average of the one without."""


class FrozenMapping(Mapping[str, object]):
    """A read-only, picklable, hashable mapping; specs make one of any mapping.

    Lists and mappings in it are copied on their way in and out: nobody can change what others
    read.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, object] | None = None) -> None:
        self._items = {key: _copied(value) for key, value in (items or {}).items()}

    def __getitem__(self, key: str) -> object:
        return _copied(self._items[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple((key, repr(value)) for key, value in self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


def _copied(value: object) -> object:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


Target = str | Callable[..., object]
"""`"package.module:attribute"`, imported when first used; or the class or function itself, where
its module is light. The spec holds the path of either.
"""


def path_of(target: object) -> object:
    """Return the path of a class or function at the top level of a module; else `target` itself."""
    name = getattr(target, "__qualname__", "<")
    return target if "<" in name else f"{getattr(target, '__module__', '')}:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """What every kind has.

    `name` matches `[a-z0-9][a-z0-9._-]*`. `ftr.registry.protocols` has what `target` must be.
    `options` is a pydantic model of the component's options, or `target` again: then they are the
    keyword parameters of that function, or of the `__init__` of that class. Without it the
    component takes none.
    """

    name: str
    target: Target
    summary: str = ""
    options: Target | None = None

    def __post_init__(self) -> None:
        for name in ("target", "options"):
            object.__setattr__(self, name, path_of(getattr(self, name)))

    @property
    def path(self) -> str:
        """The path of the target."""
        return str(self.target)

    @property
    def options_path(self) -> str | None:
        """The path of the options, None where it takes none."""
        return None if self.options is None else str(self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec(ComponentSpec):
    """A named dataset. `columns` are the canonical columns its splits hold, for `ftr list`.

    `hub_id` is its id on the Hub, for model cards; leave it out where it is not there.
    """

    columns: tuple[str, ...] = ()
    hub_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(ComponentSpec):
    """A named pretrained model: a checkpoint source with known-good settings.

    The other fields are facts for `ftr list model`; leave out what is not known. `parameters` is
    the number of weights without a head, embeddings included; `max_length` the longest input in
    tokens; `languages` such as `"English"` or `"100 languages"`; `license` such as `"apache-2.0"`.
    """

    parameters: int | None = None
    max_length: int | None = None
    languages: str = ""
    license: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec(ComponentSpec):
    """A head: builds the model for a task, encodes rows and decodes outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec(ComponentSpec):
    """A metric.

    `mode` says which way is better; `key` names its main score when that is not `name`.

    `scores` are the names of all single numbers it may give; None: not known. Where all metrics of
    a task name theirs, a sweep refuses another `metric=` before it reads data.
    """

    mode: Literal["max", "min"] = "max"
    key: str | None = None
    scores: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A named bundle of components with default hyperparameters and a default search space.

    `metrics[0]` is the primary metric: checkpoints and trials are ranked by its main score, in its
    mode. `defaults` maps run-configuration keys (dotted) to values; `search_space` maps them to
    expressions such as `"loguniform(1e-5,1e-4)"`. `also_called` are words that people look for it
    by, such as `"classification"`: an unknown task of such a name is answered with this one.
    """

    name: str
    dataset: str
    model: str
    head: str
    metrics: tuple[str, ...]
    summary: str = ""
    defaults: Mapping[str, object] = field(default_factory=FrozenMapping)
    search_space: Mapping[str, object] = field(default_factory=FrozenMapping)
    also_called: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "defaults", FrozenMapping(self.defaults))
        object.__setattr__(self, "search_space", FrozenMapping(self.search_space))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSpec(ComponentSpec):
    """An experiment tracker, for `tracker=NAME`. It takes no options: trackers have environment
    variables of their own.

    `needs` is the module that must be there to import, and `install` what `pip install` takes for
    it; a run with this tracker is refused without it, before any data is read.
    """

    needs: str = ""
    install: str = ""


AnySpec = DatasetSpec | ModelSpec | HeadSpec | MetricSpec | TaskSpec | TrackerSpec
SPEC_TYPES: Mapping[Kind, type[AnySpec]] = {
    "dataset": DatasetSpec,
    "model": ModelSpec,
    "head": HeadSpec,
    "metric": MetricSpec,
    "task": TaskSpec,
    "tracker": TrackerSpec,
}


SPECS = "__ftr_specs__"
"""The attribute in which `@task` leaves specs at the function or class that it decorates."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def fault(spec: AnySpec) -> str | None:
    """Return why a spec is not legal, or None."""
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        return (
            "its name must be lower-case letters, digits, `.`, `_` and `-`, and start with a "
            "letter or digit."
        )
    for name, is_legal, must in _RULES:
        if hasattr(spec, name) and not is_legal(value := getattr(spec, name)):
            return f"`{name}` is {value!r}: it must be {must}."
    for name in ("defaults", "search_space"):
        values: Mapping[object, object] = getattr(spec, name, {})
        for key, value in values.items():
            if not isinstance(key, str) or not _plain(value):
                return (
                    f"`{name}[{key!r}]` is a `{type(value).__name__}`: keys are strings, values "
                    "numbers, strings, lists or mappings."
                )
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_target(value: object) -> bool:
    return isinstance(value, str) and bool(_TARGET.fullmatch(value))


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_word, value))


def _plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (str, int, float))


_PATH = "a string `package.module:attribute`, or a class or function at the top level of a module"
_RULES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("summary", _is_text, "a string"),
    ("target", _is_target, _PATH),
    ("options", lambda value: value is None or _is_target(value), _PATH),
    *((name, _are_names, "a tuple of names") for name in ("columns", "also_called")),
    ("mode", lambda value: value in ("max", "min"), "`max` or `min`"),
    ("key", lambda value: value is None or _is_text(value), "the name of a score"),
    *((name, _is_word, "a component's name") for name in ("dataset", "model", "head")),
    ("metrics", lambda value: bool(value) and _are_names(value), "a tuple of metric names"),
    *((name, _is_count, "a whole number above 0") for name in ("parameters", "max_length")),
    *(
        (name, _is_text, "a string")
        for name in (*("languages", "license"), "hub_id", "needs", "install")
    ),
)
"""Each field of a spec: whether a value is legal, and what it must be."""


PROJECT = "ftr"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecated:
    """A hook (`ftr_heads`) or a field of a spec (`MetricSpec.key`) that will be removed.

    `since` and `removed` are releases of ftr; `instead` is what to use.
    """

    name: str
    since: str
    removed: str
    instead: str

    @property
    def notice(self) -> str:
        """What ftr prints for a plugin that uses it."""
        return (
            f"`{self.name}` is deprecated since ftr {self.since} and will be removed in ftr "
            f"{self.removed}: use {self.instead}"
        )


DEPRECATED: tuple[Deprecated, ...] = (
    Deprecated(name="Head.tune", since="0.1", removed="0.2", instead="`Head.calibrate`"),
    Deprecated(name="Head.untuned", since="0.1", removed="0.2", instead="`Head.uncalibrated`"),
)
"""A plugin that uses one of these loads with a notice. Removed entries stay, for the message."""


@hookspec
def ftr_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Return the datasets this plugin adds."""


@hookspec
def ftr_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Return the pretrained models this plugin adds."""


@hookspec
def ftr_heads() -> Iterable[HeadSpec]:  # type: ignore[empty-body]
    """Return the heads this plugin adds."""


@hookspec
def ftr_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Return the metrics this plugin adds."""


@hookspec
def ftr_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Return the tasks this plugin adds."""


@hookspec
def ftr_trackers() -> Iterable[TrackerSpec]:  # type: ignore[empty-body]
    """Return the experiment trackers this plugin adds."""
