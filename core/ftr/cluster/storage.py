"""`compute.storage`: folders mirrored to a storage that all machines reach, complete at every
moment.

Layout: `<uri>/<name>/` has the files under their own names, so a person can browse and copy a
mirror, and `.manifest.json` with the size and sha256 of each. An object store cannot rename and a
mirror has many files, so a single write, that of the manifest, switches to the new state:

1. the old manifest notes the keys about to be written, so that an interrupted mirror leaves no
   unknown file behind;
2. new files are written under their own names; a file that the old manifest names is never
   overwritten: its new content goes to `.staged/`;
3. the new manifest is written: readers now get the new state;
4. deleted files are removed, staged ones copied to their own names, the manifest written again.

Files named by hash would save step 4, but then only ftr could read the folder; few files change,
such as run records and logs. A folder has one writer at a time; a reader that the writer overtakes
reads the manifest again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ftr import atomic
from ftr.atomic import sha256
from ftr.cluster.location import (
    MANIFEST,
    NEXT,
    RESERVED,
    STAGED,
    THREADS,
    Entry,
    Location,
    Manifest,
    inside,
)
from ftr.errors import ConfigError, RequestError, RunError

# A file changed less than this long ago may change again within one tick of the file system's
# clock, with size and time as they are.
FRESH_NS = 100_000_000
# Unfinished files of `ftr.atomic` and `Location`.
UNFINISHED = "*.new-*"


def scan(folder: Path, exclude: tuple[str, ...] = ()) -> dict[str, os.stat_result]:
    """Return the regular files below `folder`, links to files included, by their relative path with
    `/`.

    `exclude` has patterns (`fnmatch`) of relative paths; one that matches a folder excludes all in
    it. Raises `OSError` when the folder does not exist or something in it cannot be listed.
    """
    return dict(_walk(folder, "", (*exclude, UNFINISHED)))


def _walk(
    folder: Path, prefix: str, exclude: tuple[str, ...]
) -> Iterator[tuple[str, os.stat_result]]:
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
    """Return the file's time of change, or None when it is too recent to detect a later change."""
    return status.st_mtime_ns if time.time_ns() - status.st_mtime_ns > FRESH_NS else None


def unchanged(
    entry: Entry | None, path: Path, status: os.stat_result | None = None
) -> Entry | None:
    """Return the entry with the file's present time when the file has its content, else None.

    The file is read only when its time differs.
    """
    try:
        status = status or path.stat()
        if entry is None or status.st_size != entry.size:
            return None
        if status.st_mtime_ns == entry.time:
            return entry
        when = settled_time(status)
        return replace(entry, time=when) if sha256(path) == entry.sha256 else None
    except OSError:
        return None


ATTEMPTS = 5  # of a reader that a writer overtakes


def _manifest(location: Location, name: str) -> Manifest:
    manifest = Manifest.read(location, name)
    if manifest is None or manifest.files is None:
        raise RequestError(f"`compute.storage={location.shown}` has no complete mirror `{name}`.")
    return manifest


def _download(
    location: Location, name: str, wanted: dict[str, Entry], local: Path, fresh: Path
) -> str | None:
    """Download the files that neither folder has; return the fault of one that differs from the
    manifest.
    """

    def download(path: str) -> str | None:
        entry = wanted[path]
        if unchanged(entry, local / path) or unchanged(entry, fresh / path):
            return None
        digest = hashlib.sha256()
        (fresh / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with (fresh / path).open("wb") as stream:
                for block in location.blocks(f"{name}/{entry.staged or path}"):
                    digest.update(block)
                    stream.write(block)
        except FileNotFoundError:
            return f"{path}` is missing in `compute.storage={location.shown}`"
        if digest.hexdigest() != entry.sha256:
            return (
                f"{path}` in `compute.storage={location.shown}` is damaged: its sha256 is not that "
                "of its manifest"
            )
        if entry.time is not None:
            os.utime(fresh / path, ns=(entry.time, entry.time))
        return None

    with ThreadPoolExecutor(THREADS) as pool, atomic.writing(local):
        return next(
            (problem for problem in list(pool.map(download, wanted)) if problem is not None), None
        )


def _install(fresh: Path, local: Path, wanted: dict[str, Entry], exclude: tuple[str, ...]) -> None:
    with atomic.writing(local):
        for path in scan(fresh).keys() - wanted.keys():
            (fresh / path).unlink()  # of an overtaken state
        # The contents must be on the disk before their names, and both before the command exits.
        atomic.to_disk(fresh)
        if not local.is_dir() or not any(local.iterdir()):
            fresh.rename(local)
            atomic.sync(local.parent)
            return
        for path in scan(local, exclude).keys() - wanted.keys():
            (local / path).unlink(missing_ok=True)
            _remove_empty((local / path).parent, local)
        for path in wanted.keys() & scan(fresh).keys():
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).replace(local / path)
        for folder in (local, *(path for path in local.rglob("*") if path.is_dir())):
            atomic.sync(folder)


