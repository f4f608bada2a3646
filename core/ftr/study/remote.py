"""Encoded data and files of a sweep, for nodes that share the driver's disk and for nodes that do
not.
"""

from __future__ import annotations

import getpass
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs

from ftr import atomic
from ftr.cluster.ship import share_splits
from ftr.cluster.storage import Storage
from ftr.config.schema import RunConfig
from ftr.config.space import LISTS, Dimension, grid_points
from ftr.data.encode import DATA_KEYS, StoredSplit, data_key
from ftr.data.filesystem import open_filesystem
from ftr.errors import FtrError, RequestError, RunError
from ftr.registry.registry import Registry
from ftr.runs.directory import LOCK, RunDirectory
from ftr.runs.prepare import Prepared, prepare
from ftr.runs.run import plain
from ftr.study.directory import SweepDirectory
from ftr.system import is_own
from ftr.terminal import mask
from ftr.train.checkpoint import CHECKPOINTS

MOST = 32
"""Distinct contents that are made before trial 0; where the space has more, trials make theirs
themselves, once each.
"""


def prepare_all(
    base: RunConfig,
    space: Mapping[str, Dimension],
    configured: Callable[[Mapping[str, object]], RunConfig],
    registry: Registry,
) -> tuple[Prepared, dict[str, dict[str, Any]]]:
    """Encode the base and every other content the space can ask for, up to `MOST`; returns (of the
    base, all by data key).

    `configured` makes the configuration of swept values. Combinations that no run can have are left
    to the trial that draws one.
    """
    first = prepare(base, registry)
    found = {data_key(base): dict(plain(first))}
    swept = {
        key: dimension for key, dimension in space.items() if key.partition(".")[0] in DATA_KEYS
    }
    if any(dimension.kind not in LISTS for dimension in swept.values()):
        return first, found
    for values in itertools.islice(grid_points(swept), MOST):
        try:
            config = configured(values)
        except FtrError:
            continue
        if data_key(config) not in found:
            found[data_key(config)] = dict(plain(prepare(config, registry)))
    return first, found


JOURNAL, RECORD = "journal.jsonl", "sweep.json"
JOURNAL_SECONDS = 10.0
"""Between two copies of a growing journal; the end of a trial is copied at once."""


def remote_name(sweep: str, trial: int) -> str:
    """Return the name of a trial's run directory in the storage."""
    return f"{sweep}/trials/{trial:04d}"


@dataclass(frozen=True, slots=True)
class RemoteTrial:
    """A trial's run directory on this node, and its mirror."""

    storage: Storage
    name: str
    folder: Path

    @classmethod
    def open(cls, uri: str, sweep: str, trial: int) -> RemoteTrial:
        """Fetch the run directory: an earlier process of the trial may have run on another node."""
        StorageHandler.learn(uri)
        storage, name = Storage.of(uri), remote_name(sweep, trial)
        top = Path(tempfile.gettempdir()) / f"ftr-trials-{getpass.getuser()}"
        top.mkdir(exist_ok=True)
        if top.is_symlink() or not is_own(top.stat()):
            # Anyone may write there, and may have put it there before us.
            raise RunError(
                f"`{top}` belongs to another user. Remove it, or set `TMPDIR` to another folder."
            )
        folder = top / sweep / f"{trial:04d}"
        if storage.exists(name):
            storage.fetch(name, folder, exclude=(LOCK,))
        return cls(storage, name, folder)

    def keep(self) -> None:
        """Mirror the run directory as it is now."""
        self.storage.mirror(self.folder, self.name, exclude=(LOCK,))

    def leave(self) -> None:
        """Remove the run directory from this node; it is in the storage."""
        shutil.rmtree(self.folder, ignore_errors=True)


