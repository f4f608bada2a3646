"""Predictions for many files on many workers: a Ray Data pipeline that reads here, answers blocks
on the workers, and writes shards here, in the order of the rows.

Nodes need neither the files nor the folder of the output: blocks, the model and what a source asks
for go through Ray's object store.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import read_json
from ftr.cluster.pipeline import packed, results, unpacked
from ftr.config.schema import ComputeConfig, FileOptions
from ftr.data.columns import ID
from ftr.data.stream import Reader
from ftr.errors import ConfigError, DataError, RunError, counted, in_one_line
from ftr.model.adapters import ADAPTER_CONFIG
from ftr.paths import expanded
from ftr.prediction.blocks import BLOCK, Options, answer, blocks, is_error, prediction_keys
from ftr.prediction.job import Part, adapter_bases, base_folder, same_input
from ftr.prediction.request import Predicted, Request, opened
from ftr.prediction.run import check_columns, unusable
from ftr.prediction.shards import Shard, check_folder, held, input_files, shards_of
from ftr.progress import ProgressLine
from ftr.registry.registry import Registry, get_registry
from ftr.runs.launch import connected, own_error, worker_resources
from ftr.runs.predictor import Predictor, load
from ftr.terminal import quiet_libraries, show

if TYPE_CHECKING:
    import pyarrow as pa

    from ftr.registry.schema import RowSchema

OF_SOURCES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "HF_", "FSSPEC_", "S3_")
"""How the environment variables begin that sources of rows ask for."""
_BASE = "shipped-base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file to read, how, and the blocks of it that are done."""

    source: str
    options: FileOptions
    done: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The records of a block of an input, the hash of its rows, and the types of columns."""

    file: int
    number: int
    records: Sequence[Mapping[str, Any]]
    digest: str
    types: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of an input, with the notes of its reader."""

    file: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Where a worker finds the model: its folder on this machine, or its files as references to
    Ray's objects by their relative path.
    """

    folder: str
    files: Mapping[str, Any] | None
    precision: str
    backend: str

    @contextlib.contextmanager
    def here(self) -> Iterator[Path]:
        """Yield the folder of the model on the machine of this process."""
        if self.files is None:
            yield Path(self.folder)
            return
        import ray

        with atomic.scratch("predict") as scratch:
            for name, reference in self.files.items():
                path = Path(scratch) / "shipped" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(ray.get(reference))
            use_shipped_bases(Path(scratch) / "shipped")
            yield Path(scratch) / "shipped"


def read(
    _: pa.Table,
    inputs: Sequence[Input],
    schema: RowSchema,
    options: Options,
    size: int,
    environment: Any,
) -> Iterator[pa.Table]:
    """Yield the blocks of `size` rows of all inputs with the number of their file, one to a table,
    and an `End` for each.

    Raises `DataError` for a file that cannot be read, and `RequestError` for columns that it lacks,
    and where blocks that are done had other rows.
    """
    import ray

    os.environ.update(ray.get(environment))
    for file, one in enumerate(inputs):
        with opened(one.source) as source:
            reader = Reader.of(source, schema, one.options)
            notes: dict[str, None] = {}
            for block in blocks(reader, size):
                notes.update(dict.fromkeys(check_columns(block, options, source.shown)))
                if block.number < len(one.done):
                    part = one.done[block.number]
                    same_input(block.first, part, len(block.lines), block.digest())
                else:
                    yield packed((file, block))
            yield packed(End(file=file, notes=(*notes, *reader.notes)))


class Worker:
    """Answers blocks; each process of the pool has one, with the model."""

    def __init__(self, model: Model, options: Options, size: int, threads: int) -> None:
        """Load the model."""
        import torch

        quiet_libraries()
        torch.set_num_threads(threads)
        self.options, self.size = options, size
        with model.here() as folder:
            # Plugin files that the model names were sent, else they must be where it says.
            self.predictor = load(folder, precision=model.precision, backend=model.backend)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the `Answers` of the block in `table`; an `End` stays what it is.

        Raises `DataError` where the first rows of a long file cannot be used.
        """
        given = unpacked(table)
        if isinstance(given, End):
            return table
        file, block = given
        records = answer(block, self.predictor, self.options)
        if block.number == 0 and len(records) == self.size and all(map(is_error, records)):
            raise DataError(unusable(block, self.predictor))
        return packed(
            Answers(
                file=file,
                number=block.number,
                records=records,
                digest=block.digest(),
                types=self.options.types(block),
            )
        )


def predict_files(
    request: Request,
    words: Sequence[str],
    output: str | Path,
    compute: ComputeConfig,
    *,
    overwrite: bool = False,
    resume: bool = False,
    registry: Registry | None = None,
) -> Predicted:
    """Answer the rows of files, patterns and folders, and write a Parquet file for each into the
    folder `output`.

    `compute.workers` processes, 0: one for each GPU of the cluster, or for each node. Shards that
    are there are kept with `resume`. Raises what reading raises, `ConfigError` where there is no
    room for the workers, `RequestError` for a folder that has other files, and `RunError`.
    """
    folder = expanded(output, "folder")
    check_folder(folder, overwrite=overwrite, resume=resume)
    sources = input_files(words)
    predictor = request.load(registry)
    request.check(predictor)
    schema = predictor.head.schema
    reading = {source: request.reading(source, schema) for source in sources}
    options = _options(request, predictor, reading)
    known = registry or get_registry()
    del predictor
    with held(folder):
        identity = request.identity(registry)
        shards = shards_of(folder, sources, identity, resume=resume, top_k=request.top_k)
        left = [shard for shard in shards if not shard.done]
        inputs = [
            Input(source=one.source, options=reading[one.source], done=one.parts()) for one in left
        ]
        if len(left) < len(shards):
            done = len(shards) - len(left)
            show(f"{done} of {counted(len(shards), 'file')} are done already")
        if left:
            _run(request, inputs, left, schema, options, compute, known)
        return Predicted.of([shard.path for shard in shards], [shard.count() for shard in shards])


