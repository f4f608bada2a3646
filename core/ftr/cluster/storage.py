"""`compute.storage`: folders mirrored to a place that all machines reach, complete at every moment.

Layout: `<uri>/<name>/` holds the files under their own names, so a person can browse a mirror and
copy it by hand, and `.manifest.json` with the size and sha256 of each. A store has no rename and a
mirror has many files, so what makes a new state count is the one write of the manifest:

1. new keys about to be written are noted in the old manifest, so that a mirror cut short leaves
   nothing unknown behind;
2. new files go to their own names, which the old manifest does not name; a file it names is never
   overwritten: its new content goes to `.staged/`;
3. the new manifest is written: from here on readers get the new state;
4. vanished files are removed, staged ones copied to their own names, the manifest written again.

Contents named by hash would save step 4, but then only ftr could read the folder; few files change,
such as run records and logs. A folder has one writer at a time; a reader that is overtaken by it
reads the manifest again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ftr import atomic
from ftr.atomic import sha256
from ftr.cluster.places import THREADS, Place
from ftr.errors import ConfigError, RequestError, RunError

FORMAT = 1
NAME = ".manifest.json"
NEXT = ".manifest.next.json"  # written first where a write may be seen half done
STAGED = ".staged"  # new contents of files that the manifest names already
RESERVED = frozenset({NAME, NEXT, STAGED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    `time`: its `mtime_ns` where it came from; None when that is too fresh to tell a later change
    by.
    """

    size: int
    sha256: str
    time: int | None
    staged: str | None = (
        None  # its key below `.staged/`, while the content is not yet under the file's own name
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files that count, and the keys a mirror under way may have written or may still have to
    remove.

    `files` is None until the first mirror is whole.
    """

    files: dict[str, Entry] | None = None
    underway: frozenset[str] = frozenset()

    @classmethod
    def read(cls, place: Place, name: str) -> Manifest | None:
        """Return the manifest of `name`, or None when nothing was ever mirrored there.

        Raises `RunError` when it is damaged.
        """
        text = place.read(f"{name}/{NAME}")
        try:
            return None if text is None and not place.torn_writes else cls.parse(text or b"")
        except ValueError as error:
            waiting = place.read(f"{name}/{NEXT}") if place.torn_writes else None
            if waiting is None and text is None:
                return None
            try:
                return cls.parse(waiting or b"")
            except ValueError:
                raise RunError(
                    f"`{name}/{NAME}` in `compute.storage={place.shown}` is damaged: {error}. "
                    f"Restore it, or remove `{name}` there and mirror again."
                ) from error

    def write(self, place: Place, name: str) -> None:
        """Replace the manifest of `name`."""
        content = json.dumps(
            {
                "format": FORMAT,
                "files": None
                if self.files is None
                else {path: _lean(entry) for path, entry in sorted(self.files.items())},
                "underway": sorted(self.underway),
            }
        ).encode()
        if place.torn_writes:
            place.write(f"{name}/{NEXT}", content)
        place.write(f"{name}/{NAME}", content)

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Read the JSON text.

        Raises `ValueError` naming what is wrong, paths that lead out of the folder included.
        """
        record = json.loads(text)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        try:
            files = record["files"] and {
                path: Entry(**entry) for path, entry in record["files"].items()
            }
            manifest = cls({} if files == {} else files, frozenset(record["underway"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it lacks fields, or has strange ones") from error
        staged = [
            entry.staged for entry in (manifest.files or {}).values() if entry.staged is not None
        ]
        for path in (*(manifest.files or {}), *manifest.underway, *staged):
            if not inside(path):
                raise ValueError(f"`{path}` leads out of the folder")
        return manifest


def inside(path: str) -> bool:
    """Whether a relative path stays below the folder it is taken in, and is spelled in the one way
    it can be.
    """
    return (
        isinstance(path, str)
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and path != "."
        and ".." not in path.split("/")
    )


def _lean(entry: Entry) -> dict[str, object]:
    return {
        key: value for key, value in asdict(entry).items() if key != "staged" or value is not None
    }


# A file changed less than this long ago may change again within one tick of the file system's
# clock, with size and time as they are.
FRESH_NS = 100_000_000
# Files that `ftr.atomic` and its like have not finished.
UNFINISHED = "*.new-*"


def scan(folder: Path, exclude: tuple[str, ...] = ()) -> dict[str, os.stat_result]:
    """Return the regular files below `folder` by their relative path with `/`, links to files
    included.

    `exclude` holds patterns (`fnmatch`) of relative paths; one that fits a folder leaves out all in
    it. Raises `OSError` when the folder is not there or something in it cannot be listed.
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
    """Return the file's time of change, or None when it is too fresh to tell a later change by."""
    return status.st_mtime_ns if time.time_ns() - status.st_mtime_ns > FRESH_NS else None


def unchanged(entry: Entry, status: os.stat_result, path: Path) -> Entry | None:
    """Return the entry, its time brought up to date, when the file holds what it says; read only
    when the time does not tell.
    """
    if status.st_size != entry.size:
        return None
    if status.st_mtime_ns == entry.time:
        return entry
    when = settled_time(status)
    digest = sha256(path)
    return Entry(entry.size, entry.sha256, when, entry.staged) if digest == entry.sha256 else None


ATTEMPTS = 5  # times a reader starts anew because a writer overtook it


def _manifest(place: Place, name: str) -> Manifest:
    manifest = Manifest.read(place, name)
    if manifest is None or manifest.files is None:
        raise RequestError(
            f"`compute.storage={place.shown}` keeps nothing whole under the name `{name}`."
        )
    return manifest


def _download(
    place: Place, name: str, wanted: dict[str, Entry], local: Path, room: Path
) -> str | None:
    """Bring the files that neither folder has; return what is wrong with one that the place does
    not have as the manifest says.
    """

    def bring(path: str) -> str | None:
        entry = wanted[path]
        if _has(local / path, entry) or _has(room / path, entry):
            return None
        digest = hashlib.sha256()
        (room / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with (room / path).open("wb") as stream:
                for block in place.blocks(f"{name}/{entry.staged or path}"):
                    digest.update(block)
                    stream.write(block)
        except FileNotFoundError:
            return f"{path}` is missing in `compute.storage={place.shown}`"
        if digest.hexdigest() != entry.sha256:
            return (
                f"{path}` in `compute.storage={place.shown}` is damaged: its sha256 is not that of "
                "its manifest"
            )
        if entry.time is not None:
            os.utime(room / path, ns=(entry.time, entry.time))
        return None

    with ThreadPoolExecutor(THREADS) as pool, _named(local):
        return next(
            (problem for problem in list(pool.map(bring, wanted)) if problem is not None), None
        )


def _put(room: Path, local: Path, wanted: dict[str, Entry], exclude: tuple[str, ...]) -> None:
    with _named(local):
        for path in scan(room).keys() - wanted.keys():
            (room / path).unlink()  # of a state that was overtaken
        # What is fetched must be on the disk before its name is, and both before the command exits.
        atomic.to_disk(room)
        if not local.is_dir() or not any(local.iterdir()):
            room.rename(local)
            atomic.sync(local.parent)
            return
        for path in scan(local, exclude).keys() - wanted.keys():
            (local / path).unlink(missing_ok=True)
            _remove_empty((local / path).parent, local)
        for path in wanted.keys() & scan(room).keys():
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            (room / path).replace(local / path)
        for folder in (local, *(path for path in local.rglob("*") if path.is_dir())):
            atomic.sync(folder)


def _has(path: Path, entry: Entry) -> bool:
    try:
        return unchanged(entry, path.stat(), path) is not None
    except OSError:
        return False


def _fits(path: str, exclude: tuple[str, ...]) -> bool:
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


@contextlib.contextmanager
def _named(local: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write `{error.filename or local}`: {error.strerror or error}. Free space, or "
            "give another place."
        ) from error


@dataclass(frozen=True, slots=True)
class Storage:
    """Named folders and small files in a place. A name may have parts: `sweep/trials/0007`."""

    uri: str
    place: Place

    @classmethod
    def of(cls, uri: str) -> Storage:
        """Reach a folder, or any URI that pyarrow or fsspec knows.

        Raises `ConfigError` when the URI is none.

        A relative folder is made absolute, so `storage.uri` means the same in another process.
        Credentials and the address of an S3 server come from the URI
        (`s3://bucket/folder?endpoint_override=host:port&scheme=http`) or from `AWS_*`.
        """
        place = Place.open(uri)
        return cls(str(place.local or uri), place)

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises `ConfigError` naming the cause within seconds.
        """
        self.place.check()

    def mirror(self, local: Path, name: str, *, exclude: Iterable[str] = ()) -> int:
        """Make `<uri>/<name>/` equal to the folder `local` and return the number of files sent.

        Files that `exclude` (patterns of relative paths; a folder's leaves out all in it) fits are
        not kept, nor are unfinished ones (`*.new-*`). A file whose size and time are those of the
        last mirror is not read. After a kill at any moment `fetch` gives the state before or after,
        whole; the next mirror clears up. Raises `RunError` naming what failed.
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
            # What a mirror that was cut short left to do comes first.
            old = self._settle(name, Manifest.read(self.place, name) or Manifest(), pool.map)
            kept = old.files or {}
            same = dict(
                zip(
                    found,
                    pool.map(
                        lambda path: _unchanged(kept.get(path), found[path], local / path), found
                    ),
                    strict=True,
                )
            )
            changed = [path for path, entry in same.items() if entry is None]
            if fresh := changed - kept.keys():
                old = replace(old, underway=old.underway | fresh)
                old.write(self.place, name)
            sent = dict(
                zip(
                    changed,
                    pool.map(lambda path: self._send(local, name, path, kept), changed),
                    strict=True,
                )
            )
            files = {
                path: entry for path in found if (entry := same[path] or sent.get(path)) is not None
            }
            new = Manifest(files, (old.underway | kept.keys()) - files.keys())
            if new != old:
                new.write(self.place, name)
            self._settle(name, new, pool.map)
        return sum(entry is not None for entry in sent.values())

    def fetch(self, name: str, local: Path, *, exclude: Iterable[str] = ()) -> None:
        """Bring `name` back into the folder `local`, each file checked against its sha256.

        A new folder appears whole or not at all. In one that is there, files are replaced one by
        one after all have arrived, and others removed, save those that `exclude` fits. Raises
        `RequestError` when there is no such name, `RunError` when a file is damaged or this
        machine's disk is full.
        """
        _check_name(name)
        patterns = tuple(exclude)
        manifest = _manifest(self.place, name)
        with contextlib.ExitStack() as held:
            with _named(local):
                room = held.enter_context(atomic.workroom(local))
                atomic.clear_leftovers(local.parent, deep=False)
            for _ in range(ATTEMPTS):
                wanted = {
                    path: entry
                    for path, entry in (manifest.files or {}).items()
                    if not _fits(path, patterns)
                }
                problem = _download(self.place, name, wanted, local, room)
                if problem is None:
                    break
                latest = _manifest(self.place, name)
                if latest == manifest:
                    raise RunError(
                        f"`{name}/{problem}. Mirror it again from a sound copy, or remove `{name}` "
                        "there."
                    )
                manifest = latest
            else:
                raise RunError(
                    f"`{name}` in `compute.storage={self.place.shown}` changes faster than it can "
                    "be read. Stop the run that writes it."
                )
            _put(room, local, wanted, patterns)

    def exists(self, name: str) -> bool:
        """Whether a folder was mirrored whole under `name`."""
        _check_name(name)
        manifest = Manifest.read(self.place, name)
        return manifest is not None and manifest.files is not None

    def names(self, under: str = "") -> list[str]:
        """Return the names of the folders mirrored right under `under` (the top, when empty),
        sorted.
        """
        if under:
            _check_name(under)
        folders = sorted(
            name
            for name, is_folder in self.place.entries(under).items()
            if is_folder and name not in RESERVED
        )
        names = [f"{under}/{name}" if under else name for name in folders]
        with ThreadPoolExecutor(THREADS) as pool:
            return list(itertools.compress(names, pool.map(self.exists, names)))

    def delete(self, name: str) -> None:
        """Remove `name` and all below it. A reader sees it whole or not at all."""
        _check_name(name)
        self.place.remove(f"{name}/{file}" for file in (NEXT, NAME))
        self.place.remove_folder(name)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a small file of its own, beside or below the mirrored folders; mirrors never
        touch it.
        """
        _check_name(name)
        self.place.write(name, content)

    def read_bytes(self, name: str) -> bytes | None:
        """Return what `write_bytes` wrote, or None when there is none."""
        _check_name(name)
        return self.place.read(name)

    def _send(self, local: Path, name: str, path: str, kept: dict[str, Entry]) -> Entry | None:
        staged = f"{STAGED}/{sha256(path)[:16]}" if _taken(path, kept) else None
        try:
            with (local / path).open("rb") as stream:
                status = os.fstat(stream.fileno())
                size, digest = self.place.upload(stream, f"{name}/{staged or path}")
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
        """Remove what the manifest no longer names, bring staged contents to their own names, and
        return the manifest without them.
        """
        files = manifest.files or {}
        staged = {path: entry for path, entry in files.items() if entry.staged is not None}
        if not staged and not manifest.underway:
            return manifest
        if manifest.underway:
            list(run(lambda path: self.place.remove([f"{name}/{path}"]), manifest.underway))
            used = {folder for path in files for folder in _folders(path)}
            for folder in sorted(
                {folder for path in manifest.underway for folder in _folders(path)} - used,
                key=len,
                reverse=True,
            ):
                self.place.remove_folder(f"{name}/{folder}", only_empty=True)
        list(
            run(
                lambda item: self.place.copy(
                    f"{name}/{item[1].staged}", f"{name}/{item[0]}", item[1].size
                ),
                staged.items(),
            )
        )
        settled = Manifest(
            None
            if manifest.files is None
            else {path: replace(entry, staged=None) for path, entry in files.items()}
        )
        settled.write(self.place, name)
        if staged:
            # All of it: what a mirror cut short before its manifest was written left there goes as
            # well.
            self.place.remove_folder(f"{name}/{STAGED}")
        return settled

    def _check_apart(self, local: Path, name: str) -> None:
        if self.place.local is None:
            return
        here, there = local.resolve(), (self.place.local / name).resolve()
        if here == there or here in there.parents or there in here.parents:
            raise ConfigError(
                f"`compute.storage={self.place.shown}` cannot keep `{local}`: one lies in the "
                "other. Give a folder apart from `output`."
            )


def _unchanged(entry: Entry | None, status: os.stat_result, path: Path) -> Entry | None:
    try:
        return entry and unchanged(entry, status, path)
    except OSError:
        return None  # sending it says what is wrong


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _taken(path: str, kept: dict[str, Entry]) -> bool:
    """Whether the file's own name holds a content that counts, or where a folder is needed there is
    a file, or the reverse.
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
    """Return the full address of a storage after writing, reading and removing a small file there.

    Raises `ConfigError` naming the cause within seconds.
    """
    if uri is None:
        return None
    storage = Storage.of(uri)
    storage.check()
    return storage.uri
