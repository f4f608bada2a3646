"""Parse `key=value` words, keyword arguments and YAML files into one flat layer of settings, and
validate settings against a model.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ftr.config.files import problem, read_mapping
from ftr.config.schema import DATA_SUFFIXES, HUB
from ftr.config.values import KeyConflictError, joined, read_value
from ftr.errors import ConfigError, did_you_mean
from ftr.paths import expanded, fault, looks_like_path, present
from ftr.registry.registry import Registry, registry_with
from ftr.terminal import MASK, is_secret, remember

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


ComponentKind = Literal["dataset", "model", "head"]
COMPONENTS: tuple[ComponentKind, ...] = ("dataset", "model", "head")
GROUPS = (*COMPONENTS, "data", "data.augment", "train", "train.lora", "trainer", "compute", "cv")
SWEEP = "sweep"
PLUGINS = "plugins"


class OriginKind(Enum):
    """Who chose a value. Trials of a sweep inherit `CHOSEN` values and derive the others."""

    DEFAULT = "built-in default"
    COMPONENT = "default of a component"
    TASK = "default of a task"
    CHOSEN = "command line, argument, file or search space"


class Origin(str):
    """The origin of a value: its kind for decisions, and the text that people read."""

    kind: OriginKind

    def __new__(cls, text: str, kind: OriginKind) -> Self:
        """Create the text with its kind."""
        made = super().__new__(cls, text)
        made.kind = kind
        return made

    def __getnewargs__(self) -> tuple[str, OriginKind]:  # type: ignore[override]
        return str(self), self.kind


def is_chosen(origin: str) -> bool:
    """Return whether somebody chose the value: true of plain text."""
    return not isinstance(origin, Origin) or origin.kind is OriginKind.CHOSEN


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, its origin, and the word it was written as (None: it was not a word)."""

    value: object
    origin: str
    word: str | None = None

    @property
    def text(self) -> str | None:
        """The value where a string is meant: a folder called `2024` is not a number."""
        if isinstance(self.value, str):
            return self.value
        return self.word or None


Layer = dict[str, Setting]


def parse_words(words: Sequence[str], origin: str = "command line") -> Layer:
    """Return the settings of `key=value` words; a path alone is the dataset.

    Raises `ConfigError` for another word without `=`, two paths, or a key given twice.
    """
    layer: Layer = {}
    paths = [word for word in words if _is_path(word)]
    if len(paths) > 1:
        raise ConfigError(
            f"`{paths[0]}` and `{paths[1]}` ({origin}): give one file or folder as the dataset; "
            "`dataset.train=`, `dataset.validation=` and `dataset.test=` name a file for each "
            "split.",
            keys=["dataset"],
        )
    for place, word in enumerate(words):
        if word in paths:
            _add(layer, "dataset", Setting(word, origin, word))
            continue
        key, equals, raw = word.partition("=")
        key = key.strip()
        if not equals or not key:
            fix = joined(words, place) or (
                f"Write for example `task=sentiment` or `epochs=3`.{_near_file(word)}"
            )
            raise ConfigError(
                f"`{word}` ({origin}) is not `key=value`, and no file of that name is here. {fix}"
            )
        add_word(layer, key, raw, origin)
    return layer


def add_word(layer: Layer, key: str, raw: str, origin: str) -> None:
    """Add the value of one word or environment variable to a layer; raises `ConfigError`."""
    try:
        value = read_value(raw)
    except yaml.YAMLError as error:
        shown_raw = MASK if is_secret(key) else raw
        raise ConfigError(
            f"`{key}` ({origin}): `{shown_raw}` is not a YAML list, mapping or string "
            f"({problem(error)}). Quote text that begins like one: `{key}='\"…\"'`.",
            keys=[key],
        ) from None
    _add(layer, key, Setting(value, origin, raw))


def _is_path(word: str) -> bool:
    """Whether a word is a dataset by its path or Hub id. Keys have no `/`.

    Raises `ConfigError` for a file of settings or of code.
    """
    key, equals, _ = word.partition("=")
    if equals and "/" not in key:
        return False
    suffix = Path(word).suffix.lower()
    if suffix in _OTHER_FILES and present(word):
        raise ConfigError(
            f"`{word}` is not a dataset: write `{_OTHER_FILES[suffix].format(word)}`."
        )
    named = word.startswith(HUB) or suffix in DATA_SUFFIXES or looks_like_path(word)
    return bool(key.strip()) and word != "-" and (named or present(word))


_OTHER_FILES = {".yaml": "config={}", ".yml": "config={}", ".py": "--plugin {}"}


def _near_file(word: str) -> str:
    return did_you_mean(word, [path.name for path in Path.cwd().iterdir()]) if word else ""


def parse_mapping(values: Mapping[str, object], origin: str = "argument") -> Layer:
    """Return the settings of a mapping, nested, dotted or both; a `Setting` among the values keeps
    its own origin.

    Raises `ConfigError` for a key given twice.
    """
    layer: Layer = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"`{key}` ({origin}) is not a key: keys are text such as `epochs`.")
        _add(layer, key, value if isinstance(value, Setting) else _setting(value, origin))
    return layer


