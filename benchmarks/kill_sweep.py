"""Kills the driver of a sweep ten times at random moments, resumes it each time, and compares it
with one nobody disturbed.

Trials of a tiny model are swept undisturbed once; then once more, with `kill -9` of the driver at
random moments spread over the whole of the sweep, each followed by `ftr resume`. The leaderboard
without its times must be the same, and no trial may be run again that had ended. `--address` lets
both run on a cluster that is there; without it each starts Ray on this machine.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Event, Journal, begin, finished, tiny_checkpoint, write_rows

TIMES = ("seconds",)
ROWS = 256
POLL = 0.002
AGAIN_SECONDS = 120
"""Within this time a resumed driver takes up a trial, or something is wrong."""


def main() -> int:
    """Run the command line; returns 0 when both sweeps ended the same."""
    args = arguments()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="ftr-kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    settings = asked(args, folder)
    whole = Journal(folder / "undisturbed")
    began = time.monotonic()
    finished(begin(["-m", "ftr", "sweep", *settings, f"output={whole.output}"], folder), folder)
    total = len(whole.new())
    print(
        f"undisturbed: {args.trials} trials, {total} events, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    cut = disturbed(args, settings, folder, total)
    events = Journal(cut.parent).new()
    wrong = faults(events, args.trials)
    if leaderboard(cut) != leaderboard(whole.sweep):
        wrong.append("the leaderboard is another")
    resumed = sum(event["event"] == "resume" for event in events)
    again = sum(event["event"] == "start" for event in events) - args.trials
    verdict = "; ".join(wrong) or "the same leaderboard, no trial run twice"
    print(f"{args.kills} kills, {resumed} resumed, {again} trials taken up again: {verdict}")
    return 1 if wrong or resumed != args.kills else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--address", help="of a running cluster, `host:port`")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", help="folder for both sweeps, which are then left there")
    return parser.parse_args()


def asked(args: argparse.Namespace, folder: Path) -> list[str]:
    """Return the settings of both sweeps: deterministic ones, so that they can be compared."""
    files = write_rows(folder, None, ROWS, ROWS // 4)
    settings = [
        "task=sentiment",
        f"model={tiny_checkpoint(folder / 'tiny')}",
        "data.test_size=0",
        "compute.cpus=1",
        "train.precision=fp32",
    ]
    settings += [f"dataset.{split}={path}" for split, path in files.items()]
    settings += [
        "learning_rate=loguniform(1e-5,1e-2)",
        "batch_size=choice(4,8)",
        "epochs=choice(3,6)",
        "train.save_steps=10",
    ]
    settings += ["searcher=random", "scheduler=fifo", f"trials={args.trials}", "max_concurrent=2"]
    return [*settings, *([f"compute.address={args.address}"] if args.address else [])]


def disturbed(args: argparse.Namespace, settings: list[str], folder: Path, total: int) -> Path:
    """Sweep with kills and return the sweep directory."""
    rng, journal = random.Random(args.seed), Journal(folder / "disturbed")
    process = begin(["-m", "ftr", "sweep", *settings, f"output={journal.output}"], folder)
    written = 0
    for kill in range(args.kills):
        # Moments by progress: the start of each driver is as long as much of the sweep.
        goal = total * (kill + rng.random()) / args.kills
        written += first(journal, process, "trial" if kill == 0 else "resume")
        while written < goal and process.poll() is None:
            written += len(journal.new())
            time.sleep(POLL)
        time.sleep(rng.random() * 0.5)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        written += len(journal.new())
        print(f"kill {kill + 1}: {written} events in the journal", flush=True)
        process = begin(["-m", "ftr", "resume", str(journal.sweep)], folder)
    finished(process, folder)
    return journal.sweep


def first(journal: Journal, process: "subprocess.Popen[str]", kind: str) -> int:
    """Wait for the first event of a kind and return how many events came till then."""
    count, deadline = 0, time.monotonic() + AGAIN_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        new = journal.new()
        count += len(new)
        if any(event["event"] == kind for event in new):
            return count
        time.sleep(POLL)
    sys.exit(
        f"the sweep did not come as far as `{kind}`: exit code {process.poll()}, see "
        f"{journal.output.parent / 'log.txt'}"
    )


def faults(events: list[Event], trials: int) -> list[str]:
    """Return what must not stand in a journal: a trial that ended twice or never, or was run again
    after its end.
    """
    ended: dict[int, int] = {}
    found = []
    for place, event in enumerate(events):
        if event["event"] == "end":
            if event["trial"] in ended:
                found.append(f"trial {event['trial']} ended twice")
            ended[event["trial"]] = place
        elif event["event"] == "start" and event["trial"] in ended:
            found.append(f"trial {event['trial']} was run again")
    return [
        *found,
        *(f"trial {number} did not end" for number in range(trials) if number not in ended),
    ]


def leaderboard(sweep: Path) -> list[dict[str, Any]]:
    """Return the leaderboard without its times."""
    entries = json.loads((sweep / "leaderboard.json").read_text(encoding="utf-8"))["entries"]
    return [{key: value for key, value in entry.items() if key not in TIMES} for entry in entries]


if __name__ == "__main__":
    sys.exit(main())
