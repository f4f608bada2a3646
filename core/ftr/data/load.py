"""Reading a dataset, whatever it is: files, a folder, a hub id, or a registered name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from ftr.data.columns import map_columns, rename
from ftr.data.formats import read_table
from ftr.data.layout import find_files
from ftr.data.options import FileOptions, column_choices, file_options, hub_options
from ftr.data.rows import Loaded, Rows, Table
from ftr.errors import ConfigError, FtrError, PluginError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ftr.data.schema import RowSchema
    from ftr.registry import Registry

    M = TypeVar("M", bound=BaseModel)

HUB = "hub:"


def load_rows(name: str, options: Mapping[str, object], registry: Registry, schema: RowSchema) -> Loaded:
    """Read every split of the dataset `name`; rows are not checked yet (see `prepare_rows`).

    `name` is a registered dataset, `hub:owner/name[:config]`, a file, a folder, or `files`. Raises `DataError`,
    `ConfigError` for options that do not fit, `PluginError` when a plugin's dataset fails.
    """
    if registry.has("dataset", name):
        return _registered(name, options, registry, schema)
    if name.startswith(HUB):
        from ftr.data.hub import load_hub

        return load_hub(name.removeprefix(HUB), _validated(hub_options(schema), options, name), schema)
    return load_files(name, _validated(file_options(schema), options, name), schema)


def load_files(name: str, options: FileOptions, schema: RowSchema) -> Loaded:
    """Read the files that `find_files` finds. Raises `DataError`."""
    loaded = Loaded()
    files = find_files(name, options, loaded.notes)
    headerless: dict[int, dict[str, int]] = {}
    for split, path in files.items():
        own = options if split == "train" or len(files) == 1 else options.model_copy(update={"labels_file": None})
        table, sources = read_table(path, split, own, schema)
        width = len(table.columns)
        # A headerless train file tells the columns of the others: a small test file may hold too little to guess from.
        mapping = headerless.get(width) if not table.header else None
        if mapping is None:
            mapping = map_columns(table, schema, column_choices(options, schema), f"`{path.name}`")
        if not table.header:
            headerless[width] = mapping
        add_table(loaded, split, table, mapping, path.name)
        loaded.sources += [source for source in sources if source not in loaded.sources]
    return loaded


def add_table(loaded: Loaded, split: str, table: Table, mapping: Mapping[str, int], origin: str) -> None:
    """Add a table to `loaded` as `split`, its columns renamed."""
    loaded.splits[split] = Rows(rename(table, mapping), table.places)
    loaded.origins[split] = origin
    loaded.rejected += table.rejected
    loaded.notes += table.notes


def _registered(name: str, options: Mapping[str, object], registry: Registry, schema: RowSchema) -> Loaded:
    from ftr.data.hub import from_splits

    entry = registry.find("dataset", name)
    model = registry.options_model("dataset", name)
    target = registry.target("dataset", name)
    given = None if model is None else _validated(model, options, name)
    try:
        if not callable(target):
            raise TypeError("its target is not callable")
        splits = target().load(given)
    except FtrError:
        raise
    except Exception as error:
        plugin = entry.plugin
        whose = f"plugin `{plugin.name}`, {plugin.distribution} {plugin.version}"
        raise PluginError(f"dataset `{name}` ({whose}) failed to load: {type(error).__name__}: {error}") from error
    return from_splits(splits, schema, {}, f"dataset `{name}`")


def _validated(model: type[M], options: Mapping[str, object], name: str) -> M:
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"`dataset.{key}` of dataset `{name}`: {first['msg'].replace('Input should', 'it should')}") from None
