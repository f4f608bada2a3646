"""A search of `ftr sweep` beside `Trainer.hyperparameter_search` with its Ray and Optuna backends:
`make bench-sweep`.

Each side is a process of its own, one after the other. All try the same list of eight
configurations (every combination of four learning rates and two batch sizes) on the same rows, for
the same number of steps: `ftr` with `searcher=grid` and `scheduler=fifo`, the plain sides as
`plain_search.py` tells. Ray's trials and ours run two at a time on one core each; Optuna's one
process runs one at a time on two cores.

Overhead is what the slots were paid for and no trial used: (slots x seconds - seconds of training
and evaluation) / trials. It is given for the whole command; for the search alone (Ray up and data
encoded on both sides, until the last trial ended; processes for trials are started within it); of
that, for what is spent in the trial itself around its training, on the model, the trainer and, with
us, saving the weights; and for a trial that is not the first of its process, from the end of the
one before it: the Ray backend has no such trials. The whole command includes, with us alone, the
export of the winner.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ftr_plugins.models import MiniLM
from measuring import (
    SLOTS,
    Journal,
    Peak,
    begin,
    data_folder,
    finished,
    tiny_checkpoint,
    write_rows,
)
from throughput import HERE, machine

LEARNING_RATES = (2e-5, 5e-5, 1e-4, 2e-4)
BATCH_SIZES = (16, 32)
MAX_LENGTH = 128
EPOCHS = 1
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One trial: Unix times of its begin and end in its process, seconds of training and evaluation
    between them.
    """

    began: float
    ended: float
    seconds: float
    steps: int
    values: dict[str, float]
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One search: seconds of the whole command and of the search alone, its trials, the best score,
    the peak of memory in bytes.
    """

    name: str
    slots: int
    whole: float
    search: float
    trials: list[Timed]
    score: float
    peak: int
    exported: bool

    @property
    def training(self) -> float:
        """Seconds of training and evaluation of all trials."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def work(self) -> list[tuple[float, float, int]]:
        """What must be the same on all sides: values and steps of every trial."""
        return sorted(
            (trial.values["learning_rate"], trial.values["batch_size"], trial.steps)
            for trial in self.trials
        )

    @property
    def inside(self) -> float:
        """Seconds a trial spends in its process around training and evaluation."""
        return fmean(trial.ended - trial.began - trial.seconds for trial in self.trials)

    @property
    def later(self) -> float:
        """Seconds of overhead of a trial that is not the first of its process, from the end of the
        one before it; NaN: all are first.
        """
        before: dict[int, float] = {}
        found = []
        for trial in sorted(self.trials, key=lambda trial: trial.ended):
            if trial.process in before:
                found.append(trial.ended - before[trial.process] - trial.seconds)
            before[trial.process] = trial.ended
        return fmean(found) if found else math.nan

    def overhead(self, seconds: float) -> float:
        """Seconds of overhead a trial, when the search took `seconds`."""
        return (self.slots * seconds - self.training) / len(self.trials)


def main() -> None:
    """Measure and print."""
    args = arguments()
    print("\n".join(machine()) if not args.tiny else "a tiny model: of overhead alone", flush=True)
    with tempfile.TemporaryDirectory(prefix="ftr-bench-") as place:
        folder = Path(place)
        files = write_rows(folder, None if args.tiny else args.data, args.rows, args.rows // 2)
        model = tiny_checkpoint(folder / "tiny") if args.tiny else None
        sides = [shown(SIDES[name](name, files, model, folder)) for name in args.only or SIDES]
    if any(side.work != sides[0].work for side in sides):
        sys.exit(
            "not the same work (learning rate, batch size, steps): "
            + "; ".join(f"{side.name} {side.work}" for side in sides)
        )
    if args.json:
        found = [
            {key: None if math.isnan(value) else value for key, value in figures(side).items()}
            for side in sides
        ]
        print(
            json.dumps(
                [{**asdict(side), **own} for side, own in zip(sides, found, strict=True)], indent=2
            )
        )
    else:
        print("\n" + "\n".join(table(sides, args.rows)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(SIDES), nargs="+", help="some of the sides")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="a tiny random model and made-up rows: little but overhead",
    )
    parser.add_argument(
        "--rows", type=int, default=256, help="rows trained on; half as many are evaluated on"
    )
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument(
        "--json", action="store_true", help="print every figure as JSON in place of the table"
    )
    args = parser.parse_args()
    if not args.tiny and not args.data.is_dir():
        parser.error(
            f"there is no folder `{args.data}`: give the real data with `--data` or `FTR_DATA`, or "
            "none with `--tiny`"
        )
    return args


def ours(name: str, files: dict[str, Path], model: Path | None, folder: Path) -> Side:
    """Search with `ftr sweep`; nothing is scored before training and no rows are set aside, as on
    the plain sides.
    """
    output = folder / "runs"
    settings = [
        "task=sentiment",
        f"model={model or 'minilm'}",
        "metrics=accuracy",
        "data.test_size=0",
        f"data.max_length={MAX_LENGTH}",
    ]
    settings += [f"dataset.{split}={path}" for split, path in files.items()]
    settings += [
        f"learning_rate=grid({','.join(map(str, LEARNING_RATES))})",
        f"batch_size=grid({','.join(map(str, BATCH_SIZES))})",
    ]
    settings += [
        "scheduler=fifo",
        f"epochs={EPOCHS}",
        f"seed={SEED}",
        f"max_concurrent={SLOTS}",
        "compute.cpus=1",
        f"output={output}",
    ]
    answer, whole, peak = measured(
        ["-m", "ftr", "sweep", *settings, "train.eval_on_start=false", "--json"], folder
    )
    journal = Journal(output)
    # The journal opens when Ray is up and the data is encoded.
    times = {event["event"]: event["time"] for event in journal.new()}
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(journal.sweep.glob("trials/*/run.json"))
    ]
    return Side(
        name=name,
        slots=SLOTS,
        whole=whole,
        search=times["stop"] - times["open"],
        trials=[timed(run) for run in runs],
        score=json.loads(answer)["leaderboard"][0]["value"],
        peak=peak,
        exported=(journal.sweep / "best" / "model" / "model.safetensors").is_file(),
    )


