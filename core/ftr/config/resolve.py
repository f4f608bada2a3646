"""Resolve the layers of settings into one `RunConfig`, with the origin of every value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftr.config.components import (
    FILES,
    SPLITS,
    checked_options,
    head_schema,
    locate,
    options_model,
)
from ftr.config.keys import RENAMED, SECTIONS, check_keys, search_hint
from ftr.config.parse import (
    COMPONENTS,
    ComponentKind,
    Layer,
    Origin,
    OriginKind,
    Setting,
    expected,
    loaded_files,
    merge,
    parse_mapping,
    read_settings,
    shown,
    validated,
)
from ftr.config.schema import DEFAULT_STRIDE, DataConfig, RunConfig
from ftr.config.trainer import check_trainer
from ftr.errors import ConfigError, RequestError, UnknownComponentError, did_you_mean
from ftr.registry.discovery import own_version
from ftr.registry.registry import Registered, Registry, print_once
from ftr.registry.schema import RowSchema
from ftr.registry.specs import Kind
from ftr.terminal import MASK, unmasked


def check_texts(data: DataConfig, schema: RowSchema, head: str) -> None:
    """Raise `ConfigError` naming the key and the head where there is no text to clean or change, or
    no list of stop words.
    """
    asked = {
        "data.clean": bool(data.clean),
        "data.stop_words": data.stop_words is not None,
        "data.augment": data.augment.wanted,
    }
    types = {column.type for column in schema.columns}
    key = next((key for key, wanted in asked.items() if wanted), None)
    if key is not None and "text" not in types:
        raise ConfigError(
            f"`{key}` changes texts, but head `{head}` reads lists of tokens: leave the key out.",
            keys=[key, "head"],
        )
    if data.stop_words is not None:
        if "answers" in types:
            raise ConfigError(
                f"`data.stop_words` cannot be used with head `{head}`: answers are spans of the "
                "text, stop words included. Leave the key out.",
                keys=["data.stop_words", "head"],
            )
        stop_words(data.stop_words)


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language (ISO 639-1 code), in lower case, as listed by Stopwords
    ISO.

    Raises `ConfigError` for a language without a list.
    """
    import stopwordsiso

    code = language.lower()
    known = sorted(stopwordsiso.langs())
    if code not in known:
        raise ConfigError(
            f"`data.stop_words={language}`: there is no list of stop words for this "
            f"language.{did_you_mean(code, known)} Give a code of two letters: {', '.join(known)}; "
            "or leave the key out.",
            keys=["data.stop_words"],
        )
    return frozenset(word.lower() for word in stopwordsiso.stopwords(code))


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return how each value differs between two flat configurations, as "`epochs` was 3, is 4"."""

    def text(values: Mapping[str, object], key: str) -> str:
        return shown(values[key]) if key in values else "not set"

    return [
        f"`{key}` was {text(old, key)}, is {text(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if key not in old or key not in new or old[key] != new[key]
    ]


M = TypeVar("M", bound=BaseModel)


def recorded_config(
    record: Mapping[str, Any], file: Path | str, *, unused: Collection[str] = ()
) -> RunConfig:
    """Return the configuration in the record of a run or sweep, with the secrets that this process
    was given.

    Raises `ConfigError` naming `file`, key and version for a key that this version does not know,
    and for each missing secret, unless its group is `unused`.
    """
    config = record.get("config")
    values, lost = unmasked(config) if isinstance(config, Mapping) else ({}, [])
    if lost := [key for key in lost if key.partition(".")[0] not in unused]:
        words = " ".join(f"{key}=…" for key in lost)
        raise ConfigError(
            f"`{file}` holds no secrets, only `{MASK}`: give them again: `{words}`.", keys=lost
        )
    return recorded_model(RunConfig, values, record, file)


def recorded_model(
    model: type[M], values: object, record: Mapping[str, Any], file: Path | str
) -> M:
    """Return `model` from a record. Raises `ConfigError` as `recorded_config` does."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        raise _unknown(key, record, file)
    raise ConfigError(
        f"`{file}`: `{key}` cannot be used: {expected([first])}. {_version(record)}.", keys=[key]
    )


def check_fields(
    known: Iterable[str], values: Mapping[str, Any], record: Mapping[str, Any], file: Path | str
) -> None:
    """Raise `ConfigError` for a key of a record that this version does not know."""
    strange = next((name for name in values if name not in set(known)), None)
    if strange is not None:
        raise _unknown(strange, record, file)


def check_renamed(record: Mapping[str, Any], file: Path | str) -> None:
    """Raise `ConfigError` for a key in the record of a run or sweep that has another name now."""
    for group in ("config", "sweep", "space"):
        former = next((key for key in _dotted(record.get(group), "") if key in RENAMED), None)
        if former is not None:
            raise _unknown(former, record, file)


def _dotted(values: object, group: str) -> Iterator[str]:
    for name, value in values.items() if isinstance(values, Mapping) else ():
        yield f"{group}{name}"
        yield from _dotted(value, f"{group}{name}.")


