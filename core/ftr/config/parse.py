"""Parse what people write into one flat layer of settings: `key=value` words, keyword arguments,
YAML files.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ftr.config.values import LARGEST, read_value, read_yaml
from ftr.errors import ConfigError
from ftr.paths import expanded, fault, no_file
from ftr.registry.registry import Registry, registry_with
from ftr.terminal import MASK, is_secret, remember

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


COMPONENTS = ("dataset", "model", "head")
GROUPS = (*COMPONENTS, "data", "data.augment", "train", "train.lora", "trainer", "compute", "cv")
SWEEP = "sweep"
PLUGINS = "plugins"


class OriginKind(Enum):
    """Who chose a value. Trials of a sweep inherit `CHOSEN` values and derive all others anew."""

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
    """One value, the place it came from, and the word it was written as (None: it was not a
    word).
    """

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
    """Return the settings of `key=value` words.

    Raises `ConfigError` for a word without `=` or a key given twice.
    """
    layer: Layer = {}
    for word in words:
        key, equals, raw = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(
                f"`{word}` ({origin}) is not `key=value`: write for example `epochs=3` or "
                "`dataset=reviews.csv`."
            )
        try:
            value = read_value(raw)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"`{key}` ({origin}): `{raw}` is not a YAML list, mapping or string "
                f"({_problem(error)}). Put text that begins so in quotes: `{key}='\"…\"'`."
            ) from None
        _add(layer, _flatten_one(key, Setting(value, origin, raw)), origin)
    return layer


def parse_mapping(values: Mapping[str, object], origin: str = "argument") -> Layer:
    """Return the settings of a mapping, nested, dotted or both; a `Setting` among the values keeps
    its own origin.

    Raises `ConfigError` for a key given twice.
    """
    layer: Layer = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"`{key}` ({origin}) is not a key: keys are text such as `epochs`.")
        _add(
            layer,
            _flatten_one(
                key, value if isinstance(value, Setting) else Setting(_plain(value), origin)
            ),
            origin,
        )
    return layer


def read_file(path: Path) -> Layer:
    """Return the settings of a YAML file. Raises `ConfigError` naming file, line and column."""
    origin = f"config file {path}"
    if kind := no_file(path):
        raise ConfigError(f"`config`: `{path}` is {kind}, not a file.")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            values = read_yaml(stream.read(LARGEST + 1))
    except FileNotFoundError:
        raise ConfigError(f"`config`: there is no file `{path}`.") from None
    except OSError as error:
        raise ConfigError(
            f"`config`: `{path}` cannot be read: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"`config`: `{path}` is not UTF-8 (byte {error.start}): save it as UTF-8."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"`config`: `{path}` is not YAML: {_problem(error)}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"`config`: `{path}` holds a {type(values).__name__}, not keys: write lines such as "
            "`epochs: 3`."
        )
    if "config" in values:
        raise ConfigError(
            f"`config` stands in {origin}: give several files as `config=[a.yaml,b.yaml]` instead."
        )
    layer = parse_mapping(values, origin)
    if PLUGINS in layer:
        layer[PLUGINS] = Setting(_beside(path, layer[PLUGINS].value), origin)
    return layer


def _beside(path: Path, value: object) -> object:
    """Return paths that stand in a file as seen from its folder."""
    if isinstance(value, list | tuple):
        return [_beside(path, item) for item in value]
    return (
        str(path.absolute().parent / expanded(value, f"`{PLUGINS}`:"))
        if isinstance(value, str) and value
        else value
    )


def merge(layers: Iterable[Layer]) -> Layer:
    """Return one layer, later ones first in rank: a value replaces an earlier one and all that lay
    below its key.
    """
    merged: Layer = {}
    for layer in layers:
        for key in layer:
            for old in [
                old for old in merged if old.startswith(f"{key}.") and key not in COMPONENTS
            ]:
                del merged[old]
        merged.update(layer)
    return merged


def _flatten_one(key: str, setting: Setting) -> Iterator[tuple[str, Setting]]:
    """Open the groups: what lies deeper may be a mapping that an option wants whole."""
    if key in GROUPS and isinstance(setting.value, Mapping):
        for name, value in setting.value.items():
            yield from _flatten_one(
                _canonical(f"{key}.{name}"), Setting(_plain(value), setting.origin)
            )
    elif key == SWEEP and isinstance(setting.value, Mapping):
        # The sweep's own keys stand at the top level, and may be kept together in a file.
        for name, value in setting.value.items():
            yield from _flatten_one(str(name), Setting(_plain(value), setting.origin))
    else:
        yield _canonical(key), setting


def _canonical(key: str) -> str:
    group, _, name = key.partition(".")
    return (
        group
        if group in COMPONENTS and name == "name"
        else name
        if group == SWEEP and name
        else key
    )


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _add(layer: Layer, settings: Iterable[tuple[str, Setting]], origin: str) -> None:
    for key, setting in settings:
        if trouble := _text_fault([key, setting.value, setting.word]):
            raise ConfigError(f"`{key}` ({origin}) {trouble}.")
        remember(key, setting.word if is_secret(key) and setting.word else setting.value)
        if key in layer:
            raise ConfigError(f"`{key}` is given twice ({origin}): keep one.")
        layer[key] = setting


def _text_fault(value: object) -> str | None:
    """Return what is wrong with the first text in a value that can be none."""
    if isinstance(value, str):
        return fault(value)
    parts = (
        [*value, *value.values()]
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    return next((trouble for part in parts if (trouble := _text_fault(part))), None)


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


M = TypeVar("M", bound=BaseModel)
LONGEST_SHOWN = 60


def validated(
    model: type[M], values: dict[str, Any], settings: Mapping[str, Setting], prefix: str = ""
) -> M:
    """Return `model` made of `values`.

    Raises `ConfigError` that names every wrong key (`prefix` + field) and its origin.

    Where the model wants text and YAML made a number of it (`output=2024`), the word as typed is
    taken.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        repaired, again = _with_words(values, error, settings, prefix), error
    if repaired is not None:
        try:
            return model.model_validate(repaired)
        except ValidationError as error:
            again = error
    raise ConfigError("\n".join(_messages(again, values, settings, prefix)))


