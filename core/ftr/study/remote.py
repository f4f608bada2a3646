"""Encoded data and files of a sweep, for nodes that share the driver's disk and for nodes that do
not.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pyarrow import fs

from ftr import atomic
from ftr.cluster.places import reach
from ftr.cluster.ship import local_splits, share_splits
from ftr.cluster.storage import Storage
from ftr.config.space import LISTS
from ftr.data.encode import DATA_KEYS, StoredSplit, cache_folder, data_key
from ftr.errors import FtrError, RequestError, RunError
from ftr.runs.directory import LOCK
from ftr.runs.prepare import Prepared, prepare
from ftr.runs.run import plain
from ftr.study.directory import SweepDirectory
from ftr.terminal import mask

if TYPE_CHECKING:
    from ftr.config.schema import RunConfig
    from ftr.config.space import Dimension
    from ftr.registry.registry import Registry


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
    choices = [
        list(dimension.values) if dimension.kind in LISTS else None for dimension in swept.values()
    ]
    if not swept or any(values is None for values in choices):
        return first, found
    for point in itertools.islice(itertools.product(*(values or [] for values in choices)), MOST):
        try:
            config = configured(dict(zip(swept, point, strict=True)))
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
        """Bring what is known of the trial to this node: an earlier process of it may have run
        elsewhere.
        """
        storage, name = Storage.of(uri), remote_name(sweep, trial)
        top = Path(tempfile.gettempdir()) / f"ftr-trials-{os.getuid()}"
        top.mkdir(exist_ok=True)
        if top.is_symlink() or top.stat().st_uid != os.getuid():
            # Anyone may write there, and may have put it there before us.
            raise RunError(
                f"`{top}` belongs to somebody else. Remove it, or set `TMPDIR` to another folder."
            )
        folder = top / sweep / f"{trial:04d}"
        if storage.exists(name):
            storage.fetch(name, folder, exclude=(LOCK,))
        return cls(storage, name, folder)

    def keep(self) -> None:
        """Mirror the run directory as it is now."""
        self.storage.mirror(self.folder, self.name, exclude=(LOCK,))


def shared_data(uri: str, encoded: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Send encoded data to the storage; returns it with the places there."""
    storage = Storage.of(uri)
    sent = {}
    for key, prepared in encoded.items():
        splits = {name: StoredSplit(**split) for name, split in prepared["splits"].items()}
        sent[key] = {**prepared, "splits": share_splits(storage, splits)}
    return sent


def splits_here(uri: str, prepared: dict[str, Any], config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return where the encoded splits lie on this node, fetching what is not here."""
    return local_splits(
        Storage.of(uri), prepared["splits"], cache_folder(config.data.cache, config.output)
    )


@dataclass(slots=True)
class RemoteSweep:
    """The driver's side: its own files in the storage, and the runs it needs from there."""

    storage: Storage
    directory: SweepDirectory
    sent: float = field(default=0.0)

    @property
    def name(self) -> str:
        """The sweep's name in the storage."""
        return self.directory.path.name

    def keep_journal(self, *, now: bool = False) -> None:
        """Send the journal, every few seconds at most unless it must be `now`."""
        if now or time.monotonic() - self.sent >= JOURNAL_SECONDS:
            self.sent = time.monotonic()
            self.storage.write_bytes(
                f"{self.name}/{JOURNAL}", self.directory.journal.path.read_bytes()
            )
            self.storage.write_bytes(f"{self.name}/{RECORD}", self.directory.record.read_bytes())

    def keep_all(self) -> None:
        """Send everything but the trials, which sent themselves."""
        self.keep_journal(now=True)
        self.storage.mirror(self.directory.path, f"{self.name}/files", exclude=("trials", LOCK))

    def fetch_trial(self, number: int) -> None:
        """Bring a trial's run directory into the sweep directory."""
        self.storage.fetch(
            remote_name(self.name, number), self.directory.trial_path(number), exclude=(LOCK,)
        )


def fetch_sweep(uri: str, output: Path) -> Path:
    """Bring a sweep from `s3://bucket/folder/NAME` into `output`, and return its directory; the
    trials stay where they are.

    Raises `RequestError` when there is none.
    """
    place, _, name = uri.rstrip("/").rpartition("/")
    storage = Storage.of(place)
    record, journal = (
        storage.read_bytes(f"{name}/{RECORD}"),
        storage.read_bytes(f"{name}/{JOURNAL}"),
    )
    if record is None or journal is None:
        raise RequestError(
            f"`{uri}` is no sweep: there is no `{RECORD}` with a `{JOURNAL}`. Give "
            "`compute.storage` and the sweep's name."
        )
    folder = output / name
    if not (folder / RECORD).is_file() or len(journal) > (folder / JOURNAL).stat().st_size:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(folder / JOURNAL, journal)
        atomic.write_bytes(folder / RECORD, record)
    return folder


def _call(name: str, *keywords: str, **fixed: object) -> Callable[..., Any]:
    """Return a method that calls the one of the real file system; pyarrow passes the last arguments
    by position, which that one takes by keyword.
    """

    def call(self: StorageHandler, *given: Any) -> Any:
        paths = len(given) - len(keywords)
        named = dict(zip(keywords, given[paths:], strict=True))
        return getattr(self.system, name)(*given[:paths], **named, **fixed)

    return call


class StorageHandler(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow is not checked
    """The file system of `compute.storage` for Tune, which writes what it is given into files.

    Pickled it is the URI without secrets. A process knows the whole URI by `known`, and opens the
    file system when Tune first uses it: by then the trial has set its credentials.
    """

    known: ClassVar[dict[str, str]] = {}
    """The URIs of this process by what is shown of them."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self._opened: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return StorageHandler, (self.shown,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorageHandler) and self.shown == other.shown

    def __hash__(self) -> int:
        return hash(self.shown)

    @classmethod
    def learn(cls, uri: str) -> str:
        """Note a URI of this process; returns what is shown of it."""
        shown = mask(uri)
        cls.known[shown] = uri
        return shown

    @property
    def system(self) -> Any:
        """The real file system."""
        if self._opened is None:
            self._opened, _ = reach(self.known.get(self.shown, self.shown))
        return self._opened

    def get_type_name(self) -> str:
        """Return the word for this kind of file system."""
        return "ftr-storage"

    def get_file_info_selector(self, selector: Any) -> Any:
        """Return what a folder holds."""
        return self.system.get_file_info(selector)

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete the whole of a storage."""
        raise PermissionError("ftr deletes no storage as a whole")

    get_file_info = _call("get_file_info")
    normalize_path = _call("normalize_path")
    create_dir = _call("create_dir", "recursive")
    delete_dir = _call("delete_dir")
    delete_dir_contents = _call("delete_dir_contents", "missing_dir_ok")
    delete_file = _call("delete_file")
    move = _call("move")
    copy_file = _call("copy_file")
    open_input_stream = _call("open_input_stream", compression=None)
    open_input_file = _call("open_input_file")
    open_output_stream = _call("open_output_stream", "metadata", compression=None)
    open_append_stream = _call("open_append_stream", "metadata", compression=None)


def storage_folder(uri: str, name: str) -> tuple[Any, str]:
    """Return the file system of a storage as Tune may have it, and the path of `name` in it."""
    _, root = reach(uri)
    return fs.PyFileSystem(StorageHandler(StorageHandler.learn(uri))), f"{root.rstrip('/')}/{name}"