def _unknown(key: str, record: Mapping[str, Any], file: Path | str) -> ConfigError:
    problem = f"ftr {own_version()} does not know the key `{key}`. {_version(record)}"
    if key in RENAMED:
        problem = (
            f"`{key}` is called `{RENAMED[key]}` now. Rename it in the file, or use the version of "
            "ftr that wrote it"
        )
    return ConfigError(f"`{file}`: {problem}.", keys=[key])


def _version(record: Mapping[str, Any]) -> str:
    written = record.get("ftr")
    if isinstance(written, str) and written and written != own_version():
        return (
            f"ftr {written} wrote the file: use that version (`pip install ftr=={written}`), or "
            "restore the file"
        )
    return "This version wrote the file, and it was changed since: restore the file"


DEFAULT = Origin("built-in default", OriginKind.DEFAULT)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A configuration that names every value; `origins` has the same keys as `flat(config)`.

    `schema` is the head's: the columns its rows have.
    """

    config: RunConfig
    origins: dict[str, str]
    schema: RowSchema


def resolve(arguments: Sequence[str] | Mapping[str, object], registry: Registry) -> Resolved:
    """Return the configuration that `key=value` words, or a mapping of nested or dotted keys, ask
    for.

    Built-in default < task default < `config=file.yaml` < the arguments. Raises `ConfigError`,
    `UnknownComponentError`, `DataError` for a dataset path and `ModelError` for a model path that
    is not there.
    """
    return resolve_layer(read_settings(arguments), registry)


def resolve_layer(given: Layer, registry: Registry) -> Resolved:
    """Return the configuration of settings that were read. Raises what `resolve` does."""
    check_keys(given)
    with _about("task", given):
        task = _task(given, registry)
    settings = merge([_task_layer(task, given, registry), given]) if task else given
    settings = _files_by_option(settings, given)
    check_keys(settings)
    try:
        check_trainer(_below("trainer", settings))
        return _resolve_settings(settings, registry, task)
    except RequestError as error:
        if hint := search_hint(given, error.keys):
            raise error.with_message(f"{error}{hint}") from None
        raise


def _below(group: str, settings: Layer) -> Layer:
    return {key: setting for key, setting in settings.items() if key.startswith(f"{group}.")}


@contextmanager
def _about(key: str, settings: Layer) -> Iterator[None]:
    """Name `key` as the one at fault in an error that names none, and the origin of a name that is
    not registered.
    """
    try:
        yield
    except RequestError as error:
        error.keys = error.keys or (key,)
        if isinstance(error, UnknownComponentError) and key in settings:
            raise error.with_message(f"`{key}` ({settings[key].origin}): {error}") from None
        raise


def flat(config: RunConfig | Mapping[str, Any]) -> dict[str, object]:
    """Return every value of a configuration, or of one in a record, by its dotted key, as in JSON.
    `resolve` makes an equal configuration of them.
    """
    dumped = config.model_dump(mode="json") if isinstance(config, RunConfig) else config
    return dict(_flat(dumped))


def _task(given: Layer, registry: Registry) -> Registered | None:
    setting = given.get("task")
    if setting is not None and setting.value is not None:
        found = registry.find("task", _name("task", setting))
        if found.plugin.builtin and ":" not in str(setting.text):
            for other in registry.rivals(found):
                print_once(
                    f"`task={found.spec.name}` is the built-in task; for that of plugin "
                    f"{other.plugin.described} write `task={other.qualified}`"
                )
        return found
    needed = [key for key in (*COMPONENTS, "metrics") if key not in given]
    if needed:
        absent = ", ".join(f"`{key}`" for key in needed)
        tasks = (
            ", ".join(f"`task={name}`" for name in registry.names("task"))
            or "none is registered, see `ftr plugins`"
        )
        raise ConfigError(
            f"no task given: set one ({tasks}), or {absent}. A file or folder as the dataset "
            "(`ftr run reviews.csv`) tells the task.",
            keys=["task", *needed],
        )
    return None


def _task_layer(task: Registered, given: Layer, registry: Registry) -> Layer:
    """Return the task's components and defaults, without options of replaced components."""
    spec = registry.task(task.qualified)
    origin = task_origin(task)
    named = {
        "dataset": _own("dataset", spec.dataset, task, registry),
        "model": _own("model", spec.model, task, registry),
        "head": _own("head", spec.head, task, registry),
        "metrics": [_own("metric", name, task, registry) for name in spec.metrics],
    }
    layer = {key: Setting(name, origin) for key, name in named.items()}
    layer |= parse_mapping(spec.defaults, origin)
    replaced = tuple(
        f"{key}." for key in COMPONENTS if key in given and given[key].text != layer[key].value
    )
    return {key: setting for key, setting in layer.items() if not key.startswith(replaced)}


def task_origin(task: Registered) -> Origin:
    """Return the origin of what a task sets."""
    plugin = task.plugin
    return Origin(
        f"task `{task.spec.name}` ({plugin.distribution} {plugin.version})", OriginKind.TASK
    )


