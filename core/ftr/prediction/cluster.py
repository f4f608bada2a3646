"""Predictions for many files on many workers: a Ray Data pipeline that reads here, answers blocks
on the workers, and writes shards here, in the order of the rows.

Nodes need neither the files nor the folder of the output: blocks, the model and what a source asks
for go through Ray's object store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.schema import ComputeConfig
from ftr.data.stream import Reader, Source
from ftr.errors import RunError, in_one_line
from ftr.prediction.blocks import Block, Options, answer, blocks
from ftr.prediction.job import Part, same_input
from ftr.prediction.shards import Shard
from ftr.registry import trust
from ftr.registry.registry import Registry, get_registry
from ftr.runs.launch import RAY_SETTINGS, connected, own_error, worker_resources
from ftr.runs.predictor import load

if TYPE_CHECKING:
    import pyarrow as pa

    from ftr.registry.schema import RowSchema

IN_FLIGHT = 2
"""Blocks that a worker has at a time: one it answers, and the next."""
OF_SOURCES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "HF_", "FSSPEC_", "S3_")
"""How the environment variables begin that sources of rows ask for."""
_PACKED = "packed"
_EVERY = 10.0
"""Seconds between two lines on how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file to read, how, and the blocks of it that are done."""

    source: str
    options: Mapping[str, object]
    done: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The records of a block and the hash of its rows; without any they are the end of a file, with
    the notes of its reader.
    """

    file: int
    number: int = -1
    records: Sequence[Mapping[str, Any]] = ()
    digest: str = ""
    notes: tuple[str, ...] = ()


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
            yield Path(scratch) / "shipped"


def read(
    _: pa.Table, inputs: Sequence[Input], schema: RowSchema, environment: Any
) -> Iterator[pa.Table]:
    """Yield the blocks of all inputs, one to a table, and an end for each file.

    Raises `DataError` for a file that cannot be read, and `RequestError` where blocks that are done
    had other rows.
    """
    import ray

    os.environ.update(ray.get(environment))
    for file, one in enumerate(inputs):
        source = Source.open(one.source)
        try:
            reader = Reader.of(source, schema, one.options)
            for block in blocks(reader):
                if block.number < len(one.done):
                    part = one.done[block.number]
                    same_input(block.first, part, len(block.lines), block.digest())
                else:
                    yield _packed((file, block))
            yield _packed((file, tuple(reader.notes)))
        finally:
            source.close()


