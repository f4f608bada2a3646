"""A folder on this disk, on a share or in a bucket, through pyarrow or fsspec, and the manifest of
what is mirrored there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ftr import atomic
from ftr.data.filesystem import first_line, open_filesystem
from ftr.errors import ConfigError, FtrError, RunError
from ftr.system import NO_FOLLOW

ADVICE = (
    (
        r"NO_SUCH_BUCKET|[Bb]ucket '[^']*' not found",
        "there is no such bucket",
        "Make the bucket first, or correct its name",
    ),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|HTTP status 40[13]|PERMISSION_DENIED"
        r"|UNAUTHENTICATED",
        "no permission",
        "Give credentials that may list, read, write and delete there (S3: `AWS_ACCESS_KEY_ID` and "
        "`AWS_SECRET_ACCESS_KEY`, or a profile)",
    ),
    (
        r"NETWORK_CONNECTION|UNAVAILABLE|[Cc]onnection refused|[Cc]ould not (connect|resolve)"
        r"|timed? ?out",
        "nobody answers there",
        "Check the network and the address (`endpoint_override=` in the URI, or "
        "`AWS_ENDPOINT_URL`)",
    ),
)
"""Common errors of file systems: a pattern, the cause, and how to fix it."""


def explained(error: Exception) -> str:
    """Return what an error of a file system means and how to fix it."""
    code = getattr(error, "errno", None)
    if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{os.strerror(code)}. Free space there, or give another place"
    if code in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{os.strerror(code)}. Give a place that this user may write to"
    line = first_line(str(error)) or type(error).__name__
    cause, fix = advice(str(error))
    return f"{cause} ({line}). {fix}" if cause else line


def advice(text: str) -> tuple[str, str]:
    """Return the cause of a common error and how to fix it; of any other, empty strings."""
    found = ((cause, fix) for pattern, cause, fix in ADVICE if re.search(pattern, text))
    return next(found, ("", ""))


THREADS = 4  # files transferred at once
BLOCK = 8 * 2**20  # bytes read at a time; from S3 each read is one request
COPY_LIMIT = 5 * 2**30  # bytes; S3 itself copies no larger object

# In object stores a file appears complete when it is closed, and folders need not be made.
OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})


@dataclass(frozen=True, slots=True)
class Location:
    """A folder of a file system.

    Keys are paths below it with `/`; every failure is a `RunError` that names `compute.storage`.
    """

    filesystem: Any
    root: str
    kind: str  # pyarrow's word: "local", "s3", "gcs", "abfs", "fsspec+…", …
    shown: str  # the URI without its secrets

    @classmethod
    def open(cls, uri: str) -> Location:
        """Open a path, or a URI that pyarrow or fsspec knows.

        Raises `ConfigError` for any other URI.
        """
        shown = re.sub(r"(?<=://)[^?]*@", "***@", uri)  # a secret may hold a `/`
        try:
            filesystem, root = open_filesystem(uri)
        except Exception as error:  # each file system raises what its own library raises
            cause = str(error).replace(uri, shown)
            fix = advice(cause)[1] or (
                "Give a folder, or a URI such as `s3://bucket/folder`; other schemes need their "
                "fsspec package"
            )
            raise ConfigError(
                f"`compute.storage={shown}` cannot be used: {first_line(cause)}. {fix}."
            ) from error
        if not root.strip("/") and filesystem.type_name != "local":
            raise ConfigError(
                f"`compute.storage={shown}` names no bucket or folder. Give one, such as "
                "`s3://bucket/folder`."
            )
        return cls(filesystem, root.rstrip("/"), filesystem.type_name, shown)

    @property
    def local(self) -> Path | None:
        """The folder, when it is on this machine's file system."""
        return Path(self.root or "/") if self.kind == "local" else None

    @property
    def torn_writes(self) -> bool:
        """Whether readers may see a half-written file under its own name."""
        return self.kind != "local" and self.kind not in OBJECT_STORES

    def check(self) -> None:
        """Write, read and remove a small file. Raises `ConfigError` when that cannot be done."""
        key = f".probe-{secrets.token_hex(4)}"
        try:
            self.write(key, b"ftr")
            if self.read(key) != b"ftr":
                raise RunError(
                    f"`compute.storage={self.shown}` does not give back what was written there. "
                    "Use another place."
                )
            self.remove([key])
        except RunError as error:
            raise ConfigError(str(error)) from error

    def read(self, key: str) -> bytes | None:
        """Return what `key` holds; None when there is no such file."""
        try:
            return b"".join(self.blocks(key))
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes) -> None:
        """Replace a small file; on a disk or in an object store readers never see half of it."""
        with self._named("write", key):
            if self.local is None:
                with self._output(key) as stream:
                    stream.write(content)
            else:
                # Not `atomic.replace_file`: the next write, from any host, replaces what a killed
                # one left under this name.
                fresh = f"{key}.new-write"
                with self._output(fresh) as stream:
                    stream.write(content)
                Path(self._path(fresh)).replace(self._path(key))
                atomic.sync(Path(self._path(key)).parent)

    def upload(self, source: BinaryIO, key: str) -> tuple[int, str]:
        """Write a stream to `key`, block by block; return its size and sha256."""
        size, digest = 0, hashlib.sha256()
        try:
            with self._named("write", key), self._output(key) as stream:
                while block := source.read(BLOCK):
                    digest.update(block)
                    size += len(block)
                    stream.write(block)
        except RunError:
            # On a full disk the partial file would block every other write.
            with contextlib.suppress(RunError):
                self.remove([key])
            raise
        return size, digest.hexdigest()

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield the content of `key` block by block.

        Raises `FileNotFoundError` when there is no such file.
        """
        with self._named("read", key):
            stream = self.filesystem.open_input_stream(self._path(key))
        with stream:
            while True:
                with self._named("read", key):
                    block = stream.read(BLOCK)
                if not block:
                    return
                yield block

    def copy(self, source: str, key: str, size: int) -> None:
        """Copy a file of `size` bytes to `key`, inside the store if possible, else through this
        machine.
        """
        if self.kind in OBJECT_STORES and size < COPY_LIMIT:
            with self._named("write", key):
                self.filesystem.copy_file(self._path(source), self._path(key))
        else:
            with self._named("copy", source):
                stream = self.filesystem.open_input_stream(self._path(source))
            with stream:
                self.upload(stream, key)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files; ignore missing ones, and folders of those names."""
        not_there = contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError)
        for key in keys:
            with self._named("remove", key), not_there:
                self.filesystem.delete_file(self._path(key))

    def remove_folder(self, key: str, *, only_empty: bool = False) -> None:
        """Remove a folder with all in it, or only when it is empty."""
        from pyarrow.fs import FileType

        with contextlib.suppress(FileNotFoundError), self._named("remove", key):
            path = self._path(key)
            if self.filesystem.get_file_info(path).type == FileType.Directory and not (
                only_empty and self.entries(key)
            ):
                self.filesystem.delete_dir(path)

    def entries(self, key: str = "") -> dict[str, bool]:
        """Return the names directly under a folder, and for each whether it is a folder."""
        from pyarrow.fs import FileSelector, FileType

        with self._named("list", key):
            found = self.filesystem.get_file_info(
                FileSelector(self._path(key), allow_not_found=True)
            )
        return {info.base_name: info.type == FileType.Directory for info in found}

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root or "/"

    @contextlib.contextmanager
    def _output(self, key: str) -> Iterator[Any]:
        path = self._path(key)
        if self.local is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_FOLLOW, 0o666)
            with os.fdopen(handle, "wb") as stream:
                yield stream
                # The files of a manifest must survive a power cut, as the manifest does.
                stream.flush()
                os.fsync(stream.fileno())
            atomic.sync(Path(path).parent)
        else:
            if self.kind not in OBJECT_STORES:
                self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with self.filesystem.open_output_stream(path) as stream:
                yield stream

    @contextlib.contextmanager
    def _named(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except FtrError:
            raise
        except Exception as error:  # each file system raises what its own library raises
            if isinstance(error, FileNotFoundError) and doing in {"read", "remove"}:
                raise
            raise RunError(
                f"`compute.storage={self.shown}`: cannot {doing} `{key or self.root}`: "
                f"{explained(error)}."
            ) from error


MANIFEST_FORMAT = 1
MANIFEST = ".manifest.json"
NEXT = ".manifest.next.json"  # written first where readers may see half a write
STAGED = ".staged"  # new contents of files that the manifest already names
RESERVED = frozenset({MANIFEST, NEXT, STAGED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a mirrored folder.

    `time` is its `mtime_ns` at the source, None when that is too recent to detect a later change.
    `staged` is its key below `.staged/` while the content is not yet under the file's own name.
    """

    size: int
    sha256: str
    time: int | None
    staged: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a mirrored folder, and the keys that an unfinished mirror may have written or
    may still have to remove.

    `files` is None until the first mirror is complete.
    """

    files: dict[str, Entry] | None = None
    underway: frozenset[str] = frozenset()

    @classmethod
    def read(cls, location: Location, name: str) -> Manifest | None:
        """Return the manifest of `name`, or None when nothing was ever mirrored there.

        Raises `RunError` when it is damaged.
        """
        damage: ValueError | None = None
        for file in (MANIFEST, NEXT) if location.torn_writes else (MANIFEST,):
            text = location.read(f"{name}/{file}")
            try:
                if text is not None:
                    return cls.parse(text)
            except ValueError as error:
                damage = damage or error
        if damage is None:
            return None
        raise RunError(
            f"`{name}/{MANIFEST}` in `compute.storage={location.shown}` is damaged: {damage}. "
            f"Restore it, or remove `{name}` there and mirror again."
        ) from damage

    def write(self, location: Location, name: str) -> None:
        """Replace the manifest of `name`."""
        entries = [(path, asdict(entry)) for path, entry in sorted((self.files or {}).items())]
        for _, entry in entries:
            if entry["staged"] is None:
                del entry["staged"]
        record = {
            "format": MANIFEST_FORMAT,
            "files": None if self.files is None else dict(entries),
            "underway": sorted(self.underway),
        }
        for file in (NEXT, MANIFEST) if location.torn_writes else (MANIFEST,):
            location.write(f"{name}/{file}", json.dumps(record).encode())

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Read the JSON text.

        Raises `ValueError` naming the fault, such as a path that leads out of the folder.
        """
        record = json.loads(text)
        if not isinstance(record, dict) or record.get("format") != MANIFEST_FORMAT:
            raise ValueError(f"it is not of format {MANIFEST_FORMAT}")
        try:
            files = record["files"]
            if files is not None:
                files = {path: Entry(**entry) for path, entry in files.items()}
            manifest = cls(files, frozenset(record["underway"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it lacks fields, or has unknown ones") from error
        entries = manifest.files or {}
        staged = [entry.staged for entry in entries.values() if entry.staged is not None]
        for path in (*entries, *manifest.underway, *staged):
            if not inside(path):
                raise ValueError(f"`{path}` leads out of the folder")
        return manifest


def inside(path: str) -> bool:
    """Whether a relative path stays below its folder, and has the one canonical spelling."""
    return (
        isinstance(path, str)
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and path != "."
        and ".." not in path.split("/")
    )
