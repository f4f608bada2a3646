"""Reading a dataset, whatever it is: files, a folder, a hub id, or a registered name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ftr.data.cells import blank_as_none
from ftr.data.columns import has_column, map_columns, rename, set_aside
from ftr.data.formats import read_source
from ftr.data.labels import label_key
from ftr.data.layout import Source, find_files
from ftr.data.options import FileOptions, column_choices, file_options, hub_options
from ftr.data.rows import Loaded, Rows, SourceFile, Table
from ftr.data.text_labels import MAPPING, named_classes
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
    """Read the files that `find_files` finds. A held-out split without its targets is set aside. Raises `DataError`."""
    loaded = Loaded()
    found = find_files(name, options, loaded.notes)
    headerless: dict[int, dict[str, int]] = {}
    like: dict[str, str] = {}
    given = column_choices(options, schema)
    for split, source in found.items():
        own = options if split == "train" or len(found) == 1 else options.model_copy(update={"labels_file": None})
        for path, table, sources in read_source(source.paths, source.classes, split, own, schema):
            width = len(table.columns)
            # A headerless train file tells the columns of the others: a small test file may hold too little to guess from.
            mapping = headerless.get(width) if not table.header else None
            if mapping is None:
                mapping = _mapped(table, schema, given, path.name, split, like)
            if mapping is None:
                loaded.notes.append(set_aside(split, source.name, len(table.records)))
                break
            if not table.header:
                headerless[width] = mapping
            elif split == "train":
                like = {column: table.columns[index] for column, index in mapping.items()}
            first = source.paths[0].name
            table.notes = [note.replace(path.name, first) for note in table.notes]  # once for all shards
            used = [*sources, *_name_classes(table, path, mapping, schema, options.encoding)]
            add_table(loaded, split, table, mapping, source.name, schema)
            loaded.sources += [one for one in used if one not in loaded.sources]
    _note_copies(found, loaded)
    return loaded


def _mapped(
    table: Table, schema: RowSchema, given: Mapping[str, str | int], name: str, split: str, like: Mapping[str, str]
) -> dict[str, int] | None:
    """Return the columns of a table, or None where a held-out split has no column for what is to be learned."""
    if split != "train" and table.header:
        targets = {column.name for column in schema.columns if column.target and column.required}
        # With the names of the training file's columns; without these a column of the right look would be taken for the label.
        present = {column: choice for column, choice in given.items() if column not in targets or has_column(table, choice)}
        mapping = map_columns(table, schema, present, f"`{name}`", labelled=not like, like=like)
        return mapping if targets <= set(mapping) else None
    return map_columns(table, schema, given, f"`{name}`")


def _name_classes(table: Table, path: Path, mapping: Mapping[str, int], schema: RowSchema, encoding: str) -> list[SourceFile]:
    """Give classes the names, and the order, of `mapping.txt` beside a file; returns the record of that file if it was used."""
    place = mapping.get(schema.label or "")
    found = None if place is None or table.columns[place] in table.classes else named_classes(path, encoding)
    if found is None or place is None:
        return []
    names = {label_key(key): name for key, name in found[0].items()}
    cells = [cell if isinstance(cell, list) else [cell] for cell in (record[place] for record in table.records)]
    values = {label_key(value) for cell in cells for value in cell if blank_as_none(value) is not None}
    if values <= set(names):
        for record, cell in zip(table.records, cells, strict=True):
            renamed = [names.get(label_key(value), value) for value in cell]
            record[place] = renamed if isinstance(record[place], list) else renamed[0]
        table.notes.append(f"{path.name}: labels named by {MAPPING}")
    elif not values <= {label_key(name) for name in names.values()}:
        table.notes.append(f"{path.name}: {MAPPING} is not used, for it does not have every label")
        return []
    table.classes[table.columns[place]] = list(names.values())
    table.classes_from = f"`{MAPPING}`"
    return [found[1]]


def _note_copies(found: Mapping[str, Source], loaded: Loaded) -> None:
    """Note files of different splits that have the same content."""
    hashes = {source.path: source.sha256 for source in loaded.sources}
    owners: dict[str, tuple[str, Path]] = {}
    for split, source in found.items():
        for path in source.paths:
            digest = hashes.get(str(path), "")
            owner, first = owners.setdefault(digest, (split, path)) if digest else (split, path)
            if owner != split:
                loaded.notes.append(f"{split}: `{path.name}` has the same content as `{first.name}`, which is {owner}")


def add_table(loaded: Loaded, split: str, table: Table, mapping: Mapping[str, int], origin: str, schema: RowSchema) -> None:
    """Add a table to `loaded` as `split`, its columns renamed, behind what the split has of other shards."""
    rows = loaded.splits.setdefault(split, Rows())
    rows.rows += rename(table, mapping)
    rows.places += table.places
    loaded.origins[split] = origin
    loaded.rejected += table.rejected
    loaded.notes += [note for note in table.notes if note not in loaded.notes]
    place = mapping.get(schema.label or "")
    names = () if place is None else table.classes.get(table.columns[place], ())
    if names and not loaded.classes:
        loaded.classes = names
        loaded.classes_from = table.classes_from


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