def _with_words(
    values: dict[str, Any], error: ValidationError, settings: Mapping[str, Setting], prefix: str
) -> dict[str, Any] | None:
    repaired = None
    for detail in error.errors():
        path = [str(part) for part in detail["loc"]]
        setting = settings.get(_key(prefix, path))
        if detail["type"] == "string_type" and setting is not None and setting.word:
            repaired = _replace(values if repaired is None else repaired, path, setting.word)
    return repaired


def _replace(values: dict[str, Any], path: list[str], word: str) -> dict[str, Any]:
    """Return a copy of nested `values` with `word` at `path`."""
    first, *rest = path
    return {**values, first: _replace(values[first], rest, word) if rest else word}


def _messages(
    error: ValidationError, values: object, settings: Mapping[str, Setting], prefix: str
) -> list[str]:
    """One line per key: a union (`int` or `"auto"`) reports each of its members."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        grouped.setdefault(_key(prefix, _known_path(values, detail)), []).append(detail)
    return [_message(key, details, settings) for key, details in grouped.items()]


def _message(key: str, details: "list[ErrorDetails]", settings: Mapping[str, Setting]) -> str:
    first = details[0]
    text = sentence(first["msg"])
    if "`" in text:
        return f"{text}{_origins_of(text, settings)}."
    setting = settings.get(key)
    origin = f" ({setting.origin})" if setting is not None else ""
    if first["type"] == "missing":
        return f"`{key}` is required: set `{key}=...`."
    if first["type"] == "extra_forbidden":
        return f"`{key}`{origin} is unknown."
    wanted = " or ".join(dict.fromkeys(sentence(detail["msg"]) for detail in details))
    found = (
        MASK
        if is_secret(key)
        else "empty"
        if setting is not None and setting.word == ""
        else shown(first["input"])
    )
    return f"`{key}` is {found}{origin}: {wanted}."


def shown(value: object) -> str:
    """Return a value for a message: short, strings in quotes."""
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def sentence(message: str) -> str:
    """Return pydantic's message so that it can follow a colon."""
    plain = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return re.sub(r"^(Input|Value|String|List|Tuple) should", "it should", plain)