def shared_data(uri: str, encoded: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Send encoded data to the storage; returns it with the paths there."""
    storage = Storage.of(uri)
    sent = {}
    for key, prepared in encoded.items():
        splits = {name: StoredSplit(**split) for name, split in prepared["splits"].items()}
        sent[key] = {**prepared, "splits": share_splits(storage, splits)}
    return sent


@dataclass(slots=True)
class RemoteSweep:
    """The driver's side: its own files in the storage, and the runs it needs from there."""

    storage: Storage
    directory: SweepDirectory
    sent: float = 0.0

    @property
    def name(self) -> str:
        """The sweep's name in the storage."""
        return self.directory.path.name

    def keep_journal(self, *, now: bool = False) -> None:
        """Send the journal, every few seconds at most unless it must be `now`."""
        if now or time.monotonic() - self.sent >= JOURNAL_SECONDS:
            self.sent = time.monotonic()
            for path in (self.directory.journal.path, self.directory.record):
                self.storage.write_bytes(f"{self.name}/{path.name}", path.read_bytes())

    def keep_all(self) -> None:
        """Send everything but the trials, which sent themselves."""
        self.keep_journal(now=True)
        self.storage.mirror(self.directory.path, f"{self.name}/files", exclude=("trials", LOCK))

    def fetch_trial(self, number: int) -> None:
        """Fetch a trial's run directory into the sweep directory."""
        self.storage.fetch(
            remote_name(self.name, number), self.directory.trial_path(number), exclude=(LOCK,)
        )

    def remove_model(self, number: int, mark: str, *, last: bool) -> bool | None:
        """Remove a trial's model from the storage, with a `mark` in its record; returns whether the
        trial is there, None where its process may still send files.
        """
        name = remote_name(self.name, number)
        if not self.storage.exists(name):
            return False
        with atomic.scratch("trial") as folder:
            run = RunDirectory(Path(folder) / "run")
            self.storage.fetch(name, run.path, exclude=(LOCK, run.model.name, CHECKPOINTS))
            if not last and run.read()["status"] == "running":
                return None
            run.mark_removed(mark)
            self.storage.mirror(run.path, name)
        return True


def fetch_sweep(uri: str, output: Path) -> Path:
    """Fetch a sweep from `s3://bucket/folder/NAME` into `output`, and return its directory; the
    trials stay where they are.

    Raises `RequestError` when there is none.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    storage, folder = Storage.of(parent), output / name
    record = storage.read_bytes(f"{name}/{RECORD}")
    journal = storage.read_bytes(f"{name}/{JOURNAL}")
    if record is None or journal is None:
        raise RequestError(
            f"`{uri}` is not a sweep: it lacks `{RECORD}` or `{JOURNAL}`. Give `compute.storage` "
            "and the name of the sweep."
        )
    if not (folder / RECORD).is_file() or len(journal) > (folder / JOURNAL).stat().st_size:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(folder / JOURNAL, journal)
        atomic.write_bytes(folder / RECORD, record)
    return folder


class StorageHandler(fs.FSSpecHandler):  # type: ignore[misc]  # pyarrow is not checked
    """The file system of `compute.storage` for Tune, which writes what it is given into files.

    Pickled it is the URI without secrets. A process knows the whole URI by `known`, and opens the
    file system when Tune first uses it: by then the trial has set its credentials.
    """

    known: ClassVar[dict[str, str]] = {}
    """The URIs of this process by their masked form."""

    def __init__(self, masked_uri: str) -> None:
        self.masked_uri = masked_uri

    def __reduce__(self) -> tuple[Any, ...]:
        return StorageHandler, (self.masked_uri,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorageHandler) and self.masked_uri == other.masked_uri

    def __hash__(self) -> int:
        return hash(self.masked_uri)

    @classmethod
    def learn(cls, uri: str) -> str:
        """Note a URI of this process; returns its masked form."""
        masked_uri = mask(uri)
        cls.known[masked_uri] = uri
        return masked_uri

    @cached_property
    def fs(self) -> Any:
        """The file system itself."""
        system, _ = open_filesystem(self.known.get(self.masked_uri, self.masked_uri))
        return ArrowFSWrapper(system, skip_instance_cache=True)

    def get_type_name(self) -> str:
        """Return the word for this kind of file system."""
        return "ftr-storage"

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete the whole of a storage."""
        raise PermissionError("ftr deletes no storage as a whole")


def storage_folder(uri: str, name: str) -> tuple[Any, str]:
    """Return the file system of a storage as Tune may have it, and the path of `name` in it."""
    _, root = open_filesystem(uri)
    return fs.PyFileSystem(StorageHandler(StorageHandler.learn(uri))), f"{root.rstrip('/')}/{name}"
