"""What `dataset=`, `model=` and `head=` may name besides registered components, and the options each takes."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from ftr.config.keys import SECTION_KEYS
from ftr.config.models import Component
from ftr.config.overrides import Setting
from ftr.config.pretrained import PretrainedOptions
from ftr.config.validate import validated
from ftr.data.options import EXCEL, PACKED, SUFFIXES, file_options, hub_options
from ftr.data.schema import RowSchema
from ftr.errors import ConfigError, DataError, FtrError, ModelError, PluginError
from ftr.paths import expanded
from ftr.registry import Registry, print_once
from ftr.suggest import did_you_mean

ComponentKind = Literal["dataset", "model", "head"]
KINDS: tuple[ComponentKind, ...] = ("dataset", "model", "head")
Place = Literal["registered", "path", "hub"]
HUB = "hub:"
FILES = "files"
SPLITS = ("train", "validation", "test")
DATA_SUFFIXES = (*SUFFIXES, *PACKED, *EXCEL)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def locate(kind: ComponentKind, name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    """Return where a component comes from, and its name with paths made absolute, so that workers and later commands find it.

    A registered name wins over a file of the same name, which is printed; `./name` is always the file. Raises `UnknownComponentError`,
    or `DataError` and `ModelError` for a path that is not there.
    """
    if not registry.has(kind, name):
        if kind == "dataset":
            return _dataset(name, registry, origin)
        if kind == "model":
            return _model(name, registry, origin)
    entry = registry.find(kind, name)
    if kind != "head":
        _say_hidden(kind, name, f"the {kind} of plugin {entry.plugin.described}")
    return "registered", name


def options_model(kind: ComponentKind, place: Place, name: str, registry: Registry, schema: RowSchema | None) -> type[BaseModel] | None:
    """Return the pydantic model of a component's options; None: it takes none. Datasets by path or hub id need the head's `schema`."""
    if place == "registered":
        model = registry.options_model(kind, name)
        if model is not None and not issubclass(model, BaseModel):
            found = registry.find(kind, name)
            raise PluginError(
                f"the {kind} `{name}` of plugin {found.plugin.described}: its options are a `{model.__name__}`, not a pydantic model class."
            )
        return model
    if kind == "model":
        return PretrainedOptions
    if schema is None:
        raise ValueError("the options of a dataset by path or hub id follow from the head's schema")
    return hub_options(schema) if place == "hub" else file_options(schema)


def checked_options(
    kind: ComponentKind, name: str, model: type[BaseModel] | None, values: dict[str, object], settings: Mapping[str, Setting]
) -> BaseModel | None:
    """Return the options as their model, or None where the component takes none. Raises `ConfigError` naming the component."""
    known = option_names(model)
    for option in values:
        if option not in known and not (model is not None and model.model_config.get("extra") == "allow"):
            raise ConfigError(_unknown_option(kind, name, option, known, settings))
    return None if model is None else validated(model, values, settings, f"{kind}.")


def component_options(kind: ComponentKind, component: Component, registry: Registry, schema: RowSchema | None = None) -> BaseModel | None:
    """Return the options of a resolved component again as the model its target takes: for jobs and for loading a run."""
    place, name = locate(kind, component.name, registry, "run")
    model = options_model(kind, place, name, registry, schema)
    return checked_options(kind, name, model, component.options, {})


def head_schema(name: str, options: BaseModel | None, registry: Registry) -> RowSchema:
    """Return the columns a head reads. Raises `PluginError` when it cannot be made or has no `schema`."""
    target = registry.target("head", name)
    plugin = registry.find("head", name).plugin
    try:
        if not callable(target):
            raise TypeError("its target is not callable")
        schema: object = target(options).schema
        if not isinstance(schema, RowSchema):
            raise TypeError("its `schema` is not an `ftr.data.schema.RowSchema`")
    except FtrError:
        raise
    except Exception as error:
        raise PluginError(f"the head `{name}` of plugin {plugin.described} cannot be made: {type(error).__name__}: {error}") from error
    return schema


def option_names(model: type[BaseModel] | None) -> list[str]:
    """Return the names of a model's options as people write them."""
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _say_hidden(kind: ComponentKind, name: str, meant: str) -> None:
    """Print that a name which is taken for something else is also that of a file or folder here."""
    path = Path(name)
    if path.exists():
        what = "folder" if path.is_dir() else "file"
        print_once(f"`{kind}={name}` is {meant}, not the {what} `{_absolute(path)}`: for the {what} write `{kind}=./{name}`")


def _dataset(name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    if name.startswith(HUB):
        if not HUB_ID.fullmatch(name.removeprefix(HUB).partition(":")[0]):
            raise ConfigError(f"`dataset` is `{name}` ({origin}): write `hub:owner/name` or `hub:owner/name:config`.")
        return "hub", name
    if name == FILES:
        _say_hidden("dataset", name, "the files that `dataset.train`, `dataset.validation` and `dataset.test` name")
        return "path", name
    path = expanded(name, f"`dataset` ({origin}):")
    if path.exists():
        return "path", _absolute(path)
    if _looks_like_path(name) or path.suffix.lower() in DATA_SUFFIXES:
        raise DataError(_no_such_file(name, path, origin))
    registry.find("dataset", name)
    raise DataError(_no_such_file(name, path, origin))


def _model(name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    path = expanded(name, f"`model` ({origin}):")
    if path.is_dir():
        return "path", _absolute(path)
    if path.is_file():
        raise ModelError(f"`model` is the file `{name}` ({origin}): give the directory that holds it.")
    if HUB_ID.fullmatch(name):
        return "hub", name
    if ":" in name and not _looks_like_path(name):
        registry.find("model", name)
    raise ModelError(
        f"`model` is `{name}` ({origin}): no such directory, and not a Hub id (`owner/name`).{did_you_mean(name, registry.names('model'))}"
    )


def _absolute(path: Path) -> str:
    """Return the path from the root, without `..` unless a symbolic link gives them another meaning; links keep their names."""
    short = os.path.abspath(path)  # noqa: PTH100 (`Path.resolve` would replace a link by its target, and lose the suffix)
    return short if Path(short).exists() and Path(short).samefile(path) else str(path.absolute())


def _looks_like_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.startswith((".", "~"))


def _no_such_file(name: str, path: Path, origin: str) -> str:
    missing = f"dataset `{name}` ({origin}): there is no such file or folder"
    if not path.parent.is_dir():
        missing += f", and no folder `{path.parent}`"
        near = ""
    else:
        near = did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    hub = f" For the hub write `dataset=hub:{name}`." if HUB_ID.fullmatch(name) and name.count("/") == 1 else ""
    return f"{missing}.{near}{hub}"


def _unknown_option(kind: ComponentKind, name: str, option: str, known: list[str], settings: Mapping[str, Setting]) -> str:
    setting = settings.get(f"{kind}.{option}")
    origin = f" ({setting.origin})" if setting is not None else ""
    same = [key for key in SECTION_KEYS if key.rpartition(".")[2] == option]
    if same:
        return f"`{kind}.{option}`{origin}: {kind} `{name}` has no option `{option}`. Did you mean `{same[0]}`?"
    if not known:
        return f"`{kind}.{option}`{origin}: {kind} `{name}` takes no options. Leave it out."
    listed = ", ".join(f"`{word}`" for word in known)
    return f"`{kind}.{option}`{origin}: {kind} `{name}` has no option `{option}`.{did_you_mean(option, known)} It takes {listed}."