def _options(request: Request, predictor: Predictor, reading: Mapping[str, FileOptions]) -> Options:
    """Return what goes into a record, with the keys of predictions: those of the first row that can
    be used.
    """
    for source, options in reading.items():
        with opened(source) as file:
            first = next(blocks(Reader.of(file, predictor.head.schema, options)), None)
        keys = first and prediction_keys(first, predictor, request.options())
        if keys:
            return replace(request.options(), reserved=keys)
    return replace(request.options(), reserved=(ID.name,))


def _run(
    request: Request,
    inputs: Sequence[Input],
    shards: Sequence[Shard],
    schema: RowSchema,
    options: Options,
    compute: ComputeConfig,
    registry: Registry,
) -> None:
    """Connect, and fill the shards."""
    # Ray prints what its own processes say on stdout, where the answer of the command goes.
    with (
        contextlib.redirect_stdout(sys.stderr),
        connected(compute, registry, show),
    ):
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        compute = sized(compute, nodes)
        each = worker_resources(compute)
        _check_room(compute, each, nodes)
        model = Model(
            folder=str(request.folder),
            files=None
            if compute.address is None
            else {
                name: ray.put(path.read_bytes())
                for name, path in files_to_ship(request.folder).items()
            },
            precision=request.precision,
            backend=request.backend,
        )
        own = {name: one for name, one in os.environ.items() if name.startswith(OF_SOURCES)}
        reading = {
            "inputs": inputs,
            "schema": schema,
            "options": options,
            "size": BLOCK,
            # Ray shows arguments, but not what a reference is of.
            "environment": ray.put(own),
        }
        threads = max(int(each["CPU"]), 1)
        working = {"model": model, "options": options, "size": BLOCK, "threads": threads}
        show(f"{counted(compute.workers, 'worker')}, each with {_named(each)}")
        try:
            _collect(results(read, reading, Worker, working, compute.workers, each), shards)
        except Exception as error:
            if (own_cause := own_error(error)) is not None:
                raise own_cause from error
            if type(error).__module__.partition(".")[0] != "ray":
                raise
            raise RunError(
                f"the workers failed: {in_one_line(error)}. `--resume` goes on with what is done."
            ) from error


def _named(each: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in each.items())


def sized(compute: ComputeConfig, nodes: Sequence[Mapping[str, float]]) -> ComputeConfig:
    """Return `compute` with a number of workers, by default one for each GPU of the `nodes`, else
    one for each node; and with the most cores that so many of them can have.
    """
    cores = [one["CPU"] for one in nodes if one.get("CPU")]
    gpus = int(sum(one.get("GPU", 0) for one in nodes))
    # Nodes may differ: a larger one has room for several workers of the smallest one's size.
    least = compute.cpus or min(cores, default=1.0)
    workers = compute.workers or gpus or max(int(sum(one // least for one in cores)), 1)
    most = range(int(max(cores, default=1)), 0, -1)
    share = next((each for each in most if sum(one // each for one in cores) >= workers), 1)
    return compute.model_copy(update={"workers": workers, "cpus": compute.cpus or share})


def _check_room(
    compute: ComputeConfig, each: Mapping[str, float], nodes: Sequence[Mapping[str, float]]
) -> None:
    room = sum(
        min(int(have.get(name, 0.0) // amount) for name, amount in each.items() if amount)
        for have in nodes
    )
    if room < compute.workers:
        raise ConfigError(
            f"there is room for {room} of {compute.workers} workers, each with {_named(each)}: "
            "lower `--workers` or `compute.cpus`."
        )


def files_to_ship(folder: Path) -> dict[str, Path]:
    """Return the files of a model directory by their relative path; in `_BASE` beside adapters are
    those of the directory that they are for.
    """
    places = {Path(): folder}
    for name, base in adapter_bases(folder).items():
        if (place := base_folder(base)) is not None:
            places[Path(name) / _BASE] = place
    return {
        str(inside / path.relative_to(place)): path
        for inside, place in places.items()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def use_shipped_bases(folder: Path) -> None:
    """Let adapters in a model directory that was shipped name what came with them."""
    for base in sorted(folder.rglob(_BASE)):
        settings = read_json(base.parent / ADAPTER_CONFIG)
        settings["base_model_name_or_path"] = str(base)
        atomic.write_json(base.parent / ADAPTER_CONFIG, settings)


def _collect(arriving: Iterator[Any], shards: Sequence[Shard]) -> None:
    """Write answers as they come into their shards, of which one is open at a time.

    Raises `RunError` where they do not come in order.
    """
    progress, began, rows = ProgressLine(), time.monotonic(), 0
    for file, shard in enumerate(shards):
        with shard.opened():
            for found in arriving:
                expected = (file, -1 if isinstance(found, End) else shard.next)
                if (found.file, getattr(found, "number", -1)) != expected:
                    raise RunError(
                        f"workers sent blocks out of order, expected {expected}: report this."
                    )
                if isinstance(found, End):
                    shard.finish(found.notes)
                    break
                shard.add(found.records, found.digest, found.types)
                rows += len(found.records)
                speed = rows / (time.monotonic() - began)
                progress.update(
                    f"{counted(rows, 'row', ',')} · {speed:,.0f} rows/s · file {file + 1}"
                )
            else:
                raise RunError(f"the workers ended before the rows of `{shard.path.name}` did.")
        progress.clear()
        for note in shard.notes:
            show(note)