def read_file(path: Path) -> Layer:
    """Return the settings of a YAML file. Raises `ConfigError` naming file, line and column."""
    return file_layer(path, read_mapping(path, "`config`: "), f"config file {path}")


def file_layer(path: Path, values: Mapping[str, object], origin: str) -> Layer:
    """Return the settings that a file holds. Raises `ConfigError`."""
    if "config" in values:
        raise ConfigError(
            f"`config` is a key of {origin}: give several files as `config=[a.yaml,b.yaml]` "
            "instead."
        )
    layer = parse_mapping(values, origin)
    if PLUGINS in layer:
        layer[PLUGINS] = Setting(_beside(path, layer[PLUGINS].value), origin)
    return layer


def _beside(path: Path, value: object) -> object:
    """Resolve the paths in a file relative to its folder."""
    if isinstance(value, list | tuple):
        return [_beside(path, item) for item in value]
    if isinstance(value, str) and value:
        return str(path.absolute().parent / expanded(value, f"`{PLUGINS}`:"))
    return value


def merge(layers: Iterable[Layer]) -> Layer:
    """Return one layer: a later value replaces an earlier one and all keys below it."""
    merged: Layer = {}
    for layer in layers:
        groups = tuple(f"{key}." for key in layer if key not in COMPONENTS)
        merged = {key: old for key, old in merged.items() if not key.startswith(groups)} | layer
    return merged


def _setting(value: object, origin: str) -> Setting:
    return Setting(os.fspath(value) if isinstance(value, os.PathLike) else value, origin)


def _add(layer: Layer, key: str, given: Setting) -> None:
    for name, setting in _flatten(key, given):
        if problem := _text_fault([name, setting.value, setting.word]):
            raise ConfigError(f"`{name}` ({given.origin}) {problem}.", keys=[name])
        remember(name, setting.word if is_secret(name) and setting.word else setting.value)
        if name in layer:
            raise ConfigError(f"`{name}` is given twice ({given.origin}): keep one.", keys=[name])
        layer[name] = setting


def _flatten(key: str, setting: Setting) -> Iterator[tuple[str, Setting]]:
    """Open the groups. Below them a mapping is the value of an option."""
    group, _, name = key.partition(".")
    if group in COMPONENTS and name == "name":
        key = group
    elif group == SWEEP and name:  # the sweep's own keys may be grouped in a file
        key = name
    if key in (*GROUPS, SWEEP) and isinstance(setting.value, Mapping):
        for name, value in setting.value.items():
            yield from _flatten(f"{key}.{name}", _setting(value, setting.origin))
    else:
        yield key, setting


def _text_fault(value: object) -> str | None:
    """Return what is wrong with the first string in a value that is not valid text."""
    if isinstance(value, str):
        return fault(value)
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    parts = value if isinstance(value, list | tuple) else ()
    return next((problem for part in parts if (problem := _text_fault(part))), None)


M = TypeVar("M", bound=BaseModel)
LONGEST_SHOWN = 60
_CHOICE = re.compile(r"'([^']+)'")


def validated(
    model: type[M], values: dict[str, Any], settings: Mapping[str, Setting], prefix: str = ""
) -> M:
    """Return `model` made of `values`.

    A number where the model wants text (`output=2024`) is replaced by the word as typed. Raises
    `ConfigError` that names every wrong key (`prefix` + field) and its origin.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        failed = error
    again = values
    for detail in failed.errors():
        path = [str(part) for part in detail["loc"]]
        setting = settings.get(_key(prefix, path))
        if detail["type"] == "string_type" and setting is not None and setting.word:
            again = _replace(again, path, setting.word)
    if again is not values:
        try:
            return model.model_validate(again)
        except ValidationError as error:
            failed = error
    raise _config_error(failed, values, settings, prefix)


def _replace(values: dict[str, Any], path: list[str], word: str) -> dict[str, Any]:
    """Return a copy of nested `values` with `word` at `path`."""
    first, *rest = path
    return {**values, first: _replace(values[first], rest, word) if rest else word}


def _config_error(
    error: ValidationError, values: object, settings: Mapping[str, Setting], prefix: str
) -> ConfigError:
    """Return the error with one line per key: a union (`int` or `"auto"`) reports each member."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        grouped.setdefault(_key(prefix, _known_path(values, detail)), []).append(detail)
    keys: list[str] = []
    lines = []
    for key, details in grouped.items():
        conflict = details[0].get("ctx", {}).get("error")
        if isinstance(conflict, KeyConflictError):
            keys += conflict.keys
            lines.append(f"{conflict}{_origins(conflict.keys, settings)}.")
        else:
            keys.append(key.removesuffix("."))
            lines.append(_message(key, details, settings))
    return ConfigError(
        "\n".join(lines),
        keys=keys,
        needs_integer=any(detail["type"].startswith("int_") for detail in error.errors()),
    )


