"""Training throughput of `ftr run` beside that of the public example scripts and of a loop written
by hand, on the same rows: `make bench`.

Runs the sides in turn, each as a process of its own, one at a time. All train on the same rows for
the same number of steps, with the same effective batch, learning rate, epochs and seed. The unit is
source rows (sentences, questions; not windows) per second of training, evaluation left out. The
figures in processor time hardly depend on what else the machine does.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from ftr.config.schema import TrainConfig
from ftr.train.hardware import choose_numerics, describe_hardware
from ftr_plugins.models import MiniLM

HERE = Path(__file__).resolve().parent
FTR = "ftr"
PEERS = {"shipped": "script as shipped", "best": "script, best flags", "loop": "loop by hand"}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What both sides train on, and the settings they share.

    `settings` are those only ftr has a word for.
    """

    name: str
    task: str
    unit: str
    train_rows: int | None
    validation_rows: int | None
    batch_size: int
    learning_rate: float
    epochs: int
    max_length: int
    stride: int
    scores: tuple[str, ...]
    settings: tuple[str, ...]

    def shared(self, seed: int) -> dict[str, float]:
        """Return the settings both sides are given."""
        return {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "seed": seed,
        }


CASES = (
    Case(
        name="sst2",
        task="sentiment",
        unit="sentences",
        train_rows=None,
        validation_rows=None,
        batch_size=32,
        learning_rate=1e-4,
        epochs=1,
        max_length=128,
        stride=0,
        scores=("accuracy",),
        settings=("metrics=accuracy",),
    ),
    Case(
        name="squad",
        task="qa",
        unit="questions",
        train_rows=1000,
        validation_rows=300,
        batch_size=16,
        learning_rate=2e-4,
        epochs=2,
        max_length=384,
        stride=128,
        scores=("exact", "f1"),
        settings=("data.stride=128",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One training: its work, the seconds of its training loop, its scores, and the whole of its
    process; `processor` and `whole_processor` are seconds of all cores.
    """

    rows: int
    windows: int
    steps: int
    epochs: float
    seconds: float
    scores: dict[str, float]
    memory: int
    processor: float
    wall: float = 0.0
    whole_processor: float = 0.0

    @property
    def rate(self) -> float:
        """Source rows per second of training."""
        return self.rows * self.epochs / self.seconds

    @property
    def cost(self) -> float:
        """Processor seconds of training for 1,000 source rows."""
        return 1000 * self.processor / (self.rows * self.epochs)

    @property
    def work(self) -> tuple[int, int, int]:
        """What must be the same on both sides."""
        return self.rows, self.windows, self.steps


def main() -> None:
    """Measure and print."""
    args = arguments()
    print("\n".join(machine()), flush=True)
    results = {}
    with tempfile.TemporaryDirectory(prefix="ftr-bench-") as folder:
        for known in CASES:
            case = known
            if args.only in (None, case.name):
                if args.train_rows:
                    case = replace(case, train_rows=args.train_rows, epochs=1)
                results[case] = measure(case, args, Path(folder))
    print("\n" + "\n".join(table(results)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", choices=[case.name for case in CASES], help="one of the two comparisons"
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=list(PEERS),
        default=["best", "loop"],
        help="what ftr is compared with; the script as shipped takes ten times as long",
    )
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of all sides"
    )
    parser.add_argument(
        "--train-rows", type=int, help="rows trained on, in one epoch, instead of those of the case"
    )
    parser.add_argument(
        "--pairs",
        type=int,
        default=1,
        help="rounds of trainings for each comparison, each with a seed of its own",
    )
    parser.add_argument(
        "--rows",
        type=int,
        help="at most this many rows of each split: to try the program, not to measure",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("FTR_DATA", HERE.parent.parent / "shared" / "data")),
    )
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(
            f"there is no folder `{args.data}`: give the real data with `--data` or `FTR_DATA`"
        )
    if args.pairs < 1 or (args.rows is not None and args.rows < 1):
        parser.error("`--pairs` and `--rows` are at least 1")
    return args


def machine() -> list[str]:
    """Return what the figures depend on."""
    hardware, numerics = describe_hardware(), choose_numerics(TrainConfig())
    return [
        f"processor: {hardware['processor']}, {hardware['cores']} cores, {hardware['threads']} "
        "threads",
        f"memory: {hardware['memory_bytes'] / 1e9:.1f} GB, GPUs: "
        f"{', '.join(hardware['gpus']) or 'none'}",
        f"ftr uses {numerics.precision}: {numerics.reasons['precision']}; attention: "
        f"{numerics.reasons['attention']}",
        f"torch {version('torch')}, transformers {version('transformers')}, model minilm",
    ]


def measure(case: Case, args: argparse.Namespace, folder: Path) -> list[dict[str, Measured]]:
    """Run the rounds of one comparison, every other one in reverse. Stops when the sides did not do
    the same work.
    """
    files = {split: folder / f"{case.name}-{split}.jsonl" for split in ("train", "validation")}
    for (split, path), limit in zip(
        files.items(), (case.train_rows, case.validation_rows), strict=True
    ):
        least = min((n for n in (limit, args.rows) if n is not None), default=None)
        rows = islice(READERS[case.name](args.data, split), least)
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    precision = choose_numerics(TrainConfig(precision=args.precision)).precision
    rounds = []
    for seed in range(args.pairs):
        found: dict[str, Measured] = {}
        for side in [*args.peers, FTR][:: -1 if seed % 2 else 1]:
            run = ftr_run if side == FTR else plain_run
            found[side] = shown(case, side, run(case, files, seed, folder, side, precision))
        works = {side: one.work for side, one in found.items()}
        if len(set(works.values())) > 1:
            sys.exit(f"{case.name}: not the same work (rows, windows, steps): {works}")
        rounds.append(found)
    return rounds


def sst2_rows(data: Path, split: str) -> Iterator[Row]:
    """Yield the sentences of a split."""
    name = {"train": "train.tsv", "validation": "dev.tsv"}[split]
    with (data / "sst2" / "sentence_level_noheader" / name).open(
        encoding="utf-8", newline="\n"
    ) as lines:
        for number, line in enumerate(lines):
            text, label = line.rstrip("\n").split("\t")
            yield {"id": f"{split}-{number}", "text": text, "label": int(label)}


def squad_rows(data: Path, split: str) -> Iterator[Row]:
    """Yield the questions of a split, in the order of the file."""
    name = {"train": "train-v1.1-first44articles.json.gz", "validation": "dev-v1.1.json.gz"}[split]
    with gzip.open(data / "squad_v1.1" / name, "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = {
                    key: [answer[key] for answer in question["answers"]]
                    for key in ("text", "answer_start")
                }
                row = {
                    "id": question["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                }
                yield {**row, "question": question["question"], "answers": answers}


READERS = {"sst2": sst2_rows, "squad": squad_rows}


def plain_run(
    case: Case, files: dict[str, Path], seed: int, folder: Path, side: str, precision: str
) -> Measured:
    """Train with `plain.py`."""
    options = {
        "way": side,
        "precision": "fp32" if side == "shipped" else precision,
        **case.shared(seed),
        **files,
        "model": MiniLM().source,
        "max_length": case.max_length,
        "stride": case.stride,
    }
    words = [
        f"--{key.replace('_', '-')}={value}"
        for key, value in {**options, "output_dir": folder / "plain"}.items()
    ]
    answer, wall, processor = timed_process([str(HERE / "plain.py"), *words], folder)
    found = json.loads(answer.splitlines()[-1])
    return Measured(
        rows=found["rows"],
        windows=found["windows"],
        steps=found["steps"],
        epochs=case.epochs,
        seconds=found["seconds"],
        scores=found["scores"],
        memory=found["peak_memory_bytes"],
        processor=found["processor_seconds"],
        wall=wall,
        whole_processor=processor,
    )


def ftr_run(
    case: Case, files: dict[str, Path], seed: int, folder: Path, side: str, precision: str
) -> Measured:
    """Train with `ftr run`; the last weights are kept, nothing is scored before training and there
    are no baselines, as on the other sides.
    """
    settings = [
        f"task={case.task}",
        "model=minilm",
        *(f"{key}={value}" for key, value in case.shared(seed).items()),
    ]
    settings += [f"dataset.{split}={path}" for split, path in files.items()]
    settings += [f"data.max_length={case.max_length}", "data.test_size=0", *case.settings]
    settings += ["train.keep=last", "train.eval_on_start=false", "baselines=false"]
    settings += [f"output={folder / 'runs'}"]
    settings += [f"train.precision={precision}"]
    times = folder / "processor.txt"
    words = [str(HERE / "timed.py"), str(times), "run", *settings, "--json"]
    answer, wall, processor = timed_process(words, folder)
    record = json.loads(answer)["record"]
    split = record["data"]["splits"]["train"]
    return Measured(
        rows=split["row_count"],
        windows=split["feature_count"],
        steps=record["steps"],
        epochs=case.epochs,
        seconds=record["timings"]["train"],
        scores={key: record["scores"]["validation"][key] for key in case.scores},
        memory=record["peak_memory_bytes"],
        processor=float(times.read_text(encoding="utf-8")),
        wall=wall,
        whole_processor=processor,
    )


def timed_process(words: list[str], folder: Path) -> tuple[str, float, float]:
    """Return what `process` does, and the processor seconds."""
    before = os.times()
    answer, wall = process(words, folder)
    after = os.times()
    used = after.children_user + after.children_system
    return answer, wall, used - before.children_user - before.children_system


def process(words: list[str], folder: Path) -> tuple[str, float]:
    """Run Python with `words`, with empty caches of its own; return stdout and seconds.

    Stops with its stderr when it fails.
    """
    caches = {
        "FTR_CACHE": str(folder / "cache"),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "FTR_PLUGINS": "",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{' '.join(words)}\nended with "
            f"{done.returncode}:\n{done.stderr[-4000:]}{done.stdout[-1000:]}"
        )
    return done.stdout, time.monotonic() - began


def shown(case: Case, side: str, found: Measured) -> Measured:
    """Print one training and return it."""
    scores = ", ".join(f"{key} {found.scores[key]:.4g}" for key in case.scores)
    print(
        f"{case.name:<6}{side:<8}{found.rate:8.2f} {case.unit}/s  ({found.rows} rows, "
        f"{found.windows} windows, {found.steps} steps in {found.seconds:.1f} s, processor "
        f"{found.processor:.1f} s)  {scores}  peak {found.memory / 1e9:.1f} GB, whole process "
        f"{found.wall:.0f} s, processor {found.whole_processor:.0f} s",
        flush=True,
    )
    return found


def table(results: dict[Case, list[dict[str, Measured]]]) -> list[str]:
    """Return the medians as Markdown."""
    sides = list(dict.fromkeys(side for side in (*PEERS, FTR) if side in _sides(results)))
    names = [PEERS.get(side, side) for side in sides]
    lines = [
        f"| comparison | figure | {' | '.join(names)} |",
        f"|---|---|{'---:|' * len(names)}",
    ]
    for case, rounds in results.items():
        one = rounds[0][FTR]
        what = (
            f"{case.name}: {one.rows} {case.unit}, batch {case.batch_size}, epochs "
            f"{one.epochs:g}, rounds {len(rounds)}"
        )
        figures: list[tuple[str, str, Callable[[Measured], float]]] = [
            (f"{case.unit} per second of training", ".1f", lambda found: found.rate),
            (f"processor seconds of training, 1,000 {case.unit}", ".1f", lambda found: found.cost),
            ("whole command, s", ".0f", lambda found: found.wall),
            ("whole command, processor seconds", ".0f", lambda found: found.whole_processor),
            ("peak memory, GB", ".1f", lambda found: found.memory / 1e9),
            *((key, ".4g", _score(key)) for key in case.scores),
        ]
        for figure, form, value in figures:
            cells = [
                format(statistics.median(value(found[side]) for found in rounds), form)
                for side in sides
            ]
            lines.append(f"| {what} | {figure} | {' | '.join(cells)} |")
            what = ""
    return lines


def _score(key: str) -> Callable[[Measured], float]:
    return lambda found: found.scores[key]


def _sides(results: dict[Case, list[dict[str, Measured]]]) -> set[str]:
    return {side for rounds in results.values() for found in rounds for side in found}


if __name__ == "__main__":
    main()
