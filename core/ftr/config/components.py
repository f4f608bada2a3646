"""What `dataset=`, `model=` and `head=` may name, and the options that each accepts."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from ftr.config.keys import SECTION_KEYS
from ftr.config.parse import ComponentKind, Setting, validated
from ftr.config.schema import (
    DATA_SUFFIXES,
    HUB,
    Component,
    FileOptions,
    HubOptions,
    PretrainedOptions,
)
from ftr.errors import ConfigError, DataError, FtrError, ModelError, PluginError, did_you_mean
from ftr.paths import expanded, is_pattern, is_url, looks_like_path
from ftr.registry.registry import Registry, print_once
from ftr.registry.schema import RowSchema
from ftr.registry.specs import Kind
from ftr.registry.targets import make
from ftr.terminal import MASK, unmasked

SPLITS = ("train", "validation", "test")
Source = Literal["registered", "path", "hub"]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = "files"
"""The dataset whose files are named by its options only."""


_OneOrSeveral = str | int | Annotated[list[str | int], Field(min_length=1)]


@cache
def file_options(schema: RowSchema) -> type[FileOptions]:
    """Return the options of files read for `schema`: `FileOptions` and one option per column."""
    return create_model("FileOptions", __base__=FileOptions, **_columns(schema))


@cache
def hub_options(schema: RowSchema) -> type[HubOptions]:
    """Return the options of a Hub dataset for `schema`: `HubOptions` and one option per column."""
    return create_model("HubOptions", __base__=HubOptions, **_columns(schema))


def column_choices(options: BaseModel, schema: RowSchema) -> dict[str, str | int]:
    """Return the columns named by options: canonical name -> the file's name or 0-based number."""
    given = {name: getattr(options, name, None) for name in ("id", *_columns(schema))}
    return {name: choice for name, choice in given.items() if isinstance(choice, (str, int))}


def flag_choices(options: BaseModel, schema: RowSchema) -> list[str | int]:
    """Return the columns of 0/1 that an option names, each a label."""
    given = (getattr(options, name, None) for name in _columns(schema))
    return next((choice for choice in given if isinstance(choice, list)), [])


def _columns(schema: RowSchema) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    tokens = any(column.type == "tokens" for column in schema.columns)
    for column in schema.columns:
        held = column.name.replace("_", " ")
        text = f"Column that holds the {held}, by name or 0-based number."
        fields[column.name] = (str | int | None, Field(None, description=text))
        if column.type == "answers":
            text = "Column that holds the offset of the answer in characters."
            fields["answer_start"] = (str | int | None, Field(None, description=text))
        if column.type == "labels" and not tokens:
            text = f"{text[:-1]}; or a list of columns of 0/1, each a label."
            fields[column.name] = (_OneOrSeveral | None, Field(None, description=text))
    return fields


def locate(kind: ComponentKind, name: str, registry: Registry, origin: str) -> tuple[Source, str]:
    """Return where a component comes from, and its name; paths become absolute, so that workers
    and later commands find them.

    A registered name wins over a file of the same name, and a message says so; `./name` is always
    the file. Raises `UnknownComponentError`, or `DataError` and `ModelError` for a missing path.
    """
    if not registry.has(kind, name):
        if kind == "dataset":
            return _dataset(name, registry, origin)
        if kind == "model":
            return _model(name, registry, origin)
    entry = registry.find(kind, name)
    if kind != "head":
        _note_hidden(kind, name, f"the {kind} of plugin {entry.plugin.described}")
    return "registered", name


def options_model(
    kind: ComponentKind, source: Source, name: str, registry: Registry, schema: RowSchema | None
) -> type[BaseModel] | None:
    """Return the pydantic model of a component's options; None: it takes none.

    Datasets by path or Hub id need the head's `schema`.
    """
    if source == "registered":
        model = registry.options_model(kind, name)
        if model is not None and not issubclass(model, BaseModel):
            found = registry.find(kind, name)
            raise PluginError(
                f"the {kind} `{name}` of plugin {found.plugin.described}: its options are a "
                f"`{model.__name__}`, not a pydantic model class."
            )
        return model
    if kind == "model":
        return PretrainedOptions
    if schema is None:
        raise ValueError("a dataset by path or Hub id needs the head's schema for its options")
    return hub_options(schema) if source == "hub" else file_options(schema)


def checked_options(
    kind: ComponentKind,
    name: str,
    model: type[BaseModel] | None,
    values: dict[str, object],
    settings: Mapping[str, Setting],
) -> BaseModel | None:
    """Return the options as their model, or None where the component takes none.

    Raises `ConfigError` naming the component.
    """
    if model is None or model.model_config.get("extra") != "allow":
        check_options(kind, name, option_names(model), values, settings)
    return None if model is None else validated(model, values, settings, f"{kind}.")


def check_options(
    kind: ComponentKind,
    name: str,
    known: list[str],
    options: Iterable[str],
    settings: Mapping[str, Setting],
) -> None:
    """Raise `ConfigError` for an option that is not `known`."""
    for option in options:
        if option not in known:
            key = f"{kind}.{option}"
            origin = f" ({settings[key].origin})" if key in settings else ""
            problem = _unknown_option(f"{kind} `{name}`", option, known)
            raise ConfigError(f"`{key}`{origin}: {problem}", keys=[key, kind])


