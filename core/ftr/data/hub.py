"""Datasets of the `datasets` library: `hub:owner/name`, and what registered datasets return."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftr.data.arrow_tables import class_cells
from ftr.data.columns import map_columns
from ftr.data.options import HubOptions, column_choices
from ftr.data.rows import SPLITS, Loaded, SourceFile, Table
from ftr.data.squad import unnested
from ftr.errors import DataError, PluginError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ftr.data.schema import RowSchema

_ALIASES = {"train": ("train",), "validation": ("validation", "dev", "val", "valid"), "test": ("test",)}


def fetch(name: str, config: str | None = None, revision: str | None = None) -> DatasetDict:
    """Return a dataset of the hub, or of the local hub cache; remote code never runs. Raises `DataError` with the way out."""
    from datasets import DatasetDict, load_dataset

    try:
        splits = load_dataset(name, config, revision=revision)
    except Exception as error:
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise DataError(
            f"dataset `hub:{name}` cannot be had from the hub ({cause}). Check the name and the network; without a network "
            "give a file instead: `dataset=FILE.csv` (or .json, .jsonl, .parquet)"
        ) from error
    if not isinstance(splits, DatasetDict):
        raise DataError(f"dataset `hub:{name}` has no splits")
    return splits


def load_hub(name: str, options: HubOptions, schema: RowSchema) -> Loaded:
    """Read `owner/name` or `owner/name:config` from the hub. Raises `DataError`."""
    bare, _, config = name.partition(":")
    splits = fetch(bare, options.config or config or None, options.revision)
    chosen = {split: getattr(options, split) for split in SPLITS}
    found: DatasetDict = type(splits)()
    for split in SPLITS:
        names = [chosen[split]] if chosen[split] else [alias for alias in _ALIASES[split] if alias in splits]
        if chosen[split] and chosen[split] not in splits and chosen[split].lower() != "none":
            has = ", ".join(f"`{key}`" for key in splits)
            raise DataError(f"`dataset.{split}={chosen[split]}`: dataset `hub:{bare}` has no such split. It has {has}")
        if names and names[0] in splits:
            found[split] = splits[names[0]]
    loaded = from_splits(found, schema, column_choices(options, schema), f"`hub:{name}`")
    used = {str(dataset.split) for dataset in found.values()}
    unused = [str(key) for key in splits if str(key) not in used]
    if unused:
        loaded.notes.append(f"hub:{name}: splits not used: {', '.join(unused)}")
    return loaded


def from_splits(splits: Mapping[str, Dataset], schema: RowSchema, given: Mapping[str, str | int], source: str) -> Loaded:
    """Return a `DatasetDict` as rows, the classes of `ClassLabel` columns by their names.

    Raises `PluginError` for what is no `DatasetDict`, `DataError` for missing columns.
    """
    from ftr.data.load import add_table

    loaded = Loaded()
    if not isinstance(splits, Mapping):
        raise PluginError(f"{source} returned a `{type(splits).__name__}`, not a `datasets.DatasetDict` of splits")
    strange = [str(name) for name in splits if name not in SPLITS]
    if strange:
        raise PluginError(f"{source} returned the split `{strange[0]}`; splits are {', '.join(SPLITS)}")
    for split in SPLITS:
        if split in splits:
            table = unnested(_table(splits[split], split), split)
            mapping = map_columns(table, schema, given, source)
            add_table(loaded, split, table, mapping, f"{source} {split}".replace("`", ""), schema)
            loaded.sources.append(_fingerprint(table, f"{source} {split}".replace("`", "")))
    return loaded


def _table(dataset: Dataset, split: str) -> Table:
    from datasets import ClassLabel

    columns = dict(dataset.with_format(None)[:])
    classes: dict[str, Sequence[str]] = {}
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)  # of a list: with a class for every token
        if isinstance(inner, ClassLabel):
            classes[name] = inner.names
            columns[name] = class_cells(columns[name], inner.names)
    records = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return Table(list(columns), records, [f"{split}[{index}]" for index in range(len(records))], classes=classes)


def _fingerprint(table: Table, name: str) -> SourceFile:
    content = "\n".join(json.dumps(record, ensure_ascii=False, default=str) for record in [table.columns, *table.records]).encode(
        errors="backslashreplace"
    )
    return SourceFile(name, hashlib.sha256(content).hexdigest(), len(content))
