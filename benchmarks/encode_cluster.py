"""Encoding by a cluster of three nodes, of which one is killed half-way, beside one machine: equal
files, and the seconds of both.

    python benchmarks/encode_cluster.py [--rows 2000000] [--model minilm] [--no-kill]

The rows are the sentences of the sample data with numbers, made as they are read. The nodes are
network namespaces of this machine (root), else loopback addresses, with one core each: they share
its processor, so that their rows/s are no measure of scaling.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from ftr.cluster import pipeline
from ftr.config.resolve import resolve
from ftr.data.encode import ROWS_PER_CALL, encode_rows
from ftr.model.components import encode_settings, make_head, make_model
from ftr.registry.registry import get_registry
from ftr.runs.encode import TOGETHER, on_nodes

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from clusters import Cluster, Size, ray_cluster  # noqa: E402
from predict_cluster import sample  # noqa: E402

if TYPE_CHECKING:
    from ftr.data.encode import StoredSplit
    from ftr.registry.protocols import Row


class Numbered(Sequence["Row"]):
    """Rows that are made as they are read."""

    def __init__(self, count: int) -> None:
        self.texts, self.size = list(sample()), count

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, range(self.size))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self._row(number) for number in range(self.size)[at]]
        return self._row(range(self.size)[at])

    def _row(self, number: int) -> Row:
        text = f"{self.texts[number % len(self.texts)]} {number}"
        return {"id": str(number), "text": text, "label": number % 2}


def main() -> int:
    """Run the command line; returns 0 when the files are equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--no-kill", action="store_true", help="leave all nodes alive")
    args = parser.parse_args()
    words, rows = ["task=sentiment", f"model={args.model}"], Numbered(args.rows)
    with tempfile.TemporaryDirectory(prefix="ftr-encode-") as scratch:
        alone, seconds = encode(rows, Path(scratch) / "alone", words)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"one machine: {seconds:.1f} s, {args.rows / seconds:,.0f} rows/s, {peak:,.0f} MB")
        with ray_cluster(*[Size(cpus=1)] * 3) as cluster:
            half = killing(cluster, args.rows) if not args.no_kill else pipeline.results
            words.append(f"compute.address={cluster.address}")
            with mock.patch("ftr.runs.encode.results", half):
                together, seconds = encode(rows, Path(scratch) / "together", words)
            print(f"cluster:     {seconds:.1f} s, {args.rows / seconds:,.0f} rows/s")
            print(f"{args.rows:,} rows; nodes left: {len(cluster.nodes)} of 3")
        same = hashes(alone) == hashes(together)
    print(f"files are {'equal' if same else 'NOT EQUAL'}")
    return 0 if same else 1


def encode(rows: Sequence[Row], cache: Path, words: Sequence[str]) -> tuple[StoredSplit, float]:
    """Encode rows for a configuration; returns them and the seconds."""
    registry = get_registry()
    config = resolve([*words, f"data.cache={cache}"], registry).config
    head, model = make_head(registry, config.head), make_model(registry, config.model)
    settings, spread = encode_settings(config, model, ("a", "b"), []), None
    if config.compute.address:
        spread = on_nodes(config.compute, registry)
    began = time.monotonic()
    stored = encode_rows(config, registry, head, model.tokenizer(), settings, rows, spread)
    return stored, time.monotonic() - began


def killing(cluster: Cluster, rows: int) -> Any:
    """Return `results` that kills the last node once half of the blocks are there."""
    half = rows // (2 * ROWS_PER_CALL * TOGETHER)

    def results(*asked: Any) -> Iterator[Any]:
        for number, block in enumerate(pipeline.results(*asked)):
            if number == half:
                cluster.kill(cluster.nodes[-1])
            yield block

    return results


def hashes(split: StoredSplit) -> Any:
    """Return size and hash of the files of a split, and its notes."""
    record = json.loads((Path(split.rows).parent / "split.json").read_text(encoding="utf-8"))
    return record["files"], record["notes"], record["sha256"]


if __name__ == "__main__":
    sys.exit(main())