def component_options(
    kind: ComponentKind, component: Component, registry: Registry, schema: RowSchema | None = None
) -> BaseModel | None:
    """Return the options of a resolved component as the model that its target takes."""
    source, name = locate(kind, component.name, registry, "run")
    model = options_model(kind, source, name, registry, schema)
    return checked_options(kind, name, model, component.options, {})


def head_schema(name: str, options: BaseModel | None, registry: Registry) -> RowSchema:
    """Return the columns a head reads.

    Raises `PluginError` when it cannot be made or has no `schema`.
    """
    plugin = registry.find("head", name).plugin
    try:
        schema: object = make(registry, "head", name, options).schema
        if not isinstance(schema, RowSchema):
            raise TypeError("its `schema` is not an `ftr.registry.schema.RowSchema`")
    except FtrError:
        raise
    except Exception as error:
        raise PluginError(
            f"the head `{name}` of plugin {plugin.described} cannot be made: "
            f"{type(error).__name__}: {error}"
        ) from error
    return schema


def option_names(model: type[BaseModel] | None) -> list[str]:
    """Return the names of a model's options as people write them."""
    fields = {} if model is None else model.model_fields
    return [field.alias or name for name, field in fields.items()]


def _note_hidden(kind: ComponentKind, name: str, meant: str) -> None:
    """Print that a name that means something else is also that of a file or folder here."""
    path = Path(name)
    if path.exists():
        what = "folder" if path.is_dir() else "file"
        print_once(
            f"`{kind}={name}` is {meant}, not the {what} `{_absolute(path)}`: for the {what} write "
            f"`{kind}=./{name}`"
        )


def _dataset(name: str, registry: Registry, origin: str) -> tuple[Source, str]:
    if name.startswith(HUB):
        if not HUB_ID.fullmatch(name.removeprefix(HUB).partition(":")[0]):
            raise ConfigError(
                f"`dataset` is `{name}` ({origin}): write `hub:owner/name` or "
                "`hub:owner/name:config`."
            )
        return "hub", name
    if name == FILES:
        _note_hidden(
            "dataset",
            name,
            "the files that `dataset.train`, `dataset.validation` and `dataset.test` name",
        )
        return "path", name
    if is_url(name):
        return "path", name
    path = expanded(name, f"`dataset` ({origin}):")
    if path.exists():
        return "path", _absolute(path)
    if is_pattern(name) and not name.startswith("["):
        return "path", str(path.absolute())
    if not looks_like_path(name) and path.suffix.lower() not in DATA_SUFFIXES:
        registry.find("dataset", name)  # raises, with the nearest names
    raise DataError(_no_such_file(name, path, origin))


def _model(name: str, registry: Registry, origin: str) -> tuple[Source, str]:
    path = expanded(name, f"`model` ({origin}):")
    if path.is_dir():
        return "path", _absolute(path)
    if path.is_file():
        raise ModelError(
            f"`model` is the file `{name}` ({origin}): give the directory that holds it."
        )
    if HUB_ID.fullmatch(name):
        return "hub", name
    if ":" in name and not looks_like_path(name):
        registry.find("model", name)  # raises, with the nearest names
    raise ModelError(
        f"`model` is `{name}` ({origin}): no such directory, and not a Hub id "
        f"(`owner/name`).{did_you_mean(name, registry.names('model'))}"
    )


def _absolute(path: Path) -> str:
    """Return the path from the root, without `..` unless a symbolic link gives them another
    meaning; links keep their names.
    """
    short = os.path.abspath(path)  # noqa: PTH100 (`Path.resolve` would replace a link by its target, and lose the suffix)
    return short if Path(short).exists() and Path(short).samefile(path) else str(path.absolute())


def _no_such_file(name: str, path: Path, origin: str) -> str:
    missing = f"dataset `{name}` ({origin}): there is no such file or folder"
    hub = (
        f" For the Hub write `dataset=hub:{name}`."
        if HUB_ID.fullmatch(name) and name.count("/") == 1
        else ""
    )
    if not path.parent.is_dir():
        return f"{missing}, and no folder `{path.parent}`.{hub}"
    files = sorted(entry.name for entry in path.parent.iterdir())
    return f"{missing}.{did_you_mean(path.name, files)}{hub}"


def _unknown_option(component: str, option: str, known: list[str]) -> str:
    same = next((key for key in SECTION_KEYS if key.rpartition(".")[2] == option), None)
    if same is not None:
        return f"{component} has no option `{option}`. Did you mean `{same}`?"
    if not known:
        return f"{component} takes no options. Leave it out."
    listed = ", ".join(f"`{word}`" for word in known)
    return f"{component} has no option `{option}`.{did_you_mean(option, known)} It takes {listed}."


def create_component(registry: Registry, kind: Kind, component: Component) -> Any:
    """Create a head or a model with its options from the registry.

    Raises `UnknownComponentError`, `PluginError`, and `ConfigError` for a secret that is not known.
    """
    values, lost = unmasked({kind: component.options})
    if lost:
        raise ConfigError(
            f"`{lost[0]}` was stored as `{MASK}`, as all secrets are: the {kind} "
            f"`{component.name}` cannot be made without it.",
            keys=lost,
        )
    model = registry.options_model(kind, component.name)
    options = None if model is None else validated(model, values[kind], {}, f"{kind}.")
    return make(registry, kind, component.name, options)