def _own(kind: Kind, name: str, task: Registered, registry: Registry) -> str:
    """Return the name of the task's own component, qualified where another plugin has that name."""
    for entry in registry.all(kind):
        if entry.plugin == task.plugin and entry.spec.name == name:
            return entry.short_name
    return name


def _files_by_option(settings: Layer, given: Layer) -> Layer:
    """Let `dataset.train=a.csv` alone replace the task's dataset by files named by options."""
    named = [given[f"dataset.{split}"] for split in SPLITS if f"dataset.{split}" in given]
    first = next((setting for setting in named if setting.value is not None), None)
    if first is None or "dataset" in given:
        return settings
    own = {
        key: setting
        for key, setting in settings.items()
        if not key.startswith("dataset.") or key in given
    }
    return {**own, "dataset": Setting(FILES, first.origin)}


def _name(key: str, setting: Setting) -> str:
    if setting.text is None:
        raise ConfigError(
            f"`{key}` is {shown(setting.value)} ({setting.origin}): a name is needed.", keys=[key]
        )
    return setting.text


def _resolve_settings(settings: Layer, registry: Registry, task: Registered | None) -> Resolved:
    # The head first: the columns it reads are options of a dataset given as a file.
    head, head_options = _component("head", settings, registry, None)
    schema = head_schema(head["name"], head_options, registry)
    values = _nested(
        {
            key: setting
            for key, setting in settings.items()
            if key.partition(".")[0] not in COMPONENTS
        }
    )
    values["head"] = head
    values["model"], _ = _component("model", settings, registry, schema)
    values["dataset"], _ = _component("dataset", settings, registry, schema)
    values["plugins"] = loaded_files(settings, registry)
    if task is None:
        values.pop("task", None)
    config = validated(RunConfig, values, settings)
    _check_names("metric", "metrics", config.metrics, settings, registry)
    _check_names("tracker", "tracker", config.tracker, settings, registry)
    check_texts(config.data, schema, config.head.name)
    return Resolved(
        config, {key: _origin(key, settings, config, registry) for key in flat(config)}, schema
    )


def _component(
    kind: ComponentKind, settings: Layer, registry: Registry, schema: RowSchema | None
) -> tuple[dict[str, Any], BaseModel | None]:
    setting = settings[kind]
    given = _below(kind, settings)
    with _about(kind, settings):
        source, name = locate(kind, _name(kind, setting), registry, setting.origin)
        model = options_model(kind, source, name, registry, schema)
        options = checked_options(kind, name, model, _nested(given).get(kind, {}), given)
    dumped = {} if options is None else options.model_dump(mode="json", by_alias=True)
    return {"name": name, "options": dumped}, options


def _nested(settings: Layer) -> dict[str, Any]:
    """Return nested dicts from dotted keys; a longer key adds to the mapping of a shorter one."""
    nested: dict[str, Any] = {}
    for key in sorted(settings, key=lambda key: key.count(".")):
        *path, last = key.split(".")
        within = nested
        for part in path:
            within = within.setdefault(part, {})
            if not isinstance(within, dict):
                raise ConfigError(
                    f"`{key}` ({settings[key].origin}): `{part}` holds a value, not keys. Set one "
                    "of the two.",
                    keys=[key],
                )
        value = settings[key].value
        within[last] = dict(value) if isinstance(value, dict) else value
    return nested


def _check_names(
    kind: Kind, key: str, names: Sequence[str], settings: Layer, registry: Registry
) -> None:
    with _about(key, settings):
        for at, name in enumerate(names):
            registry.find(kind, name)
            if name in names[:at]:
                raise ConfigError(
                    f"`{key}` ({settings[key].origin}) holds `{name}` twice: keep one."
                )


def _origin(key: str, settings: Layer, config: RunConfig, registry: Registry) -> str:
    if key in settings:
        return settings[key].origin
    below = dict.fromkeys(setting.origin for setting in _below(key, settings).values())
    if below:
        return next(iter(below)) if len(below) == 1 else ", ".join(below)
    components = {"dataset": config.dataset, "model": config.model, "head": config.head}
    for kind in COMPONENTS:
        if key.startswith(f"{kind}.") and registry.has(kind, components[kind].name):
            return Origin(f"default of {kind} `{components[kind].name}`", OriginKind.COMPONENT)
    if key == "plugins" and config.plugins:
        return "`--plugin`"
    if key == "data.stride" and config.data.stride < DEFAULT_STRIDE:
        return Origin(f"{DEFAULT}, a quarter of a short `data.max_length`", OriginKind.DEFAULT)
    return DEFAULT


def _flat(dumped: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, object]]:
    for name, value in dumped.items():
        key = f"{group}{name}"
        if key in COMPONENTS:
            yield key, value["name"]
            yield from ((f"{key}.{name}", option) for name, option in value["options"].items())
        elif key in SECTIONS or key == "trainer":
            yield from _flat(value, f"{key}.")
        else:
            yield key, value