def _excluded(path: str, exclude: tuple[str, ...]) -> bool:
    parts = path.split("/")
    return any(
        fnmatchcase("/".join(parts[: count + 1]), pattern)
        for count in range(len(parts))
        for pattern in exclude
    )


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@dataclass(frozen=True, slots=True)
class Storage:
    """Named folders and small files in a storage. A name may have parts: `sweep/trials/0007`."""

    uri: str
    location: Location

    @classmethod
    def of(cls, uri: str) -> Storage:
        """Open a folder, or any URI that pyarrow or fsspec knows.

        Raises `ConfigError` for any other URI.

        A relative folder is made absolute, so `storage.uri` means the same in another process.
        Credentials and the address of an S3 server come from the URI
        (`s3://bucket/folder?endpoint_override=host:port&scheme=http`) or from `AWS_*`.
        """
        location = Location.open(uri)
        return cls(str(location.local or uri), location)

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises `ConfigError` naming the cause within seconds.
        """
        self.location.check()

    def mirror(self, local: Path, name: str, *, exclude: Iterable[str] = ()) -> int:
        """Make `<uri>/<name>/` equal to the folder `local` and return the number of files sent.

        Files that match `exclude` (patterns of relative paths, also of folders) and unfinished ones
        (`*.new-*`) are left out. A file whose size and time have not changed is not read. After a
        kill at any moment `fetch` gives the complete state before or after; the next mirror cleans
        up. Raises `RunError` naming what failed.
        """
        _check_name(name)
        self._check_apart(local, name)
        try:
            found = scan(local, tuple(exclude))
        except OSError as error:
            raise RunError(
                f"cannot list `{error.filename or local}` to mirror it: {error.strerror or error}."
            ) from error
        with ThreadPoolExecutor(THREADS) as pool:
            # Finish the work of an interrupted mirror first.
            old = self._settle(name, Manifest.read(self.location, name) or Manifest(), pool.map)
            kept = old.files or {}
            entries = pool.map(
                lambda path: unchanged(kept.get(path), local / path, found[path]), found
            )
            same = dict(zip(found, entries, strict=True))
            changed = [path for path, entry in same.items() if entry is None]
            if new_keys := changed - kept.keys():
                old = replace(old, underway=old.underway | new_keys)
                old.write(self.location, name)
            entries = pool.map(lambda path: self._send(local, name, path, kept), changed)
            sent = dict(zip(changed, entries, strict=True))
            files = {
                path: entry for path in found if (entry := same[path] or sent.get(path)) is not None
            }
            new = Manifest(files, (old.underway | kept.keys()) - files.keys())
            if new != old:
                new.write(self.location, name)
            self._settle(name, new, pool.map)
        return sum(entry is not None for entry in sent.values())

    def fetch(self, name: str, local: Path, *, exclude: Iterable[str] = ()) -> None:
        """Download `name` into the folder `local`, each file checked against its sha256.

        A new folder appears as a whole or not at all. In an existing one, files are replaced one by
        one after all have arrived, and others removed, except those that match `exclude`. Raises
        `RequestError` when there is no such name, `RunError` when a file is damaged or this
        machine's disk is full.
        """
        _check_name(name)
        patterns = tuple(exclude)
        manifest = _manifest(self.location, name)
        with contextlib.ExitStack() as held:
            with atomic.writing(local):
                fresh = held.enter_context(atomic.workroom(local))
                atomic.clear_leftovers(local.parent, deep=False)
            for _ in range(ATTEMPTS):
                wanted = {
                    path: entry
                    for path, entry in (manifest.files or {}).items()
                    if not _excluded(path, patterns)
                }
                problem = _download(self.location, name, wanted, local, fresh)
                if problem is None:
                    break
                latest = _manifest(self.location, name)
                if latest == manifest:
                    raise RunError(
                        f"`{name}/{problem}. Mirror it again from a sound copy, or remove `{name}` "
                        "there."
                    )
                manifest = latest
            else:
                raise RunError(
                    f"`{name}` in `compute.storage={self.location.shown}` changes faster than ftr "
                    "can read it. Stop the run that writes it."
                )
            _install(fresh, local, wanted, patterns)

    def exists(self, name: str) -> bool:
        """Whether a complete mirror exists under `name`."""
        _check_name(name)
        manifest = Manifest.read(self.location, name)
        return manifest is not None and manifest.files is not None

    def names(self, under: str = "") -> list[str]:
        """Return the names of the folders mirrored directly under `under` (empty: the top),
        sorted.
        """
        if under:
            _check_name(under)
        folders = sorted(
            name
            for name, is_folder in self.location.entries(under).items()
            if is_folder and name not in RESERVED
        )
        names = [f"{under}/{name}" if under else name for name in folders]
        with ThreadPoolExecutor(THREADS) as pool:
            return list(itertools.compress(names, pool.map(self.exists, names)))

    def delete(self, name: str) -> None:
        """Remove `name` and all below it. A reader sees it complete or not at all."""
        _check_name(name)
        self.location.remove(f"{name}/{file}" for file in (NEXT, MANIFEST))
        self.location.remove_folder(name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a small file beside or below the mirrored folders; mirrors never touch it."""
        _check_name(name)
        self.location.write(name, content)

    def read_bytes(self, name: str) -> bytes | None:
        """Return what `write_bytes` wrote, or None."""
        _check_name(name)
        return self.location.read(name)

    def _send(self, local: Path, name: str, path: str, kept: dict[str, Entry]) -> Entry | None:
        staged = f"{STAGED}/{sha256(path)[:16]}" if _taken(path, kept) else None
        try:
            with (local / path).open("rb") as stream:
                status = os.fstat(stream.fileno())
                size, digest = self.location.upload(stream, f"{name}/{staged or path}")
        except FileNotFoundError:
            return None  # removed since it was listed
        except OSError as error:
            raise RunError(
                f"cannot read `{local / path}` to mirror it: {error.strerror or error}."
            ) from error
        # A file that grew meanwhile is sent again next time.
        return Entry(size, digest, settled_time(status) if size == status.st_size else None, staged)

    def _settle(
        self, name: str, manifest: Manifest, run: Callable[..., Iterable[object]]
    ) -> Manifest:
        """Remove what the manifest no longer names, copy staged contents to their own names, and
        return the manifest without them.
        """
        files = manifest.files or {}
        staged = {path: entry for path, entry in files.items() if entry.staged is not None}
        if not staged and not manifest.underway:
            return manifest
        list(run(lambda path: self.location.remove([f"{name}/{path}"]), manifest.underway))
        used = {folder for path in files for folder in _folders(path)}
        emptied = {folder for path in manifest.underway for folder in _folders(path)} - used
        for folder in sorted(emptied, key=len, reverse=True):
            self.location.remove_folder(f"{name}/{folder}", only_empty=True)

        def unstage(path: str) -> None:
            entry = staged[path]
            self.location.copy(f"{name}/{entry.staged}", f"{name}/{path}", entry.size)

        list(run(unstage, staged))
        settled = Manifest(
            manifest.files and {path: replace(entry, staged=None) for path, entry in files.items()}
        )
        settled.write(self.location, name)
        if staged:
            # The whole folder: contents that an unfinished mirror left there go as well.
            self.location.remove_folder(f"{name}/{STAGED}")
        return settled

    def _check_apart(self, local: Path, name: str) -> None:
        if self.location.local is None:
            return
        here, there = local.resolve(), (self.location.local / name).resolve()
        if here == there or here in there.parents or there in here.parents:
            raise ConfigError(
                f"`compute.storage={self.location.shown}` cannot keep `{local}`: one is "
                "inside the other. Give a folder outside of `output`."
            )


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _taken(path: str, kept: dict[str, Entry]) -> bool:
    """Whether the manifest needs the content under the file's own name, has a file where a folder
    is needed, or the reverse.
    """
    return (
        path in kept
        or any(folder in kept for folder in _folders(path))
        or any(other.startswith(f"{path}/") for other in kept)
    )


def _check_name(name: str) -> None:
    if not inside(name) or not RESERVED.isdisjoint(name.split("/")):
        raise RequestError(
            f"`{name}` cannot be a name in `compute.storage`: use parts joined by `/`, without "
            "`..`."
        )


def checked_storage(uri: str | None) -> str | None:
    """Return the full address of a storage that works (see `Storage.check`)."""
    if uri is None:
        return None
    storage = Storage.of(uri)
    storage.check()
    return storage.uri
