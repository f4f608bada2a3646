"""A folder of predictions: a Parquet file for each input, and a record of what they are."""

from __future__ import annotations

import contextlib
import glob
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ftr import atomic
from ftr.atomic import read_json
from ftr.config.schema import SUFFIXES
from ftr.data.files import bare_name
from ftr.data.remote import matching
from ftr.data.tables import is_saved
from ftr.errors import DataError, RequestError, RunError
from ftr.paths import expanded, is_url
from ftr.prediction.job import Job, Part, compare, input_identity, partial_folder
from ftr.prediction.outputs import Layout, Records
from ftr.prediction.request import opened
from ftr.terminal import mask, masked

RECORD, _LOCK = "_predictions.json", ".predictions.lock"
"""Readers of Parquet folders skip names that begin with an underscore or a full stop."""


def input_files(words: Sequence[str]) -> list[str]:
    """Return the inputs that words name: files, URLs, patterns (`data/*.csv`), and folders, which
    stand for the data files in them, sorted by name.

    Raises `DataError` for one that names no file, and for a file that is named twice.
    """
    found: list[str] = []
    for word in words:
        found += matching(word) if is_url(word) else _named(word)
    twice = next((one for one in found if found.count(one) > 1), None) if len(found) > 1 else None
    if twice is not None:
        raise DataError(f"`{mask(twice)}` is named twice: its rows would be predicted twice.")
    return found


def _named(word: str) -> list[str]:
    path = expanded(word, "file")
    if path.is_dir() and not is_saved(path):
        inside = [
            str(one)
            for one in sorted(path.iterdir())
            if one.is_file()
            and not one.name.startswith((".", "_"))
            and PurePosixPath(bare_name(one)).suffix in SUFFIXES
        ]
        if not inside:
            raise DataError(
                f"folder `{path}` has no data files (known endings: {', '.join(SUFFIXES)}): "
                "name files."
            )
        return inside
    if path.exists():
        return [str(path)]
    # `Path.glob` takes no absolute pattern.
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207
    if matching := sorted(one for one in found if Path(one).is_file()):
        return matching
    raise DataError(f"there is no file `{path}`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of rows: all, those that could not be used, and those abstained from."""

    rows: int
    errors: int
    abstained: int


@dataclass(slots=True)
class Shard:
    """The Parquet file of one input: written block by block, complete under its own name only."""

    source: str
    job: Job
    done: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The file."""
        return self.job.output

    @property
    def next(self) -> int:
        """The number of the block that it needs next."""
        return len(self.job.parts)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the parts that are there."""
        with self.job.opened(resume=True):
            if not self.job.memo:
                self.job.remember({"reserved": []})
            yield

    def add(self, records: Records, digest: str, types: Mapping[str, Any] | None = None) -> None:
        """Write the records of the next block."""
        self.job.add(records, digest, types)

    def finish(self, notes: Sequence[str]) -> None:
        """Join the blocks under the name of the shard."""
        self.notes = [*notes, *self.job.finish()]
        self.done = True

    def parts(self) -> tuple[Part, ...]:
        """Return the blocks that an interrupted job has left."""
        if self.job.folder.exists():
            with self.job.opened(resume=True):
                return tuple(self.job.parts)
        return ()

    def count(self) -> Counts:
        """Return the numbers of its rows, of a file that is complete."""
        import pyarrow as pa
        from pyarrow import compute, parquet

        with parquet.ParquetFile(self.path) as file:
            names = [name for name in ("error", "abstained") if name in file.schema_arrow.names]
            table = file.read(columns=names)
            rows = file.metadata.num_rows
        found = dict(zip(names, table.columns, strict=True))
        errors = rows - found["error"].null_count
        column = found.get("abstained")
        # A column of the input may have that name, with texts.
        own = column is not None and pa.types.is_boolean(column.type)
        abstained = (compute.sum(column).as_py() or 0) if own else 0
        return Counts(rows=rows, errors=errors, abstained=int(abstained))


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder of shards. Raises `RequestError` where another process writes it."""
    with contextlib.ExitStack() as stack:
        with atomic.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(atomic.locked(folder / _LOCK, seconds=0))
            except TimeoutError:
                raise RequestError(
                    f"another `ftr predict` is writing `{folder}`: wait for it."
                ) from None
        yield


def check_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `RequestError` where a folder has shards already and nothing says what to do, or files
    that are not of `ftr predict`.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"`--output {folder}` is a file: several workers write a folder.")
    there = _shards_in(folder)
    if not there:
        return
    names = ", ".join(f"`{path.name}`" for path in there[:3])
    names += f" and {len(there) - 3} more" if len(there) > 3 else ""
    if not (folder / RECORD).is_file() or not all(map(_is_shard, there)):
        raise RequestError(
            f"`{folder}` has files that are not of `ftr predict` ({names}): give an empty folder."
        )
    if not (overwrite or resume):
        raise RequestError(
            f"`{folder}` has predictions already ({names}): go on with `--resume`, or begin again "
            "with `--overwrite`."
        )


def _shards_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    endings = (".parquet", partial_folder(Path("x.parquet")).suffix)
    return sorted(path for path in folder.iterdir() if path.suffix in endings)


def _is_shard(path: Path) -> bool:
    """Whether a path has a name that `shards_of` gives."""
    return re.match(r"\d{5}-", path.name) is not None


def shards_of(
    folder: Path,
    sources: Sequence[str],
    identity: Mapping[str, Any],
    *,
    resume: bool,
    top_k: int | None = None,
) -> list[Shard]:
    """Return the shard of each source in a held folder, `done` where it is complete, and note in
    the folder what they are; without `resume` what was there is removed.

    `identity` has what all predictions depend on. Raises `RequestError` where a job that is resumed
    had others.
    """
    names = [f"{number:05d}-{_stem(source)}.parquet" for number, source in enumerate(sources)]
    inputs = []
    for source in sources:
        with opened(source) as file:
            inputs.append(input_identity(file, mask(source)))
    record = masked({**identity, "input": dict(zip(names, inputs, strict=True))})
    if resume and (folder / RECORD).is_file():
        try:
            known = read_json(folder / RECORD)
        except (OSError, ValueError) as error:
            raise RunError(
                f"`{folder / RECORD}` is damaged ({error}): begin again with `--overwrite`."
            ) from None
        compare(known, json.loads(json.dumps(record)), folder)
    else:
        for path in _shards_in(folder):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with atomic.writing(folder):
        atomic.write_json(folder / RECORD, record)
    return [
        Shard(
            source,
            Job(folder / name, "parquet", {**identity, "input": dict(given)}, Layout(top_k)),
            done=(folder / name).is_file(),
        )
        for name, source, given in zip(names, sources, inputs, strict=True)
    ]


def _stem(source: str) -> str:
    name = PurePosixPath(urlsplit(source).path if is_url(source) else source).name
    stem = PurePosixPath(bare_name(Path(name))).stem
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in stem)[:80] or "input"