def _message(key: str, details: "list[ErrorDetails]", settings: Mapping[str, Setting]) -> str:
    first, setting = details[0], settings.get(key)
    origin = f" ({setting.origin})" if setting is not None else ""
    wanted = expected(details)
    if first["type"] == "missing":
        return f"`{key}` is required: set `{key}=...`."
    if first["type"] == "extra_forbidden":
        return f"`{key}`{origin} is unknown."
    if key.endswith("."):  # a validator of all options of a component
        return f"`{key[:-1]}`: {wanted}{_origins(settings, settings)}."
    if is_secret(key):
        found = MASK
    elif setting is not None and setting.word == "":
        found = "empty"
    else:
        found = shown(first["input"])
    return f"`{key}` is {found}{origin}: {wanted}.{_near_choice(details)}"


def _near_choice(details: "Iterable[ErrorDetails]") -> str:
    """Suggest the choice that a word was meant to be."""
    choices = []
    word = None
    for detail in details:
        word = detail["input"]
        if detail["type"] == "literal_error":
            choices += _CHOICE.findall(str(detail.get("ctx", {}).get("expected")))
        elif detail["type"] == "bool_parsing":
            choices += ["true", "false"]
    return did_you_mean(word, choices) if isinstance(word, str) else ""


def _origins(keys: Iterable[str], settings: Mapping[str, Setting]) -> str:
    named = [f"`{key}`: {settings[key].origin}" for key in keys if key in settings]
    return f" ({', '.join(named)})" if named else ""


def shown(value: object) -> str:
    """Return a value for a message: short, strings in quotes."""
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def expected(details: "Iterable[ErrorDetails]") -> str:
    """Return pydantic's messages about one value as one clause that can follow a colon."""
    plain = (
        detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        for detail in details
    )
    return " or ".join(
        dict.fromkeys(
            re.sub(r"^(Input|Value|String|List|Tuple) should", "it should", text).replace(
                "a valid boolean, unable to interpret input", "`true` or `false`"
            )
            for text in plain
        )
    )


def _known_path(values: object, detail: "ErrorDetails") -> list[str]:
    """Cut the names that pydantic adds for the members of a union."""
    path: list[str] = []
    for part in detail["loc"]:
        if isinstance(values, list | tuple):
            values = dict(enumerate(values))
        if not isinstance(values, Mapping) or part not in values:
            return [*path, str(part)] if detail["type"] in ("missing", "extra_forbidden") else path
        values = values[part]
        path.append(str(part))
    return path


def _key(prefix: str, path: list[str]) -> str:
    if not prefix and path[1:] == ["name"] and path[0] in COMPONENTS:
        path = path[:1]
    return prefix + ".".join(path)


def _names(key: str, setting: Setting, wanted: str) -> list[str]:
    """Return the name, or the list of names, that a setting holds."""
    named = setting.value if isinstance(setting.value, list | tuple) else [setting.text]
    names = [name for name in named if isinstance(name, str) and name]
    if not names or len(names) < len(named):
        raise ConfigError(
            f"`{key}` is {shown(setting.value)} ({setting.origin}): give {wanted}.", keys=[key]
        )
    return names


def read_settings(arguments: Sequence[str] | Mapping[str, object]) -> Layer:
    """Return what `key=value` words, or a mapping of nested or dotted keys, set, over the YAML
    files that `config` names.

    Raises `ConfigError`.
    """
    return merge(split_settings(arguments))


def split_settings(arguments: Sequence[str] | Mapping[str, object]) -> tuple[Layer, Layer]:
    """Return the settings of the files that `config` names, and those of the arguments themselves.

    Raises `ConfigError`.
    """
    given = parse_mapping(arguments) if isinstance(arguments, Mapping) else parse_words(arguments)
    setting = given.pop("config", None)
    if setting is None:
        return {}, given
    paths = [
        expanded(name, "`config`:") for name in _names("config", setting, "the path of a YAML file")
    ]
    return merge(map(read_file, paths)), given


def registry_for(arguments: Sequence[str] | Mapping[str, object]) -> Registry:
    """Return the registry of this process, extended by the plugin files that settings name.

    Raises `ConfigError` where they cannot be read, and `RequestError` for a file that cannot be a
    plugin.
    """
    return registry_with(plugin_files(read_settings(arguments)))


def plugin_files(settings: Layer) -> list[str]:
    """Return the files that `plugins` names. Raises `ConfigError` where it names none."""
    setting = settings.get(PLUGINS)
    if setting is None or setting.value in (None, [], ()):
        return []
    return _names(PLUGINS, setting, f"paths of Python files, `{PLUGINS}=[./my_task.py]`")


def loaded_files(settings: Layer, registry: Registry) -> list[str]:
    """Return the paths of all plugins of one file in the registry.

    Raises `ConfigError` for one that `plugins` names and the registry lacks.
    """
    loaded = {plugin.distribution: plugin.origin for plugin in registry.files}
    causes = {plugin.distribution: plugin.cause for plugin in registry.plugins}
    for path in plugin_files(settings):
        name = Path(path).name
        if name not in loaded:
            problem = "it is not in the registry that was given"
            if name in causes:
                problem = f"it did not load: {causes[name]}"
            raise ConfigError(
                f"`{PLUGINS}` names `{path}` ({settings[PLUGINS].origin}), and {problem}.",
                keys=[PLUGINS],
            )
    return list(loaded.values())
