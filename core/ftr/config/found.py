"""Settings where people keep them: `ftr.yaml` and `[tool.ftr]` of a folder, and the environment.

The commands that begin something new read them (`with_found`): run, sweep, plan, show, schema,
submit and doctor. What continues or repeats a record, and every trial and worker, does not.
"""

import glob
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftr.config.files import read_mapping, read_toml
from ftr.config.keys import check_keys, search_hint
from ftr.config.parse import (
    PLUGINS,
    SWEEP,
    Layer,
    Setting,
    add_word,
    file_layer,
    merge,
    shown,
    split_settings,
)
from ftr.config.schema import DATA_SUFFIXES, HUB, SWEEP_KEYS
from ftr.config.space import read_dimension
from ftr.errors import ConfigError
from ftr.paths import SETTINGS_FILE, is_url
from ftr.registry.registry import print_once
from ftr.terminal import MASK, is_secret

FILE, PROJECT, TOOL = SETTINGS_FILE, "pyproject.toml", "ftr"
PREFIX = "FTR__"
SWITCH = "FTR_SETTINGS"
"""Set to `off`, the variable turns found settings off."""
ORIGINS = "FTR_ORIGINS"
"""In the environment of a submitted command: the origin of each setting that was found where it
was submitted, as JSON."""
_SPLITS = ("dataset.train", "dataset.validation", "dataset.test")
_PLACES = ("output", "data.cache", "compute.storage")
_NAMES = ("dataset", "model", "head", "dataset.labels_file", *_SPLITS)
_GROUPS = ("dataset", "model", "head", "data", "train", "trainer")


@dataclass(frozen=True, slots=True)
class Found:
    """The settings of one place: `plain` for a run, and those of its group `sweep`."""

    origin: str
    plain: Layer
    sweep: Layer


def with_found(arguments: Sequence[str] | Mapping[str, object], *, sweep: bool = False) -> Layer:
    """Return the settings of a command over those that are found, of which it reads the group
    `sweep` only for a `sweep`.

    Found files < `config` files < environment < arguments. Raises `ConfigError`.
    """
    config, given = split_settings(arguments)
    files, variables = found_files(), from_environment()
    for one in (*files, variables):
        check_keys(one.sweep, sweep=True)
        if not sweep:
            _check_plain(one.plain)
    below = merge([*(one.plain for one in files), *(one.sweep for one in files if sweep)])
    above = merge([config, variables.plain, variables.sweep if sweep else {}, given])
    whole = merge([_less_data(below, above), above])
    origins = json.loads(os.environ.get(ORIGINS, "{}"))
    return {
        key: replace(setting, origin=origins.get(key, setting.origin))
        for key, setting in whole.items()
    }


def found_line(settings: Layer) -> str | None:
    """Return which settings of a command were found where: `settings: task, dataset from ftr.yaml`.

    None where none were.
    """
    here = f"{os.path.realpath(os.curdir)}{os.sep}"
    by_origin: dict[str, list[str]] = {}
    for key, setting in settings.items():
        origin = setting.origin.replace(here, "")
        if origin.endswith((FILE, PROJECT)) or origin.startswith("environment "):
            by_origin.setdefault(origin, []).append(key)
    shown = [f"{', '.join(f'`{key}`' for key in keys)} from {o}" for o, keys in by_origin.items()]
    return f"settings: {'; '.join(shown)}" if shown else None


def _check_plain(layer: Layer) -> None:
    try:
        check_keys(layer)
    except ConfigError as error:
        if search_hint(layer, error.keys) or set(error.keys) & set(SWEEP_KEYS):
            text = f"{error} Or move it to the group `{SWEEP}`, which only `ftr sweep` reads."
            raise error.with_message(text) from None
        raise


def _less_data(below: Layer, above: Layer) -> Layer:
    """Leave out the found data where the command names other data."""
    names: Sequence[str] = ("dataset",) if any(key in above for key in _SPLITS) else ()
    if "dataset" in above:
        names = _SPLITS
    return {key: setting for key, setting in below.items() if key not in names}


def found_files() -> list[Found]:
    """Return the settings of the nearest folder that has some, `[tool.ftr]` before `ftr.yaml`.

    Prints once where the two contradict each other. Raises `ConfigError` for a file that cannot be
    used.
    """
    if _is_off():
        return []
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was removed
        return []
    for folder in (here, *here.parents):
        places = list(_files_of(folder))
        if places:
            found = [_found(*place, here) for place in places]
            if len(found) == 2:
                _print_contradictions(*found)
            return found
    return []


