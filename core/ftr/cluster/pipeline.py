"""A Ray Data pipeline that reads on this machine, works on all nodes, and keeps the order."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

IN_FLIGHT = 2
"""Blocks that a worker has at a time: one it works on, and the next."""
_PACKED = "packed"


def packed(value: object) -> pa.Table:
    """Return a block that holds any value."""
    import pyarrow as pa

    return pa.table({_PACKED: [pickle.dumps(value)]})


def unpacked(table: pa.Table) -> Any:
    """Return the value of a block."""
    (value,) = table.column(_PACKED)
    return pickle.loads(value.as_py())  # noqa: S301 - the processes of this program packed it


def results(
    read: Callable[..., Iterator[pa.Table]],
    reading: Mapping[str, Any],
    work: Callable[..., Any],
    working: Mapping[str, Any],
    workers: int,
    each: Mapping[str, float],
) -> Iterator[Any]:
    """Yield what `workers` processes make of the blocks that `read` yields, in their order.

    `read` is called on this machine with a table of no meaning and `reading`; `work` with a block
    and `working`, or, if it is a class, once for each process with `working`, and then with blocks.
    A process has the resources `each`. What a lost node had is made again elsewhere: by a class
    only where a process of it finds room, so a function is better where it can be one.
    """
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    # Every table that a stage yields is a block of Ray's own: more would share a worker.
    context.target_max_block_size = 1
    custom = {name: one for name, one in each.items() if name not in ("CPU", "GPU", "memory")}
    dataset = (
        ray.data.from_items([0])
        .map_batches(
            read,
            fn_kwargs=dict(reading),
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=1),
            # The workers may take all cores, and it must run beside them, where the files are.
            num_cpus=0,
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        )
        .map_batches(
            work,
            **_strategy(work, working, workers),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=each["CPU"],
            num_gpus=each.get("GPU"),
            memory=each.get("memory"),
            resources=custom or None,
        )
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        if len(table):
            yield unpacked(table)


def _strategy(work: Callable[..., Any], working: Mapping[str, Any], workers: int) -> dict[str, Any]:
    import ray.data

    if not isinstance(work, type):
        return {"fn_kwargs": dict(working), "compute": ray.data.TaskPoolStrategy(size=workers)}
    # When a node is lost, its workers begin again elsewhere, where others must make room: so that a
    # pool of fixed size would wait for ever.
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        max_size=workers,
        initial_size=workers,
        max_tasks_in_flight_per_actor=IN_FLIGHT,
    )
    return {"fn_constructor_kwargs": dict(working), "compute": pool}
