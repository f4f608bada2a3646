"""Preparing data: processor time and memory from file to rows that are ready to encode.

Rows of about 200 bytes are made up and written as CSV, JSON lines and Parquet; a process of its own
reads, checks, numbers, splits and compares them, as `ftr run task=sentiment` does. `--profile`
prints the functions that take longest, of one format.
"""

import argparse
import cProfile
import csv
import json
import pstats
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from measuring import WORDS
from throughput import machine

FORMATS = ("csv", "jsonl", "parquet")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.file is not None:
        measure(args.file, args.profile)
        return
    print("\n".join(machine()))
    print("| format | rows | file | read | prepare | memory of reading | of all |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for count in args.rows:
            for name in args.formats:
                file = write(Path(scratch) / f"rows.{name}", count)
                words = [sys.executable, __file__, "--file", str(file)]
                words += ["--profile"] * args.profile
                size = f"{file.stat().st_size / 1e6:.0f} MB"
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                print(f"| {name} | {count:,} | {size} | {done.stdout.strip()}", flush=True)
                file.unlink()


def write(file: Path, count: int) -> Path:
    """Write made-up reviews of three classes, 200 bytes each."""
    rng = random.Random(0)
    rows = (
        {
            "text": f"{number} " + " ".join(rng.choices(WORDS, k=36)),
            "label": ("bad", "good", "so so")[number % 3],
        }
        for number in range(count)
    )
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema({"text": pa.string(), "label": pa.string()})
        with pq.ParquetWriter(file, schema) as table:
            while some := list(islice(rows, 100_000)):
                table.write_table(pa.Table.from_pylist(some, schema))
        return file
    with file.open("w", encoding="utf-8", newline="") as stream:
        if file.suffix == ".csv":
            writer = csv.DictWriter(stream, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    return file


def measure(file: Path, profile: bool) -> None:
    """Read and prepare a file; print the processor seconds of both and the largest memory."""
    from ftr.config.schema import Component, DataConfig
    from ftr.data.prepare import prepare_rows
    from ftr.data.read import load_rows
    from ftr.model.components import make_head
    from ftr.registry.registry import get_registry

    registry = get_registry()
    head = make_head(registry, Component(name="sequence-classification"))
    profiler = cProfile.Profile()
    before = memory()
    if profile:
        profiler.enable()
    began = time.process_time()
    loaded = load_rows(str(file), {}, registry, head.schema)
    read, reading = time.process_time(), memory() - before
    prepared = prepare_rows(loaded, head, DataConfig())
    done = time.process_time()
    profiler.disable()
    splits = {name: len(rows) for name, rows in prepared.splits.items()}
    print(
        f"{read - began:.1f} s | {done - read:.1f} s | {reading} MB | "
        f"{memory() - before} MB above {before} MB |"
    )
    print(splits, file=sys.stderr)
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def memory() -> int:
    """Return the largest resident memory of this program so far, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
