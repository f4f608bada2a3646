"""Read a dataset: files, a folder, a Hub id or a registered name; or rows to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftr.config.components import (
    column_choices,
    file_options,
    hub_options,
)
from ftr.config.parse import validated
from ftr.config.schema import HUB, FileOptions, HubOptions
from ftr.data.columns import has_column, map_columns, rename, set_aside
from ftr.data.downloads import local_dataset, urls_named, with_urls
from ftr.data.labels import label_key
from ftr.data.layout import find_files
from ftr.data.multilabel import LabelSets, check_tags
from ftr.data.pieces import FileTables, source_tables
from ftr.data.registered import load_registered
from ftr.data.rows import (
    PIECE,
    SPLITS,
    Loaded,
    Rows,
    SourceFile,
    Table,
    blank_as_none,
)
from ftr.data.shards import Source
from ftr.data.squad import unnested
from ftr.data.tables import name_classes
from ftr.data.text_files import MAPPING, named_classes
from ftr.errors import DataError
from ftr.registry.schema import RowSchema

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ftr.registry.registry import Registry


def load_rows(
    name: str,
    options: Mapping[str, object],
    registry: Registry,
    schema: RowSchema,
    classes: Sequence[str] = (),
    cache: Path | None = None,
) -> Loaded:
    """Read every split of the dataset `name`; rows are not checked yet (see `prepare_rows`).

    `name` is a registered dataset, `hub:owner/name[:config]`, a file, a folder, a URL, or `files`;
    `classes` are those of the trained model that is to be scored on it. Files behind URLs are
    fetched into `cache`, by default that of the user. Raises
    `DataError`, `ConfigError` for wrong options, `PluginError` when a plugin's dataset fails.
    """
    if registry.has("dataset", name):
        return _registered(name, options, registry, schema, classes)
    if name.startswith(HUB):
        hub = validated(hub_options(schema), dict(options), {}, "dataset.")
        return load_hub(name.removeprefix(HUB), hub, schema, classes)
    with urls_named():
        name, given = local_dataset(name, options, cache)
        files = validated(file_options(schema), given, {}, "dataset.")
        return with_urls(load_files(name, files, schema, classes))


def load_files(
    name: str, options: FileOptions, schema: RowSchema, classes: Sequence[str] = ()
) -> Loaded:
    """Read the files of a dataset. A held-out split without targets is set aside."""
    loaded = Loaded()
    found = find_files(name, options, loaded.notes)
    reader = _FileReader(loaded, options, schema, classes)
    for split, source in found.items():
        reader.read(split, source, alone=len(found) == 1)
    _note_copies(found, loaded)
    return loaded


class _FileReader:
    """Adds the files of one split after the other to what is loaded, training files first, whose
    columns tell those of the others.
    """

    def __init__(
        self, loaded: Loaded, options: FileOptions, schema: RowSchema, classes: Sequence[str]
    ) -> None:
        self.loaded, self.options, self.schema, self.classes = loaded, options, schema, classes
        self.given = column_choices(options, schema)
        self.sets = LabelSets(schema, options, classes)
        self.headerless: dict[int, dict[str, int]] = {}
        self.like: dict[str, str] = {}

    def read(self, split: str, source: Source, *, alone: bool) -> None:
        """Add the rows of a split, the only one if `alone`."""
        options = self.options
        if split != "train" and not alone:
            options = options.model_copy(update={"labels_file": None})
        # What all rows tell of the labels cannot be told piece by piece.
        named = any(path.with_name(MAPPING).is_file() for path in source.paths)
        whole = self.sets.column is not None or named
        notes = self.loaded.notes
        for file in source_tables(source, split, options, self.schema, whole=whole, notes=notes):
            if not self._add(split, source, file):
                break

    def _add(self, split: str, source: Source, file: FileTables) -> bool:
        """Add the rows of a file; returns False for a held-out one without labels."""
        mapping: dict[str, int] | None = None
        used: list[SourceFile] = []
        first, unlabelled = True, 0
        for table in file.tables:
            if first:
                mapping = self._begin(table, split, file)
            first = False
            if mapping is None:
                unlabelled += len(table.records)
                continue
            self.sets.divide(table, mapping, f"`{file.path.name}`")
            name = source.paths[0].name  # shards have one note
            table.notes = [note.replace(file.path.name, name) for note in table.notes]
            if file.whole:
                used = _apply_names(table, file.path, mapping, self.schema, self.options.encoding)
            if split == "train" and not self.classes:
                check_tags(table, mapping, self.schema, f"`{file.path.name}`")
            add_table(self.loaded, split, table, mapping, source.name, self.schema)
        if mapping is None:
            self.loaded.notes.append(set_aside(split, source.name, unlabelled))
            return False
        known = self.loaded.sources
        known += [one for one in (*file.sources, *used) if one not in known]
        return True

    def _begin(self, table: Table, split: str, file: FileTables) -> dict[str, int] | None:
        """Return the columns of a file, of which this is the first table; None: held out, without
        labels.
        """
        name = file.path.name
        labelled = self.sets.join(table, split, f"`{name}`")
        width = len(table.columns)
        # A headerless train file tells the columns of the others: a small test file may hold
        # too little to guess from.
        mapping = self.headerless.get(width) if not table.header else None
        if mapping is None and labelled:
            mapping = _mapped(table, self.schema, self.given, name, split, self.like)
        if mapping is None or not labelled:
            return None
        if not table.header:
            self.headerless[width] = mapping
        elif split == "train":
            self.like = {column: table.columns[index] for column, index in mapping.items()}
        if split == "train":
            self.sets.require(table, mapping, f"`{name}`")
        return mapping


def _mapped(
    table: Table,
    schema: RowSchema,
    given: Mapping[str, str | int],
    name: str,
    split: str,
    like: Mapping[str, str],
) -> dict[str, int] | None:
    """Return the columns of a table, or None for a held-out split without targets."""
    if split != "train" and table.header:
        targets = {
            column.name
            for column in schema.columns
            if column.target and (column.required or column.name in like)
        }
        # With the names of the training file's columns; without these a column of the right look
        # would be taken for the label.
        present = {
            column: choice
            for column, choice in given.items()
            if column not in targets or has_column(table, choice)
        }
        mapping = map_columns(table, schema, present, f"`{name}`", labelled=not like, like=like)
        return mapping if targets <= set(mapping) else None
    return map_columns(table, schema, given, f"`{name}`")


def _apply_names(
    table: Table, path: Path, mapping: Mapping[str, int], schema: RowSchema, encoding: str
) -> list[SourceFile]:
    """Give classes the names and order of `mapping.txt`, if it fits; return its record."""
    index = mapping.get(schema.label or "")
    if index is None or table.columns[index] in table.classes:
        return []
    found = named_classes(path, encoding)
    if found is None:
        return []
    names = {label_key(key): name for key, name in found[0].items()}
    cells = [
        cell if isinstance(cell, list) else [cell]
        for cell in (record[index] for record in table.records)
    ]
    values = {
        label_key(value) for cell in cells for value in cell if blank_as_none(value) is not None
    }
    if values <= set(names):
        for record, cell in zip(table.records, cells, strict=True):
            renamed = [names.get(label_key(value), value) for value in cell]
            record[index] = renamed if isinstance(record[index], list) else renamed[0]
        table.notes.append(f"{path.name}: labels named by {MAPPING}")
    elif not values <= {label_key(name) for name in names.values()}:
        table.notes.append(f"{path.name}: {MAPPING} is not used, for it does not have every label")
        return []
    table.classes[table.columns[index]] = list(names.values())
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
                loaded.notes.append(
                    f"{split}: `{path.name}` has the same content as `{first.name}`, which is "
                    f"{owner}"
                )


def add_table(
    loaded: Loaded,
    split: str,
    table: Table,
    mapping: Mapping[str, int],
    origin: str,
    schema: RowSchema,
) -> None:
    """Add a table to `loaded` as `split`, its columns renamed, behind the shards before it."""
    rows = loaded.splits.setdefault(split, Rows())
    rows.extend(rename(table, mapping), table.places)
    loaded.origins[split] = origin
    if split == "train":
        loaded.columns = {name: table.columns[index] for name, index in mapping.items()}
    loaded.rejected += table.rejected
    loaded.notes += [note for note in table.notes if note not in loaded.notes]
    index = mapping.get(schema.label or "")
    names = () if index is None else table.classes.get(table.columns[index], ())
    if names and not loaded.classes:
        loaded.classes = names
        loaded.classes_from = table.classes_from


def _registered(
    name: str,
    options: Mapping[str, object],
    registry: Registry,
    schema: RowSchema,
    classes: Sequence[str],
) -> Loaded:
    model = registry.options_model("dataset", name)
    given = None if model is None else validated(model, dict(options), {}, "dataset.")
    splits = load_registered(registry, name, given)
    return from_splits(splits, schema, {}, f"dataset `{name}`", LabelSets(schema, None, classes))


_ALIASES = {
    "train": ("train",),
    "validation": ("validation", "dev", "val", "valid"),
    "test": ("test",),
}


def fetch(name: str, config: str | None = None, revision: str | None = None) -> DatasetDict:
    """Return a dataset of the Hub, or of the local Hub cache; remote code never runs.

    Raises `DataError` with the way out.
    """
    from datasets import DatasetDict, load_dataset

    try:
        splits = load_dataset(name, config, revision=revision)
    except Exception as error:
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise DataError(
            f"dataset `hub:{name}` cannot be downloaded from the Hub ({cause}). Check the name and "
            "the network; without a network give a file instead: `dataset=FILE.csv` (or .json, "
            ".jsonl, .parquet)"
        ) from error
    if not isinstance(splits, DatasetDict):
        raise DataError(f"dataset `hub:{name}` has no splits")
    return splits


def load_hub(
    name: str, options: HubOptions, schema: RowSchema, classes: Sequence[str] = ()
) -> Loaded:
    """Read `owner/name` or `owner/name:config` from the hub. Raises `DataError`."""
    bare, _, config = name.partition(":")
    splits = fetch(bare, options.config or config or None, options.revision)
    found: DatasetDict = type(splits)()
    for split in SPLITS:
        choice = getattr(options, split)
        if choice and choice not in splits and choice.lower() != "none":
            has = ", ".join(f"`{key}`" for key in splits)
            raise DataError(
                f"`dataset.{split}={choice}`: dataset `hub:{bare}` has no such split. It has {has}"
            )
        own = choice or next((alias for alias in _ALIASES[split] if alias in splits), "")
        if own in splits:
            found[split] = splits[own]
    given = column_choices(options, schema)
    sets = LabelSets(schema, options, classes)
    loaded = from_splits(found, schema, given, f"`hub:{name}`", sets)
    used = {str(dataset.split) for dataset in found.values()}
    unused = [str(key) for key in splits if str(key) not in used]
    if unused:
        loaded.notes.append(f"hub:{name}: splits not used: {', '.join(unused)}")
    return loaded


def from_splits(
    splits: Mapping[str, Dataset],
    schema: RowSchema,
    given: Mapping[str, str | int],
    source: str,
    sets: LabelSets | None = None,
) -> Loaded:
    """Return the rows of a `DatasetDict`, classes of `ClassLabel` columns by their names.

    Raises `DataError` for missing columns.
    """
    loaded, sets = Loaded(), sets or LabelSets(schema)
    for split in SPLITS:
        if split not in splits:
            continue
        dataset = splits[split]
        origin = f"{source} {split}".replace("`", "")
        fingerprint = _Fingerprint()
        whole = sets.column is not None or {"qas", "paragraphs", "data"} & set(dataset.column_names)
        mapping: dict[str, int] | None = None
        for table in _tables(dataset, split, len(dataset) if whole else PIECE):
            fingerprint.add(table)
            if mapping is None:
                joined = sets.join(table, split, source)
                if not joined:
                    loaded.notes.append(set_aside(split, origin, len(table.records)))
                    break
                mapping = map_columns(table, schema, given, source)
            sets.divide(table, mapping, source)
            if split == "train":
                sets.require(table, mapping, source)
                check_tags(table, mapping, schema, source)
            add_table(loaded, split, table, mapping, origin, schema)
        if mapping is not None:
            loaded.sources.append(fingerprint.source(origin))
    return loaded


def _tables(dataset: Dataset, split: str, size: int) -> Iterator[Table]:
    """Yield the rows of a dataset, `size` at a time; one table at least."""
    plain = dataset.with_format(None)
    for start in range(0, max(len(dataset), 1), max(size, 1)):
        columns = dict(plain[start : start + size])
        records = [list(cells) for cells in zip(*columns.values(), strict=True)]
        places = [f"{split}[{start + index}]" for index in range(len(records))]
        table = Table(list(columns), records, places)
        name_classes(table, dataset.features.to_dict())
        yield unnested(table, split)


class _Fingerprint:
    """The hash and the size of the rows of a dataset, as JSON lines."""

    def __init__(self) -> None:
        self._digest, self._size = hashlib.sha256(), 0

    def add(self, table: Table) -> None:
        """Add the names of the columns, if it is the first table, and the rows."""
        for record in table.records if self._size else [table.columns, *table.records]:
            line = json.dumps(record, ensure_ascii=False, default=str)
            content = ("\n" * bool(self._size) + line).encode(errors="backslashreplace")
            self._digest.update(content)
            self._size += len(content)

    def source(self, name: str) -> SourceFile:
        """Return the record of what was added."""
        return SourceFile(name, self._digest.hexdigest(), self._size)
