"""`compute.storage`: folders kept as mirrors in a place that all machines reach, whole at every moment.

Layout: `<uri>/<name>/` holds the files under their own names, so a person can browse a mirror and copy it by hand, and
`.manifest.json` with the size and sha256 of each. A store has no rename and a mirror has many files, so what makes a new
state count is the one write of the manifest:

1. new keys about to be written are noted in the old manifest, so that a mirror cut short leaves nothing unknown behind;
2. new files go to their own names, which the old manifest does not name; a file it names is never overwritten: its new
   content goes to `.staged/`;
3. the new manifest is written: from here on readers get the new state;
4. vanished files are removed, staged ones copied to their own names, and the manifest written anew.

Contents named by hash alone would save step 4 (a copy within the store for each changed file, and two small writes), but
nobody could read such a folder without ftr. The price falls on the few files that change, as run records and logs do.
A folder has one writer at a time; a reader that is overtaken by it reads the manifest again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ftr.errors import ConfigError, RequestError, RunError
from ftr.runs.fetch import fetch
from ftr.runs.manifest import NAME, NEXT, RESERVED, STAGED, Entry, Manifest, inside
from ftr.runs.place import THREADS, Place
from ftr.runs.scan import scan, settled_time, unchanged


@dataclass(frozen=True, slots=True)
class Storage:
    """Named folders and small files in a place. A name may have parts: `sweep/trials/0007`."""

    uri: str
    place: Place

    @classmethod
    def of(cls, uri: str) -> Storage:
        """Reach a folder, or any URI that pyarrow or fsspec knows. Raises `ConfigError` when the URI is none.

        A relative folder is made absolute, so `storage.uri` means the same in another process. Credentials and the address of
        an S3 server come from the URI (`s3://bucket/folder?endpoint_override=host:port&scheme=http`) or from `AWS_*`.
        """
        place = Place.open(uri)
        return cls(str(place.local or uri), place)

    def check(self) -> None:
        """Write, read and remove a small file. Raises `ConfigError` naming the cause within seconds."""
        self.place.check()

    def mirror(self, local: Path, name: str, *, exclude: Iterable[str] = ()) -> int:
        """Make `<uri>/<name>/` equal to the folder `local` and return the number of files sent.

        Files that `exclude` (patterns of relative paths; a folder's leaves out all in it) fits are not kept, nor are unfinished
        ones (`*.new-*`). A file whose size and time are those of the last mirror is not read. After a kill at any moment
        `fetch` gives the state before or after, whole; the next mirror clears up. Raises `RunError` naming what failed.
        """
        _check_name(name)
        self._check_apart(local, name)
        try:
            found = scan(local, tuple(exclude))
        except OSError as error:
            raise RunError(f"cannot list `{error.filename or local}` to mirror it: {error.strerror or error}.") from error
        with ThreadPoolExecutor(THREADS) as pool:
            # What a mirror that was cut short left to do comes first.
            old = self._settle(name, Manifest.read(self.place, name) or Manifest(), pool.map)
            kept = old.files or {}
            same = dict(zip(found, pool.map(lambda path: _unchanged(kept.get(path), found[path], local / path), found), strict=True))
            changed = [path for path, entry in same.items() if entry is None]
            if fresh := changed - kept.keys():
                old = replace(old, underway=old.underway | fresh)
                old.write(self.place, name)
            sent = dict(zip(changed, pool.map(lambda path: self._send(local, name, path, kept), changed), strict=True))
            files = {path: entry for path in found if (entry := same[path] or sent.get(path)) is not None}
            new = Manifest(files, (old.underway | kept.keys()) - files.keys())
            if new != old:
                new.write(self.place, name)
            self._settle(name, new, pool.map)
        return sum(entry is not None for entry in sent.values())

    def fetch(self, name: str, local: Path, *, exclude: Iterable[str] = ()) -> None:
        """Bring `name` back into the folder `local`, each file checked against its sha256.

        A new folder appears whole or not at all. In one that is there, files are replaced one by one after all have arrived,
        and others removed, save those that `exclude` fits. Raises `RequestError` when there is no such name, `RunError` when
        a file is damaged or this machine's disk is full.
        """
        _check_name(name)
        fetch(self.place, name, local, tuple(exclude))

    def exists(self, name: str) -> bool:
        """Whether a folder was mirrored whole under `name`."""
        _check_name(name)
        manifest = Manifest.read(self.place, name)
        return manifest is not None and manifest.files is not None

    def names(self, under: str = "") -> list[str]:
        """Return the names of the folders mirrored right under `under` (the top, when empty), sorted."""
        if under:
            _check_name(under)
        folders = sorted(name for name, is_folder in self.place.entries(under).items() if is_folder and name not in RESERVED)
        names = [f"{under}/{name}" if under else name for name in folders]
        with ThreadPoolExecutor(THREADS) as pool:
            return [name for name, there in zip(names, pool.map(self.exists, names), strict=True) if there]

    def delete(self, name: str) -> None:
        """Remove `name` and all below it. A reader sees it whole or not at all."""
        _check_name(name)
        self.place.remove(f"{name}/{file}" for file in (NEXT, NAME))
        self.place.remove_folder(name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a small file of its own, beside or below the mirrored folders; mirrors never touch it."""
        _check_name(name)
        self.place.write(name, content)

    def read_bytes(self, name: str) -> bytes | None:
        """Return what `write_bytes` wrote, or None when there is none."""
        _check_name(name)
        return self.place.read(name)

    def _send(self, local: Path, name: str, path: str, kept: dict[str, Entry]) -> Entry | None:
        staged = _staged_key(path) if _taken(path, kept) else None
        try:
            with (local / path).open("rb") as stream:
                status = os.fstat(stream.fileno())
                size, sha256 = self.place.upload(stream, _key(name, path, staged))
        except FileNotFoundError:
            return None  # removed since it was listed
        except OSError as error:
            raise RunError(f"cannot read `{local / path}` to mirror it: {error.strerror or error}.") from error
        # A file that grew meanwhile is sent again next time.
        return Entry(size, sha256, settled_time(status) if size == status.st_size else None, staged)

    def _settle(self, name: str, manifest: Manifest, run: Callable[..., Iterable[object]]) -> Manifest:
        """Remove what the manifest no longer names, bring staged contents to their own names, and return the manifest without them."""
        files = manifest.files or {}
        staged = {path: entry for path, entry in files.items() if entry.staged is not None}
        if not staged and not manifest.underway:
            return manifest
        if manifest.underway:
            list(run(lambda path: self.place.remove([f"{name}/{path}"]), manifest.underway))
            used = {folder for path in files for folder in _folders(path)}
            for folder in sorted({folder for path in manifest.underway for folder in _folders(path)} - used, key=len, reverse=True):
                self.place.remove_folder(f"{name}/{folder}", only_empty=True)
        list(run(lambda item: self.place.copy(_key(name, item[0], item[1].staged), f"{name}/{item[0]}", item[1].size), staged.items()))
        settled = Manifest(None if manifest.files is None else {path: replace(entry, staged=None) for path, entry in files.items()})
        settled.write(self.place, name)
        if staged:
            # All of it: what a mirror cut short before its manifest was written left there goes as well.
            self.place.remove_folder(f"{name}/{STAGED}")
        return settled

    def _check_apart(self, local: Path, name: str) -> None:
        if self.place.local is None:
            return
        here, there = local.resolve(), (self.place.local / name).resolve()
        if here == there or here in there.parents or there in here.parents:
            raise ConfigError(
                f"`compute.storage={self.place.shown}` cannot keep `{local}`: one lies in the other. Give a folder apart from `output`."
            )


def _unchanged(entry: Entry | None, status: os.stat_result, path: Path) -> Entry | None:
    try:
        return entry and unchanged(entry, status, path)
    except OSError:
        return None  # sending it says what is wrong


def _key(name: str, path: str, staged: str | None) -> str:
    return f"{name}/{staged or path}"


def _staged_key(path: str) -> str:
    return f"{STAGED}/{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _taken(path: str, kept: dict[str, Entry]) -> bool:
    """Whether the file's own name holds a content that counts, or where a folder is needed there is a file, or the reverse."""
    return path in kept or any(folder in kept for folder in _folders(path)) or any(other.startswith(f"{path}/") for other in kept)


def _check_name(name: str) -> None:
    if not inside(name) or not RESERVED.isdisjoint(name.split("/")):
        raise RequestError(f"`{name}` cannot be a name in `compute.storage`: use parts joined by `/`, without `..`.")


def checked_storage(uri: str | None) -> str | None:
    """Return the storage's full address once it has taken a file and given it back. Raises `ConfigError`."""
    if uri is None:
        return None
    storage = Storage.of(uri)
    storage.check()
    return storage.uri
