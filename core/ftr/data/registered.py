"""The splits of a registered dataset, from any form that its target may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ftr.data.rows import SPLITS
from ftr.errors import FtrError, PluginError, in_one_line
from ftr.registry.registry import Registry
from ftr.registry.targets import load_dataset

if TYPE_CHECKING:
    from datasets import Dataset
    from pydantic import BaseModel


def load_registered(
    registry: Registry, name: str, options: BaseModel | None
) -> Mapping[str, Dataset]:
    """Return the splits of the dataset `name`.

    Rows that a function returns become a `Dataset`. Raises `PluginError` where the plugin's code
    fails or returns something else, and what the plugin raises for its user (`DataError`).
    """
    entry = registry.find("dataset", name)
    try:
        found = load_dataset(entry.spec, registry.target("dataset", name), options)
        splits = as_splits(found, str(entry))
    except FtrError:
        raise
    except Exception as error:
        raise PluginError(f"{entry} failed to load: {in_one_line(error)}") from error
    strange = [str(split) for split in splits if split not in SPLITS]
    if strange:
        raise PluginError(
            f"{entry} returned the split `{strange[0]}`; splits are {', '.join(SPLITS)}"
        )
    return splits


def as_splits(found: object, source: str) -> Mapping[str, Dataset]:
    """Return what a target gave as splits. Raises `PluginError` for anything else."""
    from datasets import Dataset

    if isinstance(found, Dataset):
        return {"train": found}
    by_split = found if isinstance(found, Mapping) else {"train": found}
    return {
        name: rows if isinstance(rows, Dataset) else Dataset.from_list(_rows(rows, name, source))
        for name, rows in by_split.items()
    }


def _rows(rows: object, split: str, source: str) -> list[dict[str, Any]]:
    """Return rows that all have the same columns; a cell that a row lacks is None."""
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise PluginError(
            f"{source} returned a `{type(rows).__name__}` as {split}: return rows, each a mapping "
            "of columns to cells."
        )
    listed = list(rows)
    for number, row in enumerate(listed):
        if not isinstance(row, Mapping):
            raise PluginError(
                f"{source}: row {number} of {split} is a `{type(row).__name__}`: it must be a "
                "mapping of columns to cells."
            )
    columns = dict.fromkeys(str(name) for row in listed for name in row)
    return [{name: row.get(name) for name in columns} for row in listed]
