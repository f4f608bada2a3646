"""What people write, as one flat layer of settings: `key=value` words, keyword arguments, YAML files."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ftr.config.values import LARGEST, read_value, read_yaml
from ftr.errors import ConfigError
from ftr.masking import is_secret, remember
from ftr.paths import expanded, fault, no_file

COMPONENTS = ("dataset", "model", "head")
GROUPS = (*COMPONENTS, "data", "data.augment", "train", "train.lora", "trainer", "compute", "cv")
SWEEP = "sweep"
PLUGINS = "plugins"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, the place it came from, and the word it was written as (None: it was not a word)."""

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
    """Return the settings of `key=value` words. Raises `ConfigError` for a word without `=` or a key given twice."""
    layer: Layer = {}
    for word in words:
        key, equals, raw = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"`{word}` ({origin}) is not `key=value`: write for example `epochs=3` or `dataset=reviews.csv`.")
        try:
            value = read_value(raw)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"`{key}` ({origin}): `{raw}` is not a YAML list, mapping or string ({_problem(error)}). "
                f"Put text that begins so in quotes: `{key}='\"…\"'`."
            ) from None
        _add(layer, _flatten_one(key, Setting(value, origin, raw)), origin)
    return layer


def parse_mapping(values: Mapping[str, object], origin: str = "argument") -> Layer:
    """Return the settings of a mapping, nested, dotted or both; a `Setting` among the values keeps its own origin.

    Raises `ConfigError` for a key given twice.
    """
    layer: Layer = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"`{key}` ({origin}) is not a key: keys are text such as `epochs`.")
        _add(layer, _flatten_one(key, value if isinstance(value, Setting) else Setting(_plain(value), origin)), origin)
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
        raise ConfigError(f"`config`: `{path}` cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"`config`: `{path}` is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"`config`: `{path}` is not YAML: {_problem(error)}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"`config`: `{path}` holds a {type(values).__name__}, not keys: write lines such as `epochs: 3`.")
    if "config" in values:
        raise ConfigError(f"`config` stands in {origin}: give several files as `config=[a.yaml,b.yaml]` instead.")
    layer = parse_mapping(values, origin)
    if PLUGINS in layer:
        layer[PLUGINS] = Setting(_beside(path, layer[PLUGINS].value), origin)
    return layer


def _beside(path: Path, value: object) -> object:
    """Return paths that stand in a file as seen from its folder."""
    if isinstance(value, list | tuple):
        return [_beside(path, item) for item in value]
    return str(path.absolute().parent / expanded(value, f"`{PLUGINS}`:")) if isinstance(value, str) and value else value


def merge(layers: Iterable[Layer]) -> Layer:
    """Return one layer, later ones first in rank: a value replaces an earlier one and all that lay below its key."""
    merged: Layer = {}
    for layer in layers:
        for key in layer:
            for old in [old for old in merged if old.startswith(f"{key}.") and key not in COMPONENTS]:
                del merged[old]
        merged.update(layer)
    return merged


def _flatten_one(key: str, setting: Setting) -> Iterator[tuple[str, Setting]]:
    """Open the groups: what lies deeper may be a mapping that an option wants whole."""
    if key in GROUPS and isinstance(setting.value, Mapping):
        for name, value in setting.value.items():
            yield from _flatten_one(_canonical(f"{key}.{name}"), Setting(_plain(value), setting.origin))
    elif key == SWEEP and isinstance(setting.value, Mapping):
        # The sweep's own keys stand at the top level, and may be kept together in a file.
        for name, value in setting.value.items():
            yield from _flatten_one(str(name), Setting(_plain(value), setting.origin))
    else:
        yield _canonical(key), setting


def _canonical(key: str) -> str:
    group, _, name = key.partition(".")
    return group if group in COMPONENTS and name == "name" else name if group == SWEEP and name else key


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
    parts = [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next((trouble for part in parts if (trouble := _text_fault(part))), None)


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