class Worker:
    """Answers blocks; each process of the pool has one, with the model."""

    def __init__(self, model: Model, options: Options, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.options = options
        with model.here() as folder:
            self.predictor = load(
                folder,
                registry=get_registry(),
                precision=model.precision,
                backend=model.backend,
            )

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the `Answers` of the one block in `table`."""
        file, given = _unpacked(table)
        if not isinstance(given, Block):
            return _packed(Answers(file=file, notes=given))
        records = answer(given, self.predictor, self.options)
        return _packed(
            Answers(file=file, number=given.number, records=records, digest=given.digest())
        )


def _packed(value: object) -> pa.Table:
    import pyarrow as pa

    return pa.table({_PACKED: [pickle.dumps(value)]})


def _unpacked(table: pa.Table) -> Any:
    (packed,) = table.column(_PACKED)
    return pickle.loads(packed.as_py())


def predict_on_workers(
    folder: Path,
    inputs: Sequence[Input],
    shards: Sequence[Shard],
    schema: RowSchema,
    options: Options,
    *,
    compute: ComputeConfig,
    registry: Registry,
    say: Callable[[str], None],
    precision: str = "fp32",
    backend: str = "torch",
) -> None:
    """Answer the rows of `inputs` with the model in `folder`, and write each into its shard.

    `compute.workers` processes, 0: one for each GPU of the cluster, or for each node; as many
    resources as `worker_resources` says. Raises what reading raises, `ConfigError` where there is no
    room for a single worker, and `RunError`.
    """
    bases = {trust.BASES: os.environ[trust.BASES]} if trust.BASES in os.environ else {}
    with connected(compute, registry, say, {**RAY_SETTINGS, **bases}):
        import ray

        compute = _sized(compute)
        each = worker_resources(compute)
        _check_room(compute, each)
        files = None if compute.address is None else _shipped(folder)
        model = Model(folder=str(folder), files=files, precision=precision, backend=backend)
        environment = {name: one for name, one in os.environ.items() if name.startswith(OF_SOURCES)}
        reading = {"inputs": inputs, "schema": schema, "environment": ray.put(environment)}
        working = {"model": model, "options": options, "threads": max(int(each["CPU"]), 1)}
        try:
            _collect(_pipeline(reading, working, compute.workers, each), shards, say)
        except Exception as error:
            own = own_error(error)
            if own is not None:
                raise own from error
            if type(error).__module__.partition(".")[0] != "ray":
                raise
            raise RunError(f"the workers failed: {in_one_line(error)}") from error


def _sized(compute: ComputeConfig) -> ComputeConfig:
    """Return `compute` with a number of workers: one for each GPU, else for each node."""
    import ray

    if compute.workers:
        return compute
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(one.get("GPU", 0) for one in nodes))
    if gpus:
        return compute.model_copy(update={"workers": gpus, "cpus": compute.cpus or 1})
    cores = [one["CPU"] for one in nodes if one.get("CPU")]
    # Nodes may differ: a larger one has room for several workers of the smallest one's size.
    each = compute.cpus or min(cores, default=1.0)
    workers = max(int(sum(one // each for one in cores)), 1)
    return compute.model_copy(update={"workers": workers, "cpus": each})


def _check_room(compute: ComputeConfig, each: Mapping[str, float]) -> None:
    import ray

    from ftr.errors import ConfigError

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        min(int(have.get(name, 0.0) // amount) for name, amount in each.items() if amount)
        for have in nodes
    )
    if room < compute.workers:
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in each.items())
        raise ConfigError(
            f"there is room for {room} of {compute.workers} workers, each with {wanted}: lower "
            "`--workers` or `compute.cpus`."
        )


def _shipped(folder: Path) -> dict[str, Any]:
    import ray

    return {
        str(path.relative_to(folder)): ray.put(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _pipeline(
    reading: dict[str, Any], working: dict[str, Any], workers: int, each: Mapping[str, float]
) -> Any:
    """Return the dataset of Ray that reads, answers and keeps the order."""
    import ray
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    # Every table that a stage yields is a block of Ray's own: more would share a worker.
    context.target_max_block_size = 1
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    custom = {name: one for name, one in each.items() if name not in ("CPU", "GPU", "memory")}
    return (
        ray.data.from_items([0])
        .map_batches(
            read,
            fn_kwargs=reading,
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=1),
            # The workers may take all cores, and it must run beside them.
            num_cpus=0,
            scheduling_strategy=here,
        )
        .map_batches(
            Worker,
            fn_constructor_kwargs=working,
            batch_size=None,
            batch_format="pyarrow",
            # When a node is lost, its workers begin again elsewhere, where others must make room:
            # so that a pool of fixed size would wait for ever.
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=workers,
                initial_size=workers,
                max_tasks_in_flight_per_actor=IN_FLIGHT,
            ),
            num_cpus=each["CPU"],
            num_gpus=each.get("GPU"),
            memory=each.get("memory"),
            resources=custom or None,
        )
    )


def _collect(dataset: Any, shards: Sequence[Shard], say: Callable[[str], None]) -> None:
    """Write answers as they come into their shards, of which one is open at a time."""
    rows, began, said = 0, time.monotonic(), time.monotonic()
    arriving = (
        _unpacked(table)
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        if len(table)
    )
    for file, shard in enumerate(shards):
        with shard.opened():
            for found in arriving:
                if (found.file, found.number) not in ((file, shard.next), (file, -1)):
                    raise RunError(
                        f"block {found.number} of file {found.file} came in the place of block "
                        f"{shard.next} of file {file}: begin again with `--overwrite`."
                    )
                if found.number < 0:
                    shard.close(found.notes)
                    break
                shard.add(found.records, found.digest)
                rows += len(found.records)
                if time.monotonic() - said > _EVERY:
                    said = time.monotonic()
                    say(f"{rows:,} rows, {rows / (said - began):,.0f} a second")
            else:
                raise RunError(f"the workers ended before the rows of `{shard.path.name}` did.")
