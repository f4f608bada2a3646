"""What a sweep pays for: seconds to its first trial, disk of many trials, and trials of a head on a
frozen backbone beside three epochs of the whole model.

    python benchmarks/sweep_costs.py start            # seconds from the command to the first step
    python benchmarks/sweep_costs.py disk             # 200 trials; the most bytes of models, by keep_models
    python benchmarks/sweep_costs.py frozen           # 64 trials of three epochs against one training of three

The model is a tiny random one on made-up rows unless `--model` and `--data` name others, such as
`--model minilm --data /data`. All are whole commands in processes of their own. Processor time is
that of the command and of all processes that it started, looked at ten times a second.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from measuring import SLOTS, begin, family, finished, tiny_checkpoint, write_rows
from throughput import machine

PERIOD = 0.1
EPOCHS = 3


@dataclass(slots=True)
class Watch:
    """Processor time of a process and all it started, the most bytes of models below a folder, and
    when the first optimizer step of a trial was done (Unix seconds).
    """

    pid: int
    folder: Path
    times: dict[tuple[int, float], float] = field(default_factory=dict)
    models: int = 0
    most: int = 0
    first_step: float | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def processor(self) -> float:
        """Seconds of processor time."""
        return sum(self.times.values())

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(PERIOD):
            for process in family(self.pid):
                try:
                    used = process.cpu_times()
                    self.times[process.pid, process.create_time()] = used.user + used.system
                except psutil.Error:
                    continue
            sizes = [size(path) for path in self.folder.glob("*/trials/*/model*")]
            self.models, self.most = max(self.models, len(sizes)), max(self.most, sum(sizes))
            if self.first_step is None:
                self.first_step = first_step(self.folder)

    _thread: threading.Thread = field(init=False)


def size(folder: Path) -> int:
    """Return the bytes of the files in a folder that may be going away."""
    found = 0
    for top, _, files in os.walk(folder):
        for name in files:
            try:
                found += (Path(top) / name).stat().st_size
            except OSError:
                continue
    return found


def first_step(output: Path) -> float | None:
    """Return the Unix time of the first training line of any trial."""
    times = []
    for path in output.glob("*/trials/*/metrics.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if '"kind": "train"' in line and line.endswith("}"):
                times.append(float(json.loads(line)["time"]))
                break
    return min(times, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that ended: its seconds, what was seen of it, and its answer."""

    began: float
    seconds: float
    watch: Watch
    answer: dict[str, Any]


def command(words: list[str], folder: Path, output: Path) -> Done:
    """Run `ftr` with an output folder of its own and wait for it."""
    began = time.time()
    process = begin(["-m", "ftr", *words, f"output={output}", "--json"], folder)
    with Watch(process.pid, output) as watch:
        answer = finished(process, folder)
    return Done(began=began, seconds=time.time() - began, watch=watch, answer=json.loads(answer))


def common(args: argparse.Namespace, folder: Path) -> list[str]:
    """Return the settings that all commands share."""
    files = write_rows(folder, args.data, args.rows, max(args.rows // 4, 8))
    model = args.model or tiny_checkpoint(folder / "tiny")
    return [
        "task=sentiment",
        f"model={model}",
        *(f"dataset.{split}={path}" for split, path in files.items()),
        "data.test_size=0",
        "data.max_length=128",
        "baselines=false",
        "train.logging_steps=1",
    ]


def start(args: argparse.Namespace, folder: Path, shared: list[str]) -> dict[str, Any]:
    """Return the seconds from the command to the first step of a trial."""
    words = [*shared, "learning_rate=loguniform(1e-5,1e-3)", "epochs=1", f"trials={SLOTS}"]
    # The first fills the cache of encoded rows, and the caches of the disk.
    done = [command(["sweep", *words], folder, folder / f"runs{n}") for n in range(args.rounds + 1)]
    steps = [(one.watch.first_step or float("nan")) - one.began for one in done[1:]]
    return {"seconds to the first step": median(steps), "of each round": steps}


def disk(args: argparse.Namespace, folder: Path, shared: list[str]) -> dict[str, Any]:
    """Return models and bytes at most, and at the end, of a sweep of many trials."""
    words = [*shared, "learning_rate=loguniform(1e-5,1e-3)", "epochs=1", "scheduler=fifo"]
    words += ["searcher=random", f"max_concurrent={SLOTS}", f"trials={args.trials or 200}"]
    found: dict[str, Any] = {}
    for keep in args.keep:
        output = folder / f"runs-{keep}"
        done = command(["sweep", *words, f"keep_models={keep}"], folder, output)
        models = [size(path) for path in output.glob("*/trials/*/model")]
        found |= {
            f"keep_models={keep}: models at once": done.watch.models,
            f"keep_models={keep}: bytes of models at once": done.watch.most,
            f"keep_models={keep}: models at the end": len(models),
            f"keep_models={keep}: bytes of the whole sweep": size(output),
        }
    return found


def frozen(args: argparse.Namespace, folder: Path, shared: list[str]) -> dict[str, Any]:
    """Return what trials of a head cost, and a training of the whole model of as many epochs."""
    whole = command(["run", *shared, f"epochs={EPOCHS}"], folder, folder / "whole")
    words = [*shared, f"epochs={EPOCHS}", "learning_rate=loguniform(1e-4,1e-1)"]
    words += ["train.freeze=backbone", "train.dropout=0", "train.attention_dropout=0"]
    words += ["scheduler=fifo", "searcher=random", f"trials={args.trials or 64}"]
    trials = command(["sweep", *words], folder, folder / "trials")
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / "trials").glob("*/trials/*/run.json")
    ]
    if not all(run["stored_outputs"]["used"] for run in runs):
        sys.exit(f"the backbone ran in every pass: {runs[0]['stored_outputs']['reason']}")
    timings = json.loads(next((folder / "whole").glob("*/run.json")).read_text())["timings"]
    return {
        f"seconds of {EPOCHS} epochs of the whole model (training and evaluation)": timings["train"]
        + timings["evaluate"],
        "seconds of that command": whole.seconds,
        "processor seconds of that command": whole.watch.processor,
        f"trials of {EPOCHS} epochs": len(runs),
        "seconds of all trials in their processes": sum(run["timings"]["total"] for run in runs),
        "seconds of the sweep, whole command": trials.seconds,
        "processor seconds of the sweep": trials.watch.processor,
    }


PARTS = {"start": start, "disk": disk, "frozen": frozen}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--model", help="a name or path; default: a tiny random model")
    parser.add_argument("--data", type=Path, help="the folder of the real data; default: made up")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="of `start`, after one more")
    parser.add_argument("--keep", nargs="+", default=["3", "all"], help="of `disk`: keep_models")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftr-bench-") as place:
        folder = Path(place)
        found = PARTS[args.part](args, folder, common(args, folder))
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print("\n".join(machine()))
    for key, value in found.items():
        print(f"{key:<70} {value}")


if __name__ == "__main__":
    main()
