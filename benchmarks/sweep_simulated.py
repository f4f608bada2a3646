"""A thousand trials that do not train, through the same code: how fast the driver is, what it
holds, how soon it resumes.

For each searcher two sweeps run, each a process of its own (`simulated.py` tells what is simulated:
the training alone). One is left alone; the driver of the other is killed (kill -9) after seven
tenths of its trials, and `ftr resume` runs the rest.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from measuring import (
    SLOTS,
    Event,
    Journal,
    begin,
    family,
    finished,
    memory,
    tiny_checkpoint,
    write_rows,
)
from throughput import HERE

SEARCHERS = ("random", "optuna")
KILLED_AT = 0.7
PART = 100
"""Trials at the beginning and at the end whose speed is compared."""


def main() -> None:
    """Measure and print."""
    args = arguments()
    found = {}
    with tempfile.TemporaryDirectory(prefix="ftr-bench-") as place:
        folder = Path(place)
        settings, template = setup(folder)
        for searcher in args.searchers:
            words = [
                *settings,
                f"searcher={searcher}",
                f"scheduler={args.scheduler}",
                f"trials={args.trials}",
                f"max_concurrent={args.at_once}",
            ]
            found[searcher] = {
                **left_alone(words, template, folder, args.trials),
                **killed(words, template, folder, args.trials),
            }
            print(f"{searcher}: {json.dumps(found[searcher])}", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(table(found, args)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=list(SEARCHERS))
    parser.add_argument("--scheduler", choices=("asha", "fifo", "median"), default="asha")
    parser.add_argument("--at-once", type=int, default=SLOTS, help="trials at a time")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.trials < 2 * PART:
        parser.error(f"`--trials` is at least {2 * PART}")
    return args


def setup(folder: Path) -> tuple[list[str], Path]:
    """Return the settings of all sweeps, and the run directory of one real trial."""
    files = write_rows(folder, None, 64, 32)
    settings = [
        "task=sentiment",
        f"model={tiny_checkpoint(folder / 'tiny')}",
        "data.test_size=0",
        "compute.cpus=1",
    ]
    settings += [f"dataset.{split}={path}" for split, path in files.items()]
    settings += [
        "learning_rate=loguniform(1e-5,1e-3)",
        "batch_size=choice(8,16,32)",
        "epochs=choice(1,2,3)",
    ]
    real = Journal(folder / "real")
    finished(
        begin(["-m", "ftr", "sweep", *settings, "trials=1", f"output={real.output}"], folder),
        folder,
    )
    return settings, real.sweep / "trials" / "0000"


def place(template: Path, folder: Path, name: str) -> Journal:
    """Return an output folder with the template in it."""
    shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(template, folder / name / "template")
    return Journal(folder / name)


def left_alone(words: list[str], template: Path, folder: Path, trials: int) -> dict[str, float]:
    """Run a sweep to its end."""
    journal = place(template, folder, "alone")
    began = time.time()
    process = begin(
        [str(HERE / "simulated.py"), "sweep", *words, f"output={journal.output}"], folder
    )
    held: dict[int, float] = {}
    starts, ends, stop = [], [], 0.0
    for event in journal.follow(process):
        if event["event"] == "start":
            starts.append(event["time"])
        elif event["event"] == "end":
            ends.append(event["time"])
            if len(ends) in (PART, trials):
                held[len(ends)] = memory(process.pid) / 1e6
        elif event["event"] == "stop":
            stop = event["time"]
    finished(process, folder)
    return {
        "trials a second": trials / (ends[-1] - starts[0]),
        f"trials a second, the first {PART}": PART / (ends[PART - 1] - starts[0]),
        f"trials a second, the last {PART}": (PART - 1) / (ends[-1] - ends[-PART]),
        f"memory of the driver at trial {PART}, MB": held[PART],
        f"memory of the driver at trial {trials}, MB": held[trials],
        "journal, kB": (journal.sweep / "journal.jsonl").stat().st_size / 1e3,
        "seconds from the command to the first trial": starts[0] - began,
        "seconds from the last trial to the end: ranking, winner, pictures": time.time() - stop,
    }


def killed(words: list[str], template: Path, folder: Path, trials: int) -> dict[str, float]:
    """Kill the driver of a sweep and resume it. Stops when a trial was lost, or ended twice."""
    journal = place(template, folder, "killed")
    process = begin(
        [str(HERE / "simulated.py"), "sweep", *words, f"output={journal.output}"], folder
    )
    events = until(round(KILLED_AT * trials), journal, process)
    left = family(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(left, timeout=30)
    for other in alive:
        print(f"outlived the driver: {_name(other)}", file=sys.stderr, flush=True)
        other.kill()
    events += journal.new()
    done = sum(event["event"] == "end" for event in events)
    began = time.time()
    process = begin([str(HERE / "simulated.py"), "resume", str(journal.sweep)], folder)
    later = list(journal.follow(process))
    finished(process, folder)
    check(events + later, trials)
    first = next(place for place, event in enumerate(later) if event["event"] == "resume")
    start = next(event["time"] for event in later[first:] if event["event"] == "start")
    return {
        "trials done when the driver was killed": float(done),
        "seconds from `ftr resume` to its next trial": start - began,
        "of it until the journal was read and the searcher told": later[first]["time"] - began,
        "processes that outlived the driver by 30 s": float(len(alive)),
    }


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:100]
    except psutil.Error:
        return "gone by now"


def until(ends: int, journal: Journal, process: subprocess.Popen[str]) -> list[Event]:
    """Return the events of a sweep up to that many ends."""
    events: list[Event] = []
    for event in journal.follow(process):
        events.append(event)
        ends -= event["event"] == "end"
        if ends <= 0:
            break
    return events


def check(events: list[Event], trials: int) -> None:
    """Stop unless every trial ended, and once."""
    ended = sorted(event["trial"] for event in events if event["event"] == "end")
    if ended != list(range(trials)):
        lost = sorted(set(range(trials)) - set(ended))
        sys.exit(f"{trials} trials, {len(ended)} ends; without one: {lost[:10]}")


def table(found: dict[str, dict[str, float]], args: argparse.Namespace) -> list[str]:
    """Return the figures as Markdown."""
    what = f"{args.trials} simulated trials, {args.at_once} at a time, scheduler {args.scheduler}"
    lines = [f"| {what} | {' | '.join(found)} |", f"|---|{'---:|' * len(found)}"]
    keys = next(iter(found.values()))
    return lines + [
        f"| {key} | {' | '.join(f'{figures[key]:.4g}' for figures in found.values())} |"
        for key in keys
    ]


if __name__ == "__main__":
    main()