def _files_of(folder: Path) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    project, own, other = folder / PROJECT, folder / FILE, folder / "ftr.yml"
    # Unlike `Path.is_file` it is silent where a folder above cannot be searched.
    if os.path.isfile(project) and _is_own(project):  # noqa: PTH113
        tool = read_toml(project, mentions=TOOL).get("tool", {})
        if isinstance(tool, dict) and TOOL in tool:
            origin = f"[tool.{TOOL}] of {project}"
            if not isinstance(tool[TOOL], dict):
                raise ConfigError(f"`{TOOL}` of [tool] of {project} is not a table of keys.")
            yield project, origin, tool[TOOL]
    if os.path.lexists(own) and _is_own(own):
        yield own, str(own), read_mapping(own)
    elif os.path.lexists(other):
        raise ConfigError(f"`{other}` is not read: rename it to `{FILE}`.")


def _is_own(path: Path) -> bool:
    """Whether a file is this user's: in a folder where all may write, such as /tmp, a stranger's
    `plugins` would be run.
    """
    user = getattr(os, "geteuid", lambda: None)()
    if user is None or not path.parent.stat().st_mode & stat.S_IWOTH:
        return True
    if path.lstat().st_uid in (user, 0):
        return True
    print_once(f"`{path}` is not read: it belongs to another user, in a folder open to all")
    return False


def _found(path: Path, origin: str, values: Mapping[str, Any], here: Path) -> Found:
    group = {key: one for key, one in values.items() if _is_of_sweep(key)}
    plain = {key: one for key, one in values.items() if key not in group}
    layers = (file_layer(path, part, origin) for part in (plain, group))
    return Found(
        origin,
        *(
            {key: placed(key, setting, path.parent, here) for key, setting in layer.items()}
            for layer in layers
        ),
    )


def _is_of_sweep(key: object) -> bool:
    return isinstance(key, str) and key.partition(".")[0] == SWEEP


def placed(key: str, setting: Setting, folder: Path, here: Path) -> Setting:
    """Return the setting of a file in `folder` with the same paths as seen from `here`."""
    group = key.partition(".")[0]
    if folder == here or key == PLUGINS or (key not in _PLACES and group not in _GROUPS):
        return setting

    def change(text: str) -> str:
        if not text or is_url(text) or text.startswith(("~", HUB)) or Path(text).is_absolute():
            return text
        relative = text.startswith(("./", "../")) or text in (".", "..")
        if relative or key in _PLACES or (key in _NAMES and _names_file(key, text, folder)):
            return os.path.relpath(folder / text, here)
        return text

    value = map_texts(key, setting.value, setting.origin, change)
    return setting if value == setting.value else Setting(value, setting.origin)


def _names_file(key: str, text: str, folder: Path) -> bool:
    try:
        there = (folder / text).exists() or bool(glob.glob(text, root_dir=folder, recursive=True))  # noqa: PTH207 (it knows `root_dir`)
    except (OSError, ValueError):
        return False
    data = key.startswith("dataset") and Path(text).suffix.lower() in DATA_SUFFIXES
    return there or data


def map_texts(key: str, value: object, origin: str, change: Callable[[str], str]) -> object:
    """Return a value with each text changed, also inside expressions, lists and mappings."""
    dimension = read_dimension(key, value, origin)
    if dimension is not None:
        values = tuple(map_texts(f"{key}.", item, origin, change) for item in dimension.values)
        return value if values == dimension.values else replace(dimension, values=values).text
    if isinstance(value, Mapping):
        return {k: map_texts(f"{key}.{k}", item, origin, change) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_texts(f"{key}.", item, origin, change) for item in value)
    return change(value) if isinstance(value, str) else value


def _print_contradictions(table: Found, file: Found) -> None:
    other = [
        f"`{key}` is {_text(key, wins)}, not {_text(key, loses)}"
        for own, under in ((file.plain, table.plain), (file.sweep, table.sweep))
        for key, wins in own.items()
        if (loses := under.get(key)) is not None and loses.value != wins.value
    ]
    if other:
        print_once(f"{file.origin} wins over {table.origin}: {'; '.join(other)}")


def _text(key: str, setting: Setting) -> str:
    return MASK if is_secret(key) else shown(setting.value)


def from_environment() -> Found:
    """Return the settings of the variables `FTR__GROUP__KEY`, whose values are YAML scalars.

    Raises `ConfigError`.
    """
    plain: Layer = {}
    sweep: Layer = {}
    for name in sorted(os.environ) if not _is_off() else ():
        if not name.upper().startswith(PREFIX):
            continue
        if name != name.upper():
            raise ConfigError(
                f"`{name}` (environment) is not in capitals: write `{name.upper()}`, or unset it."
            )
        key, origin = name[len(PREFIX) :].replace("__", ".").lower(), f"environment {name}"
        if key == "config":
            raise ConfigError(f"`config` ({origin}): give it on the command line, `config=FILE`.")
        if _is_of_sweep(key) and "." in key:
            add_word(sweep, key, os.environ[name], origin)
        else:
            add_word(plain, key, os.environ[name], origin)
    return Found("environment", plain, sweep)


def _is_off() -> bool:
    value = os.environ.get(SWITCH, "")
    if value not in ("", "off"):
        raise ConfigError(f"`{SWITCH}` is `{value}` (environment): set it to `off`, or unset it.")
    return value == "off"
