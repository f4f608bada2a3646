"""Encode long splits on the nodes of a cluster: Ray Data sends pieces of rows from this machine and
brings back their features, in order.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterator, Mapping
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftr import atomic
from ftr.cluster.pipeline import packed, results, unpacked
from ftr.config.schema import ComputeConfig
from ftr.data.encode import Encoded, Encoder, Recipe, Spread
from ftr.data.workers import Piece, in_processes
from ftr.errors import ConfigError, RunError, counted, in_one_line
from ftr.registry.registry import Registry
from ftr.runs.launch import connected, own_error
from ftr.terminal import quiet_libraries, show

if TYPE_CHECKING:
    import pyarrow as pa

MANY = 200_000
"""Rows of a split from which on a cluster encodes it: its processes take ten seconds to begin."""
TOGETHER = 10
"""Pieces that are sent as one block."""


def on_nodes(compute: ComputeConfig, registry: Registry) -> Spread | None:
    """Return what encodes on the nodes of `compute.address`; None without one, and in a trial,
    whose nodes are busy.
    """
    if compute.address is None or _is_worker():
        return None
    return partial(_encode, compute, registry)


def _is_worker() -> bool:
    import ray

    return ray.is_initialized() and ray.get_runtime_context().get_task_id() is not None


def _encode(
    compute: ComputeConfig, registry: Registry, recipe: Recipe, pieces: Iterator[Piece], rows: int
) -> Generator[Encoded | Piece]:
    if rows < MANY:
        yield from in_processes(recipe, pieces, rows)
        return
    with connected(compute, registry, show), atomic.scratch("encode") as folder:
        path = Path(folder) / "blocks"
        with atomic.writing(path, "Free space, or set another folder with `TMPDIR`."):
            _write(path, pieces)
        each = {"CPU": 1.0, **compute.resources}
        workers = _room(each)
        show(f"encoding {rows:,} rows on {counted(workers, 'core')} of the cluster")
        working = {"recipe": pickle.dumps(recipe)}
        blocks = results(_read, {"path": str(path)}, _work, working, workers, each)
        try:
            for expected, (number, block) in enumerate(blocks):
                if number != expected:
                    raise RunError(f"the nodes sent block {number} in place of {expected}.")
                yield from block
        except Exception as error:
            if (own := own_error(error)) is not None:
                raise own from error
            if type(error).__module__.partition(".")[0] != "ray":
                raise
            raise RunError(f"the cluster failed to encode rows: {in_one_line(error)}") from error


def _room(each: Mapping[str, float]) -> int:
    """Return how many processes the cluster has room for. Raises `ConfigError` for none."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = sum(
        min(int(have.get(name, 0.0) // amount) for name, amount in each.items() if amount)
        for have in nodes
    )
    if not found:
        raise ConfigError("the cluster has no node with a core and `compute.resources`.")
    return found


def _write(path: Path, pieces: Iterator[Piece]) -> None:
    with path.open("wb") as stream:
        while block := list(islice(pieces, TOGETHER)):
            pickle.dump(block, stream, pickle.HIGHEST_PROTOCOL)


def _read(_: pa.Table, path: str) -> Iterator[pa.Table]:
    """Yield the numbered blocks of a file."""
    with Path(path).open("rb") as stream:
        for number in count():
            try:
                block = pickle.load(stream)  # noqa: S301 - of this program
            except EOFError:
                return
            yield packed((number, block))


def _work(table: pa.Table, recipe: bytes) -> pa.Table:
    """Return the block in `table` with its pieces encoded; those that cannot be stay.

    Raises `DataError` where the code of this node is other code.
    """
    encoder = _encoder(recipe)
    number, block = unpacked(table)
    return packed((number, [_encoded(encoder, piece) for piece in block]))


@lru_cache(maxsize=1)
def _encoder(recipe: bytes) -> Encoder:
    """Make the encoder, once for each process."""
    quiet_libraries()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a process has one core
    made: Recipe = pickle.loads(recipe)  # noqa: S301 - of this program
    return made.encoder()


def _encoded(encoder: Encoder, piece: Piece) -> Encoded | Piece:
    try:
        return encoder(*piece)
    except (Exception, SystemExit):
        return piece
