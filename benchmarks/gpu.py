"""What ftr does on a GPU, in one command of at most 8 minutes that needs no network: the report of
`docs/gpu.md`.

scores: bf16 beside fp32 · speed: tokens a second beside `transformers.Trainer` with its best flags,
alone and with `torch.compile`, and the GPU's utilisation · memory: smaller passes after a real
out-of-memory · quarters: four trials on a quarter of the GPU each · resume: `kill -9` and `ftr
resume` · together: two trainings at a time. Without a GPU the parts that need none run, on few
rows. The real data is used where it is found, else made-up rows of like length.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ftr.train.checkpoint import last_step
from ftr.train.hardware import device_name
from ftr_plugins.models import MiniLM
from measuring import WORDS, begin, data_folder, finished
from throughput import HERE, READERS, machine

Row = dict[str, Any]
TASKS = {"sst2": "sentiment", "tweets": "sentiment", "squad": "qa"}
LONGEST = {"sst2": 128, "tweets": 128, "squad": 384}
STRIDE = 128
SHARED = {"batch_size": 32, "learning_rate": 1e-4, "epochs": 1, "seed": 0}
PLAIN = ("data.test_size=0", "train.eval_on_start=false", "train.keep=last", "baselines=false")
ROOM = 1.2
"""GB that are left of the GPU's memory: enough for a model of 22M parameters, too little for passes
of 16,384 tokens.
"""
MEMORY = """
import json, sys, torch, ftr
ballast = torch.empty(
    max(torch.cuda.mem_get_info()[0] - int(float(sys.argv[1]) * 1e9), 0), dtype=torch.uint8,
    device="cuda",
)
print(json.dumps(ftr.run(sys.argv[2:], say=lambda line: None).record))
"""


class UnmeasuredError(Exception):
    """Why a part has no figure."""


@dataclass(slots=True)
class Bench:
    """What all parts share."""

    folder: Path
    model: str
    rows: int
    cases: Sequence[str]
    data: Path
    until: float
    device: str = field(default_factory=device_name)

    def files(self, case: str) -> dict[str, Path]:
        """Return the files of a case, written once."""
        counts = {"train": self.rows, "validation": max(self.rows // 10, 16)}
        found = {split: self.folder / f"{case}-{split}.jsonl" for split in counts}
        for split, path in found.items():
            if not path.is_file():
                rows = islice(rows_of(case, self.data, split), counts[split])
                path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return found

    @property
    def precision(self) -> str:
        """The precision of both sides in `speed`."""
        return "bf16" if self.device == "cuda" else "fp32"

    def settings(self, case: str, *more: str, output: str = "runs") -> list[str]:
        """Return the words of a training of a case, with `more` instead of what all share."""
        places = [f"dataset.{split}={path}" for split, path in self.files(case).items()]
        shared = [f"{key}={value}" for key, value in SHARED.items()]
        lengths = [f"data.max_length={LONGEST[case]}"]
        if case == "squad":
            lengths.append(f"data.stride={STRIDE}")
        model = [f"task={TASKS[case]}", f"model={self.model}", f"output={self.folder / output}"]
        words = [*model, *places, *shared, *lengths, *PLAIN]
        own = {word.partition("=")[0] for word in more}
        return [*(word for word in words if word.partition("=")[0] not in own), *more]

    def start(self, words: Sequence[str]) -> "subprocess.Popen[str]":
        """Start `ftr` with `words`."""
        self.check_time()
        return begin(["-m", "ftr", *words], self.folder)

    def run(self, words: Sequence[str]) -> Row:
        """Return the record of `ftr run` with `words`."""
        return self.record(self.start(["run", *words, "--json"]))

    def record(self, process: "subprocess.Popen[str]") -> Row:
        """Return the record that a process prints at its end."""
        found: Row = json.loads(finished(process, self.folder))["record"]
        return found

    def check_time(self) -> None:
        """Raise `UnmeasuredError` when the time is up."""
        if time.monotonic() > self.until:
            raise UnmeasuredError("the time was up")

    def need_gpu(self) -> None:
        """Raise `UnmeasuredError` where there is no GPU."""
        if self.device != "cuda":
            raise UnmeasuredError("needs a GPU")


def main() -> None:
    """Measure and print."""
    args = arguments()
    began = time.monotonic()
    print("\n".join(machine()), flush=True)
    with tempfile.TemporaryDirectory(prefix="ftr-gpu-") as folder:
        bench = Bench(
            Path(folder), args.model, args.rows, args.cases, args.data, began + 60 * args.minutes
        )
        for name in args.only:
            print(f"\n## {name}\n", flush=True)
            for line in PARTS[name](bench):
                print(line, flush=True)
    print(f"\nall in {time.monotonic() - began:.0f} s")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--cases", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--model", default=MiniLM().source, help="folder of a checkpoint")
    parser.add_argument(
        "--rows",
        type=int,
        default=8000 if device_name() == "cuda" else 256,
        help="rows to train on; default: 8,000 with a GPU, else 256",
    )
    parser.add_argument("--minutes", type=float, default=7, help="after which nothing is begun")
    parser.add_argument("--data", type=Path, default=data_folder())
    return parser.parse_args()


def rows_of(case: str, data: Path, split: str) -> Iterator[Row]:
    """Yield rows of a case: real ones where `data` has them."""
    if case in READERS and data.is_dir():
        yield from READERS[case](data, split)
        return
    if case == "tweets" and data.is_dir():
        from tweets import tweets

        yield from tweets(data, {"validation": "test"}.get(split, split))
        return
    draw = random.Random(f"{case}-{split}")
    classes = 3 if case == "tweets" else 2
    number = 0
    while True:
        number += 1
        if case == "squad":
            yield made_up_question(f"{split}-{number}", draw)
        else:
            text = " ".join(draw.choices(WORDS, k=draw.randint(3, 35)))
            yield {"id": f"{split}-{number}", "text": text, "label": number % classes}


def made_up_question(name: str, draw: random.Random) -> Row:
    """Return a question about a text of 60 to 300 words."""
    words = draw.choices(WORDS, k=draw.randint(60, 300))
    place = draw.randrange(len(words))
    start = sum(len(word) + 1 for word in words[:place])
    answers = {"text": [words[place]], "answer_start": [start]}
    asked = {"question": f"what was {words[place]} ?", "answers": answers}
    return {"id": name, "title": name, "context": " ".join(words), **asked}


def scores(bench: Bench) -> Iterator[str]:
    """Train both sample tasks in fp32 and bf16, at once on a GPU."""
    yield "| task | score | fp32 | bf16 |"
    yield "|---|---|--:|--:|"
    epochs = [] if bench.device == "cuda" else ["epochs=1"]
    for task in dict.fromkeys(TASKS[case] for case in bench.cases):
        words = [f"task={task}", f"model={bench.model}", "baselines=false", *epochs]
        words += ["train.eval_on_start=false", f"output={bench.folder / 'runs'}"]
        try:
            running = [
                bench.start(["run", *words, f"train.precision={precision}", "--json"])
                for precision in ("fp32", "bf16")
            ]
        except UnmeasuredError as why:
            yield f"| {task} | not measured: {why} | | |"
            continue
        found = [bench.record(process) for process in running]
        primary = found[0]["primary"]
        cells = [f"{one['scores'][one['heldout']][primary]:.4g}" for one in found]
        yield f"| {task} | {primary} | {' | '.join(cells)} |"


def speed(bench: Bench) -> Iterator[str]:
    """Train each case with ftr and with the trainer, alone and compiled."""
    yield "| case | | tokens/s, trainer | tokens/s, ftr | ratio | utilisation, trainer | ftr |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for compiled in (False, True):
        for case in bench.cases:
            how = "torch.compile" if compiled else "alone"
            try:
                if compiled:
                    bench.need_gpu()
                plain, plain_use = watched(bench, lambda: trainer(bench, case, compiled))  # noqa: B023 (called at once)
                extra = [f"train.precision={bench.precision}"]
                extra += ["trainer.torch_compile=true"] if compiled else []
                ours, use = watched(bench, lambda: bench.run(bench.settings(case, *extra)))  # noqa: B023
            except UnmeasuredError as why:
                yield f"| {case} | {how} | not measured: {why} | | | | |"
                continue
            rates = (
                plain["tokens"] / plain["seconds"],
                plain["tokens"] / ours["timings"]["train"],
            )
            yield (
                f"| {case} | {how} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[1] / rates[0]:.2f} "
                f"| {plain_use} | {use} |"
            )


def trainer(bench: Bench, case: str, compiled: bool) -> Row:
    """Train with `plain.py` and return what it measured."""
    bench.check_time()
    options = {
        "way": "best",
        "precision": bench.precision,
        "model": bench.model,
        **bench.files(case),
        "output_dir": bench.folder / "plain",
        "max_length": LONGEST[case],
        "stride": STRIDE,
        **SHARED,
    }
    words = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    words += ["--compile"] if compiled else []
    process = begin([str(HERE / "plain.py"), *words], bench.folder)
    found: Row = json.loads(finished(process, bench.folder).splitlines()[-1])
    return found


def watched(bench: Bench, work: Callable[[], Row]) -> tuple[Row, str]:
    """Return what `work` returns, and the mean utilisation of the GPU from the first to the last
    moment in which it was used.
    """
    if bench.device != "cuda" or shutil.which("nvidia-smi") is None:
        return work(), "unknown"
    words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*words, "-lms", "200"], stdout=subprocess.PIPE, text=True) as watcher:
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.extend(map(int, watcher.stdout or ())))
        reader.start()
        try:
            found = work()
        finally:
            watcher.terminate()
            reader.join()
    busy = [place for place, value in enumerate(seen) if value]
    used = seen[busy[0] : busy[-1] + 1] if busy else [0]
    return found, f"{sum(used) / len(used):.0f} %"


def memory(bench: Bench) -> Iterator[str]:
    """Train where other tensors hold all memory but little."""
    try:
        bench.need_gpu()
        bench.check_time()
    except UnmeasuredError as why:
        yield f"not measured: {why}"
        return
    words = bench.settings("squad", "batch_size=64")
    process = begin(["-c", MEMORY, str(ROOM), *words], bench.folder)
    record = json.loads(finished(process, bench.folder))
    found = record["memory"]
    yield (
        f"{ROOM} GB free: out of memory {found['out_of_memory']} times, then passes of at most "
        f"{found['micro_batch']['tokens']} tokens; {record['steps']} steps, status "
        f"{record['status']}"
    )


def quarters(bench: Bench) -> Iterator[str]:
    """Search with four trials at a time on one GPU."""
    try:
        bench.need_gpu()
        began = time.monotonic()
        words = [*bench.settings("sst2"), "learning_rate=choice(3e-5,1e-4,2e-4,3e-4)", "trials=4"]
        process = bench.start(["sweep", *words, "compute.gpus=0.25", "scheduler=none", "--json"])
    except UnmeasuredError as why:
        yield f"not measured: {why}"
        return
    finished(process, bench.folder)
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (bench.folder / "runs").glob("*-sweep-*/trials/*/run.json")
    ]
    ended = sum(record["status"] == "done" for record in records)
    yield f"{ended} of {len(records)} trials done in {time.monotonic() - began:.0f} s"


def resume(bench: Bench) -> Iterator[str]:
    """Kill a training after a checkpoint, resume it, and compare it with an undisturbed one."""
    case, output = bench.cases[0], bench.folder / "killed"
    try:
        whole = bench.run(bench.settings(case, "train.save_steps=1"))
        killed = bench.settings(case, "train.save_steps=1", output=output.name)
        process = bench.start(["run", *killed])
    except UnmeasuredError as why:
        yield f"not measured: {why}"
        return
    step = None
    while step is None and process.poll() is None:
        time.sleep(0.005)
        step = next((found for run in output.glob("*") if (found := last_step(run))), None)
    process.kill()
    if step is None:
        finished(process, bench.folder)
        sys.exit("the training ended before it could be killed: more `--rows`")
    process.communicate()
    run = next(output.glob("*"))
    again = bench.record(begin(["-m", "ftr", "resume", str(run), "--json"], bench.folder))
    split, primary = whole["heldout"], whole["primary"]
    values = [f"{one['scores'][split][primary]:.6g}" for one in (whole, again)]
    yield (
        f"killed after step {step} of {whole['steps']}; resumed {len(again['resumed'])} time; "
        f"{primary}: undisturbed {values[0]}, resumed {values[1]}"
    )


def together(bench: Bench) -> Iterator[str]:
    """Train once alone and twice at the same time."""
    case = bench.cases[0]
    try:
        alone = bench.run(bench.settings(case))
        running = [bench.start(["run", *bench.settings(case), "--json"]) for _ in range(2)]
    except UnmeasuredError as why:
        yield f"not measured: {why}"
        return
    both = [bench.record(process) for process in running]
    rates = [one["examples_per_second"] for one in (alone, *both)]
    yield (
        f"{case}: alone {rates[0]:.0f} rows/s, two at a time {rates[1]:.0f} and {rates[2]:.0f} "
        f"rows/s, {sum(rates[1:]) / rates[0]:.2f} times as many in all"
    )


PARTS: dict[str, Callable[[Bench], Iterator[str]]] = {
    "scores": scores,
    "speed": speed,
    "memory": memory,
    "quarters": quarters,
    "resume": resume,
    "together": together,
}


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
