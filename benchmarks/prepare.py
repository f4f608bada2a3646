"""Memory and processor time of preparing rows: reading, preparing (checks, classes, splits,
duplicates) and hashing, before anything is encoded.

    python benchmarks/prepare.py [--rows 100000 1000000] [--formats csv jsonl parquet]

The rows are made up here: texts of about 200 characters, two classes, one text in a thousand
repeated, one row in ten thousand without a class. Each case runs in a process of its own. Per step:
seconds of processor time, and the peak of the memory that is resident (VmHWM) from the start of
the process to the end of the step, libraries included; `growth` is that of the last step less what
the process held before reading.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FORMATS = ("csv", "jsonl", "parquet")
WORDS = (
    *("the", "film", "was", "and", "story", "with", "very", "good", "bad", "great", "poor", "long"),
    *("short", "funny", "boring", "actor", "scene", "music", "never", "always", "ending", "plot"),
)


def made_up(count: int) -> Iterator[tuple[str, str]]:
    """Yield texts of about 200 characters and their classes."""
    draw = random.Random(0)
    text = ""
    for number in range(count):
        if number % 1000 != 999:
            text = f"{number} {' '.join(draw.choices(WORDS, k=36))}"
        yield text, "" if number % 10000 == 5000 else ("negative", "positive")[number % 2]


def write(folder: Path, form: str, count: int) -> Path:
    """Write the rows as a file of a format, and return its path."""
    path = folder / f"reviews.{form}"
    if form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        schema = pa.schema([("text", pa.string()), ("label", pa.string())])
        with parquet.ParquetWriter(path, schema) as file:
            rows = made_up(count)
            while piece := [row for row, _ in zip(rows, range(10_000), strict=False)]:
                columns = [pa.array(cells) for cells in zip(*piece, strict=True)]
                file.write_table(pa.table(columns, schema=schema))
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        if form == "csv":
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(made_up(count))
        else:
            file.writelines(
                json.dumps({"text": text, "label": label}) + "\n" for text, label in made_up(count)
            )
    return path


def memory(key: str) -> float:
    """Return `VmHWM` (the peak) or `VmRSS` of this process, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def measure(path: Path) -> None:
    """Prepare a file, and print the figures of each step as JSON."""
    import pyarrow.parquet  # noqa: F401 (not a cost of the first step)

    from ftr.config.schema import DataConfig
    from ftr.data.encode import rows_sha256
    from ftr.data.prepare import prepare_rows
    from ftr.data.read import load_rows
    from ftr.registry.registry import Registry
    from ftr_plugins.classification.head import SequenceClassificationHead

    registry, head, data = Registry([]), SequenceClassificationHead(), DataConfig()
    before = memory("VmRSS")
    figures: dict[str, list[float]] = {}

    def step(name: str, work: Callable[[], T]) -> T:
        began = time.process_time()
        result = work()
        figures[name] = [time.process_time() - began, memory("VmHWM")]
        return result

    loaded = step("read", lambda: load_rows(str(path), {}, registry, head.schema))
    prepared = step("prepare", lambda: prepare_rows(loaded, head, data))
    loaded.splits.clear()  # as `ftr run` does
    hashes = step(
        "hash", lambda: {name: rows_sha256(rows) for name, rows in prepared.splits.items()}
    )
    used = {name: len(rows) for name, rows in prepared.splits.items()}
    print(
        json.dumps(
            {
                "steps": figures,
                "growth": memory("VmHWM") - before,
                "used": used,
                "rejected": len(prepared.rejected),
                "hashes": hashes,
            }
        )
    )


def main() -> None:
    """Measure each format and number of rows, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        measure(options.file)
        return
    print("| rows | format | MB | read s | prepare s | hash s | total s | peak MiB | growth MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for count in options.rows:
        for form in options.formats:
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder), form, count)
                command = [sys.executable, __file__, "--file", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                found = json.loads(done.stdout)
                size = path.stat().st_size / 1e6
            steps = found["steps"]
            seconds = [second for second, _ in steps.values()]
            cells = [f"{second:.1f}" for second in (*seconds, sum(seconds))]
            peak = max(peak for _, peak in steps.values())
            print(
                f"| {count:,} | {form} | {size:.0f} | {' | '.join(cells)} | {peak:.0f} | "
                f"{found['growth']:.0f} |"
            )
            print(f"{steps} {found['used']} {found['rejected']} {found['hashes']}", file=sys.stderr)


if __name__ == "__main__":
    main()
