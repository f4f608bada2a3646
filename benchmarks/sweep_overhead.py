"""What a trial of a sweep costs beyond its training, and whether memory grows: a hundred trials of
a tiny model on 64 rows.

`ftr sweep` runs as a process of its own, two trials at a time, each trained to its end. The
overhead of a trial is the time from the end of the trial before it in the same process to its own
end, by the journal, less the seconds of training and evaluation its `run.json` tells; the first
trial of each process is left out, for it starts the process. Memory is the proportional share (PSS)
of the driver and of the processes that train, looked at when a trial ends.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, linear_regression, median
from typing import Any

from measuring import SLOTS, Event, Journal, begin, finished, memory, tiny_checkpoint, write_rows

ROWS = 64
MB, KB = 1e6, 1e3


@dataclass(slots=True)
class Ends:
    """The ends of trials as they came: their records, the driver's memory and that of the processes
    that train, in bytes.
    """

    times: list[float] = field(default_factory=list)
    starts: dict[int, float] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    driver: list[int] = field(default_factory=list)
    trainers: list[float] = field(default_factory=list)

    def take(self, event: Event, sweep: Path, driver: int) -> None:
        """Note an event; look at memory when it is an end."""
        if event["event"] == "start":
            self.starts[event["trial"]] = event["time"]
        if event["event"] != "end":
            return
        if event["status"] != "done":
            sys.exit(f"trial {event['trial']}: {event['status']}, {event['cause']}")
        run = json.loads(
            (sweep / "trials" / f"{event['trial']:04d}" / "run.json").read_text(encoding="utf-8")
        )
        self.times.append(event["time"])
        self.runs.append(run)
        held = [
            memory(process) for process in {known["process"] for known in self.runs[-2 * SLOTS :]}
        ]
        self.driver.append(memory(driver))
        self.trainers.append(fmean(found for found in held if found) if any(held) else 0.0)

    def overheads(self) -> Iterator[tuple[float, float]]:
        """Yield seconds beyond training and evaluation for each trial but the first of its process.

        First from the end of the one before it, then from its own start as the driver saw it.
        """
        before: dict[int, float] = {}
        for ended, run in zip(self.times, self.runs, strict=True):
            used = run["timings"]["train"] + run["timings"]["evaluate"]
            if run["process"] in before:
                yield (
                    ended - before[run["process"]] - used,
                    ended - self.starts[run["trial"]] - used,
                )
            before[run["process"]] = ended


def main() -> None:
    """Measure and print."""
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="ftr-bench-") as place:
        ends, whole = measure(args, Path(place))
    found = figures(args, ends, whole)
    if args.json:
        print(
            json.dumps(
                {
                    **found,
                    "memory at each end, bytes": {
                        "driver": ends.driver,
                        "a process that trains": ends.trainers,
                    },
                }
            )
        )
        return
    width = max(map(len, found))
    print("\n".join(f"{key:<{width}}  {value:>10.4g}" for key, value in found.items()))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument(
        "--settled", type=int, default=20, help="memory is compared from this trial on"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not 1 <= args.settled < args.trials:
        parser.error("`--settled` is at least 1 and below `--trials`")
    return args


def measure(args: argparse.Namespace, folder: Path) -> tuple[Ends, float]:
    """Run the sweep; return its ends and the seconds of the whole command."""
    files = write_rows(folder, None, ROWS, ROWS // 2)
    settings = [
        "task=sentiment",
        f"model={tiny_checkpoint(folder / 'tiny')}",
        "epochs=1",
        "data.test_size=0",
    ]
    settings += [f"dataset.{split}={path}" for split, path in files.items()]
    settings += [
        "learning_rate=loguniform(1e-5,1e-3)",
        "batch_size=choice(8,16,32)",
        "searcher=random",
        "scheduler=fifo",
    ]
    settings += [
        f"trials={args.trials}",
        f"max_concurrent={SLOTS}",
        "compute.cpus=1",
        f"output={folder / 'runs'}",
        "--json",
    ]
    began = time.monotonic()
    process = begin(["-m", "ftr", "sweep", *settings], folder)
    ends = followed(process, Journal(folder / "runs"))
    finished(process, folder)
    return ends, time.monotonic() - began


def followed(process: subprocess.Popen[str], journal: Journal) -> Ends:
    """Look at the sweep until its process has ended."""
    ends = Ends()
    for event in journal.follow(process):
        ends.take(event, journal.sweep, process.pid)
    return ends


def figures(args: argparse.Namespace, ends: Ends, whole: float) -> dict[str, float]:
    """Return what was measured: seconds unless the key tells otherwise."""
    between, own = zip(*ends.overheads(), strict=True)
    used = [run["timings"]["train"] + run["timings"]["evaluate"] for run in ends.runs]
    found = {
        "trials": float(len(ends.runs)),
        "processes that trained": float(len({run["process"] for run in ends.runs})),
        "seconds of the whole command": whole,
        "trials a second, first start to last end": len(ends.runs)
        / (ends.times[-1] - min(ends.starts.values())),
        "training and evaluation a trial, mean": fmean(used),
        "overhead a trial, mean": fmean(between),
        "overhead a trial, median": median(between),
        "overhead a trial, largest": max(between),
        "of it from the driver's start of the trial to its end, mean": fmean(own),
    }
    for name, held in (("driver", ends.driver), ("a process that trains", ends.trainers)):
        late = held[args.settled - 1 :]
        found[f"memory of {name} at trial {args.settled}, MB"] = late[0] / MB
        found[f"memory of {name} at trial {len(held)}, MB"] = late[-1] / MB
        found[f"growth of {name} from {args.settled} on, kB a trial"] = (
            linear_regression(range(len(late)), late).slope / KB
        )
    return found


if __name__ == "__main__":
    main()
