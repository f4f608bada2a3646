"""Predictions of several files by a cluster of three nodes, of which one is killed half-way, beside
those of one machine: equal records, and the seconds of both.

    python benchmarks/predict_cluster.py RUN [--files 4] [--rows 50000] [--no-kill]

The files repeat the sentences of the sample data with numbers. The nodes are network namespaces of
this machine (root), else loopback addresses, with one core each: they share its processor, so that
their rows/s are no measure of scaling. Records are compared column by column; numbers must agree
within 1e-5.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from clusters import Cluster, Size, ray_cluster  # noqa: E402

SAMPLE = PROJECT / "plugins" / "ftr_plugins" / "data"


def main() -> int:
    """Run the command line; returns 0 when the records are equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a run of a head that reads one text")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rows", type=int, default=50_000, help="of each file")
    parser.add_argument("--no-kill", action="store_true", help="leave all nodes alive")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftr-predict-") as scratch:
        folder = Path(scratch)
        files = write(folder / "in", args.files, args.rows)
        began = time.monotonic()
        for file in files:
            predict(args.run, str(file), "--output", str(folder / f"{file.stem}.parquet"))
        alone = time.monotonic() - began
        with ray_cluster(*[Size(cpus=1)] * 3) as cluster:
            output, address = folder / "out", f"compute.address={cluster.address}"
            if not args.no_kill:
                threading.Thread(
                    target=kill_half_way, args=(cluster, output, args.files // 2), daemon=True
                ).start()
            began = time.monotonic()
            predict(args.run, str(folder / "in"), "--output", str(output), address)
            together, nodes = time.monotonic() - began, len(cluster.nodes)
        changed = sum(
            differences(folder / f"{file.stem}.parquet", shard)
            for file, shard in zip(files, sorted(output.glob("*.parquet")), strict=True)
        )
    rows = args.files * args.rows
    print(f"{rows:,} rows in {args.files} files; nodes left: {nodes} of 3")
    print(f"one machine: {alone:.1f} s, {rows / alone:,.0f} rows/s")
    print(f"cluster:     {together:.1f} s, {rows / together:,.0f} rows/s")
    print(f"rows that differ: {changed}")
    return 1 if changed else 0


def write(folder: Path, files: int, rows: int) -> list[Path]:
    """Write files of numbered sentences."""
    folder.mkdir()
    sentences, number, paths = list(sample()), 0, []
    for index in range(files):
        path = folder / f"{index:03d}.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "text"])
            for _ in range(rows):
                writer.writerow([number, f"{sentences[number % len(sentences)]} {number}"])
                number += 1
        paths.append(path)
    return paths


def sample() -> Iterator[str]:
    """Yield the texts of the shipped sample of sentiments."""
    for path in sorted(SAMPLE.rglob("*sentiment*")):
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as stream:
                yield from (row["text"] for row in csv.DictReader(stream))
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as stream:
                yield from (json.loads(line)["text"] for line in stream)


def predict(*words: str) -> None:
    """Run `ftr predict` in a process of its own."""
    subprocess.run([sys.executable, "-m", "ftr", "predict", *words], check=True)


def kill_half_way(cluster: Cluster, output: Path, done: int) -> None:
    """Kill the last node once half of the files are done, or of one file a block."""
    while len(list(output.glob("*.parquet"))) < max(done, 1):
        time.sleep(0.1)
    cluster.kill(cluster.nodes[-1])


def differences(first: Path, second: Path) -> int:
    """Return how many rows of two files differ."""
    from pyarrow import parquet

    rows = [parquet.read_table(path).to_pylist() for path in (first, second)]
    changed = abs(len(rows[0]) - len(rows[1]))
    return changed + sum(not alike(a, b) for a, b in zip(*rows, strict=False))


def alike(one: object, other: object) -> bool:
    """Whether two values are equal, numbers within 1e-5."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-5
    return one == other


if __name__ == "__main__":
    sys.exit(main())