def _origins_of(text: str, settings: Mapping[str, Setting]) -> str:
    named = [
        f"`{key}`: {settings[key].origin}"
        for key in dict.fromkeys(re.findall(r"`([\w.]+)`", text))
        if key in settings
    ]
    return f" ({', '.join(named)})" if named else ""


def _known_path(values: object, detail: "ErrorDetails") -> list[str]:
    """Cut the names that pydantic adds for the members of a union."""
    path: list[str] = []
    for part in detail["loc"]:
        inside = (
            values
            if isinstance(values, Mapping)
            else dict(enumerate(values))
            if isinstance(values, list | tuple)
            else {}
        )
        if part not in inside:
            return [*path, str(part)] if detail["type"] in ("missing", "extra_forbidden") else path
        values = inside[part]
        path.append(str(part))
    return path


def _key(prefix: str, path: list[str]) -> str:
    if not prefix and path[1:] == ["name"] and path[0] in COMPONENTS:
        path = path[:1]
    return prefix + ".".join(path)


def read_settings(arguments: Sequence[str] | Mapping[str, object]) -> Layer:
    """Return what `key=value` words, or a mapping of nested or dotted keys, set, over the YAML
    files that `config` names.

    Raises `ConfigError`.
    """
    given = parse_mapping(arguments) if isinstance(arguments, Mapping) else parse_words(arguments)
    setting = given.pop("config", None)
    if setting is None:
        return given
    named = setting.value if isinstance(setting.value, list | tuple) else [setting.text]
    paths = [expanded(name, "`config`:") for name in named if isinstance(name, str) and name]
    if not paths or len(paths) < len(named):
        raise ConfigError(
            f"`config` is {shown(setting.value)} ({setting.origin}): give the path of a YAML file."
        )
    return merge([*map(read_file, paths), given])


KEY = PLUGINS


def registry_for(arguments: Sequence[str] | Mapping[str, object]) -> Registry:
    """Return the registry of this process with the plugin files that settings name, which it keeps.

    Raises `ConfigError` where they cannot be read, and `RequestError` for a file that cannot be a
    plugin.
    """
    return registry_with(plugin_files(read_settings(arguments)))


def plugin_files(settings: Layer) -> list[str]:
    """Return the files that `plugins` names. Raises `ConfigError` where it names none."""
    setting = settings.get(KEY)
    if setting is None or setting.value is None:
        return []
    named = setting.value if isinstance(setting.value, list | tuple) else [setting.text]
    if not all(isinstance(name, str) and name for name in named):
        raise ConfigError(
            f"`{KEY}` is {shown(setting.value)} ({setting.origin}): give paths of Python files, "
            f"`{KEY}=[./my_task.py]`."
        )
    return [str(name) for name in named]


def loaded_files(settings: Layer, registry: Registry) -> list[str]:
    """Return the paths of all plugins of one file in the registry.

    Raises `ConfigError` for one that `plugins` names and the registry lacks.
    """
    loaded = {plugin.distribution: plugin.origin for plugin in registry.files}
    absent = next((name for name in plugin_files(settings) if Path(name).name not in loaded), None)
    if absent is not None:
        failed = next(
            (plugin for plugin in registry.plugins if plugin.distribution == Path(absent).name),
            None,
        )
        cause = (
            f"it did not load: {failed.cause}"
            if failed
            else "it is not in the registry that was given"
        )
        raise ConfigError(
            f"`{KEY}` names `{absent}` ({settings[KEY].origin}), and {cause.rstrip('.')}."
        )
    return list(loaded.values())
