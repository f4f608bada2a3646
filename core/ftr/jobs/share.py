"""Encoded rows for nodes that share no folder: the driver sends each encoding once, each node fetches it once."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.data.encode import StoredSplit, discard, stored
from ftr.errors import RunError

if TYPE_CHECKING:
    from ftr.runs.storage import Storage

FOLDER = "encoded"


def share_splits(storage: Storage, splits: Mapping[str, StoredSplit]) -> dict[str, dict[str, Any]]:
    """Send the folders of encoded rows that `storage` does not hold yet; return where each split lies, as JSON values.

    The folders are named by their content's key, so what an earlier run sent is used again. Two drivers that send one
    key at once leave two copies, each whole.
    """
    sent: dict[Path, str] = {}
    for split in splits.values():
        folder = Path(split.rows).parent
        if folder not in sent:
            copies = storage.names(f"{FOLDER}/{folder.name}")
            sent[folder] = copies[0] if copies else f"{FOLDER}/{folder.name}/{secrets.token_hex(4)}"
            if not copies:
                storage.mirror(folder, sent[folder])
    return {name: {"shared": sent[Path(split.rows).parent], "split": asdict(split)} for name, split in splits.items()}


def local_splits(storage: Storage, places: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Return `StoredSplit`s as dicts whose files lie on this node, fetching into the cache folder `folder` what is not there.

    The processes of a node wait for each other under a file lock, so that each encoding is fetched once. On the driver's own
    node, or where its folder is shared, its files are used as they are. Raises `RunError` when the disk is full or a shared
    file is damaged.
    """
    found = {}
    for name, place in places.items():
        split = StoredSplit(**place["split"])
        own = Path(split.rows).parent
        here = own if stored(own) else folder / FOLDER / own.name
        if here != own and not stored(here):
            _fetch_once(storage, place["shared"], here)
        found[name] = asdict(replace(split, rows=str(here / Path(split.rows).name), features=str(here / Path(split.features).name)))
    return found


def _fetch_once(storage: Storage, name: str, here: Path) -> None:
    lock = here.with_name(f"{here.name}.lock")
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise RunError(
            f"cannot write `{lock}`: {error.strerror or error}. Free space, or set another folder with `data.cache=` or `FTR_CACHE`."
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not stored(here):
            discard(here)
            storage.fetch(name, here)
