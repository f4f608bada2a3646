"""`ftr plan` beside what it plans: memory, seconds and disk of five runs, planned and measured.

    python benchmarks/plan.py [--only NAME] [--rows SHARE]

Each case is planned, then run, one after the other in processes of their own, with one cache. The
measured memory of a process is the largest peak (VmHWM) of any, that of all is the peak over time
of what the process and all below it hold (PSS, which counts shared pages once, every half second),
the disk is that of the output folder, the seconds are those of the whole command.
Needs an otherwise idle machine for the seconds; takes about twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from throughput import READERS, machine

# `auto` may choose another precision for the plan than for the run, where both are as fast.
SHARED = ("model=minilm", "data.test_size=0", "epochs=1", "train.precision=fp32")
SST2 = ("task=sentiment", *SHARED)
SQUAD = ("task=qa", *SHARED, "batch_size=16")


@dataclass(frozen=True, slots=True)
class Case:
    """What is planned and run, on so many training and validation rows."""

    name: str
    data: str
    rows: tuple[int, int]
    words: tuple[str, ...]
    kind: str = "run"


CASES = (
    Case("sentiment", "sst2", (4000, 800), SST2),
    Case("question answering", "squad", (300, 100), (*SQUAD, "data.max_length=384")),
    Case("LoRA", "sst2", (3000, 800), (*SST2, "train.lora.rank=8", "learning_rate=5e-4")),
    Case("two workers", "sst2", (3000, 600), (*SST2, "compute.workers=2")),
    Case(
        "sweep of eight",
        "sst2",
        (1000, 300),
        (*SST2, "learning_rate=loguniform(1e-5,1e-4)", "trials=8", "scheduler=fifo"),
        "sweep",
    ),
)


@dataclass(slots=True)
class Watch:
    """The peak of memory of a process and those below it, and of the bytes in a folder."""

    process: int
    folder: Path
    memory: int = 0
    largest: int = 0
    disk: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        """Look until `done`."""
        while not self.done.wait(0.5):
            held, largest = memory_of(self.process)
            self.memory, self.largest = max(self.memory, held), max(self.largest, largest)
            self.disk = max(self.disk, folder_bytes(self.folder))


def memory_of(process: int) -> tuple[int, int]:
    """Return the PSS of a process and of those below it, and the largest peak of any so far."""
    try:
        top = psutil.Process(process)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return 0, 0
    total = largest = 0
    for one in family:
        try:
            total += one.memory_full_info().pss
            status = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8")
        except (psutil.Error, OSError):
            continue
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        largest = max([largest, *(int(kilobytes) * 1024 for kilobytes in found)])
    return total, largest


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder; a file with several names counts once."""
    seen = {}
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except OSError:
            continue
        if path.is_file():
            seen[found.st_ino] = found.st_size
    return sum(seen.values())


def command(words: list[str], folder: Path, output: Path) -> tuple[dict[str, Any], float, Watch]:
    """Run `ftr` and return its answer, its seconds, and what was watched."""
    environment = {**os.environ, "FTR_CACHE": str(folder / "cache"), "FTR_PLUGINS": ""}
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "ftr", *words, f"output={output}", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watch = Watch(process.pid, output)
        thread = threading.Thread(target=watch)
        thread.start()
        answer, errors = process.communicate()
        seconds = time.monotonic() - began
        watch.done.set()
        thread.join()
    if process.returncode:
        sys.exit(f"{' '.join(words)}\nended with {process.returncode}:\n{errors[-3000:]}")
    return json.loads(answer), seconds, watch


def measure(case: Case, data: Path, share: float, extra: list[str]) -> list[str]:
    """Plan and run a case, and return the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="ftr-plan-") as name:
        folder = Path(name)
        words = list(case.words)
        for split, count in zip(("train", "validation"), case.rows, strict=True):
            path = folder / f"{split}.jsonl"
            rows = islice(READERS[case.data](data, split), max(int(count * share), 16))
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            path.write_text("".join(lines), encoding="utf-8")
            words.append(f"dataset.{split}={path}")
        output = folder / "runs"
        planned, planning, _ = command(["plan", case.kind, *words, *extra], folder, output)
        _, seconds, watch = command([case.kind, *words], folder, output)
        left = folder_bytes(output)
    print(f"{case.name}: planned in {planning:.0f} s, {json.dumps(planned['seconds'])}", flush=True)
    memory, peak = planned["memory"], watch.largest
    return [
        row(case.name, "a process, GB", max(memory["each"], memory["driver"]) / 1e9, peak / 1e9),
        row("", "all, GB", memory["total"] / 1e9, watch.memory / 1e9),
        row("", "seconds", planned["seconds"]["total"], seconds),
        row("", "disk, most, MB", planned["disk"]["peak"] / 1e6, max(watch.disk, left) / 1e6),
        row("", "disk, left, MB", planned["disk"]["left"] / 1e6, left / 1e6),
    ]


def row(name: str, what: str, planned: float, measured: float) -> str:
    """Return a row of the table."""
    print(
        f"{name:<20}{what:<16}{planned:10.2f}{measured:10.2f}{planned / measured:7.2f}", flush=True
    )
    return f"| {name} | {what} | {planned:.2f} | {measured:.2f} | {planned / measured:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=[case.name for case in CASES])
    parser.add_argument("--rows", type=float, default=1.0, help="share of the rows, to try it")
    parser.add_argument("--no-steps", action="store_true", help="plan by arithmetic")
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FTR_DATA", default)))
    args = parser.parse_args()
    print("\n".join(machine()), flush=True)
    rows = ["| run | what | planned | measured | planned / measured |", "|---|---|---:|---:|---:|"]
    for case in CASES:
        if args.only in (None, case.name):
            rows += measure(case, args.data, args.rows, ["--no-steps"] * args.no_steps)
    print("\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
