"""The files of a folder on this machine, as a mirror sees them: sizes, times, and what tells whether one has changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ftr.runs.manifest import RESERVED, Entry

# A file changed less than this long ago may change again within one tick of the file system's clock, with size and time as they are.
FRESH_NS = 100_000_000
# Files that `ftr.atomic` and its like have not finished.
UNFINISHED = "*.new-*"


def scan(folder: Path, exclude: tuple[str, ...] = ()) -> dict[str, os.stat_result]:
    """Return the regular files below `folder` by their relative path with `/`, links to files included.

    `exclude` holds patterns (`fnmatch`) of relative paths; one that fits a folder leaves out all in it. Raises `OSError`
    when the folder is not there or something in it cannot be listed.
    """
    return dict(_walk(folder, "", (*exclude, UNFINISHED)))


def _walk(folder: Path, prefix: str, exclude: tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if path in RESERVED or any(fnmatchcase(path, pattern) for pattern in exclude):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(folder / entry.name, f"{path}/", exclude)
                elif entry.is_file():
                    yield path, entry.stat()
            except FileNotFoundError:
                continue  # removed since it was listed


def settled_time(status: os.stat_result) -> int | None:
    """Return the file's time of change, or None when it is too fresh to tell a later change by."""
    return status.st_mtime_ns if time.time_ns() - status.st_mtime_ns > FRESH_NS else None


def unchanged(entry: Entry, status: os.stat_result, path: Path) -> Entry | None:
    """Return the entry, its time brought up to date, when the file holds what it says; read only when the time does not tell."""
    if status.st_size != entry.size:
        return None
    if status.st_mtime_ns == entry.time:
        return entry
    when = settled_time(status)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Entry(entry.size, entry.sha256, when, entry.staged) if digest == entry.sha256 else None