def timed(run: dict[str, Any]) -> Timed:
    """Return one of our trials from its `run.json`."""
    return Timed(
        began=run["created"],
        ended=run["finished"],
        seconds=run["timings"]["train"] + run["timings"]["evaluate"],
        steps=run["steps"],
        values={key: run["config"][key] for key in ("learning_rate", "batch_size")},
        process=run["process"],
    )


def plain(name: str, files: dict[str, Path], model: Path | None, folder: Path) -> Side:
    """Search with `plain_search.py`."""
    output = folder / name
    output.mkdir()
    options = {
        "model": model or MiniLM().source,
        "max-length": MAX_LENGTH,
        "epochs": EPOCHS,
        "slots": SLOTS,
        "seed": SEED,
    }
    words = [
        f"--{key}={value}" for key, value in {**options, **files, "output-dir": output}.items()
    ]
    words += [
        "--learning-rates",
        *map(str, LEARNING_RATES),
        "--batch-sizes",
        *map(str, BATCH_SIZES),
    ]
    _, whole, peak = measured([str(HERE / "plain_search.py"), name, *words], folder)
    found = json.loads((output / "measured.json").read_text(encoding="utf-8"))
    return Side(
        name=name,
        slots=SLOTS if name == "ray" else 1,
        whole=whole,
        search=found["search"],
        trials=[Timed(**trial) for trial in found["trials"]],
        score=found["score"],
        peak=peak,
        exported=found["checkpoints"] > 0,
    )


SIDES: dict[str, Callable[[str, dict[str, Path], Path | None, Path], Side]] = {
    "ray": plain,
    "optuna": plain,
    "ftr": ours,
}


def measured(words: list[str], folder: Path) -> tuple[str, float, int]:
    """Run Python with `words`; return stdout, seconds, and the peak of memory of all its processes
    in bytes.
    """
    began = time.monotonic()
    process = begin(words, folder)
    with Peak(process.pid) as peak:
        answer = finished(process, folder)
    return answer, time.monotonic() - began, peak.bytes


def figures(side: Side) -> dict[str, float]:
    """Return what is compared, in seconds."""
    return {
        "seconds of the whole command": side.whole,
        "seconds of the search alone": side.search,
        "seconds of training and evaluation, all trials": side.training,
        "overhead a trial, whole command": side.overhead(side.whole),
        "overhead a trial, search alone": side.overhead(side.search),
        "of it in the trial, around its training": side.inside,
        "overhead a trial, but for the first of each process": side.later,
    }


def shown(side: Side) -> Side:
    """Print one search and return it."""
    processes = len({trial.process for trial in side.trials})
    print(
        f"{side.name:<7}{len(side.trials)} trials in {processes} processes, {side.slots} at a "
        f"time: {side.whole:.1f} s, training {side.training:.1f} s, overhead "
        f"{side.overhead(side.search):.2f} s a trial, best accuracy {side.score:.4g}",
        file=sys.stderr,
        flush=True,
    )
    return side


def table(sides: list[Side], rows: int) -> list[str]:
    """Return the figures as Markdown, each with how many times ours it is."""
    names = [
        side.name if side.name == "ftr" else f"hyperparameter_search, {side.name}" for side in sides
    ]
    lines = [
        f"| {len(sides[0].trials)} trials on {rows} rows | {' | '.join(names)} |",
        f"|---|{'---:|' * len(sides)}",
    ]
    own = next((figures(side) for side in sides if side.name == "ftr"), {})
    for key in figures(sides[0]):
        cells = [_cell(figures(side)[key], own.get(key), side.name) for side in sides]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    for key, cells in (
        ("trials at a time", [str(side.slots) for side in sides]),
        ("best accuracy", [f"{side.score:.4g}" for side in sides]),
        ("peak memory of all processes, GB", [f"{side.peak / 1e9:.2f}" for side in sides]),
        ("winner left as a checkpoint", ["yes" if side.exported else "no" for side in sides]),
    ):
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return lines


def _cell(value: float, own: float | None, name: str) -> str:
    if math.isnan(value):
        return "none: each starts a process"
    return f"{value:.2f}" if name == "ftr" or not own else f"{value:.2f} ({value / own:.1f}x)"


if __name__ == "__main__":
    main()
