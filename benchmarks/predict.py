"""Predictions of a large file: rows per second, memory, and what a killed job leaves.

`RUN` is a finished run of `task=sentiment`. Its sentences are those of `--data` (a text file, or a
CSV or TSV file with a column `sentence` or `text`), repeated with numbers up to `--rows`.

1. In alternation, in one process, over the first `--compare` sentences: `transformers.pipeline`
   with batches of 32, a hand-written loop over batches sorted by length, and `ftr predict`'s own
   way from a CSV file to records.
2. `ftr predict` of the whole CSV file to Parquet, each a process: memory at 10 % and 100 % of the
   rows, then killed at a random moment and resumed: both files must be equal.
"""

import argparse
import csv
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ftr.data.stream import Reader, Source
from ftr.prediction.blocks import Options, answer, blocks
from ftr.runs.predictor import Predictor, load, model_folder
from measuring import begin, finished, memory
from throughput import HERE, machine

SST2 = HERE.parents[1] / "shared" / "data" / "sst2" / "train.tsv.gz"
TOKENS = 4096


def main() -> None:
    """Measure and print."""
    args = arguments()
    print("\n".join(machine()), flush=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        if args.compare:
            compare(args, folder)
        if args.rows:
            large(args, folder)


def arguments() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=SST2)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large file; 0: none")
    parser.add_argument("--compare", type=int, default=5_000, help="sentences; 0: no comparison")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moment of the kill")
    parser.add_argument("--scratch", type=Path, help="folder for the files")
    return parser.parse_args()


def sentences(data: Path) -> list[str]:
    """Return the sentences of a file."""
    content = data.read_bytes()
    text = (gzip.decompress(content) if data.suffix == ".gz" else content).decode()
    if ".csv" not in data.name and ".tsv" not in data.name:
        return text.splitlines()
    tabs = ".tsv" in data.name
    rows = csv.DictReader(
        text.splitlines(),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    names = ("sentence", "review", "text")
    return [next(row[name] for name in names if name in row) for row in rows]


def write(data: Path, path: Path, count: int) -> list[str]:
    """Write numbered sentences as CSV, and return them."""
    known = sentences(data)
    texts = [f"{number} {known[number % len(known)]}" for number in range(count)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("id", "text"), *enumerate(texts)])
    return texts


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Print the medians of rows per second of the three ways, and how often their labels agree."""
    texts = write(args.data, folder / "compare.csv", args.compare)
    predictor = load(args.run)
    checkpoint = str(model_folder(args.run))
    ways: dict[str, Callable[[], list[str]]] = {
        "pipeline": by_pipeline(checkpoint, texts),
        "loop": by_loop(checkpoint, texts),
        "ftr": lambda: by_ftr(predictor, folder / "compare.csv"),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    labels: dict[str, list[str]] = {}
    for _ in range(args.pairs):
        for name, way in ways.items():
            began = time.perf_counter()
            labels[name] = way()
            speeds[name].append(len(texts) / (time.perf_counter() - began))
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    for name, each in speeds.items():
        shown = ", ".join(f"{one:.0f}" for one in each)
        same = sum(a == b for a, b in zip(labels[name], labels["ftr"], strict=True))
        print(f"{name}: {medians[name]:.0f} rows/s ({shown}); same label as ftr: {same}")
    for name in ("pipeline", "loop"):
        print(f"ftr / {name}: {medians['ftr'] / medians[name]:.2f}", flush=True)


def by_pipeline(checkpoint: str, texts: list[str]) -> Callable[[], list[str]]:
    """Return the pipeline of transformers."""
    from transformers import pipeline

    answers = pipeline("text-classification", model=checkpoint, device="cpu")
    return lambda: [one["label"] for one in answers(texts, batch_size=32, truncation=True)]


def by_loop(checkpoint: str, texts: list[str]) -> Callable[[], list[str]]:
    """Return a loop over batches of equal numbers of tokens, sorted by length."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()

    def predict() -> list[str]:
        encoded = tokenizer(texts, truncation=True)["input_ids"]
        order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
        labels, start = [""] * len(texts), 0
        while start < len(order):
            size = max(TOKENS // len(encoded[order[start]]), 1)
            batch = order[start : start + size]
            inputs = tokenizer.pad(
                {"input_ids": [encoded[index] for index in batch]}, return_tensors="pt"
            )
            with torch.inference_mode():
                best = model(**inputs).logits.argmax(-1).tolist()
            for index, number in zip(batch, best, strict=True):
                labels[index] = model.config.id2label[number]
            start += size
        return labels

    return predict


def by_ftr(predictor: Predictor, path: Path) -> list[str]:
    """Predict from a CSV file to records."""
    source = Source.open(path)
    reader = Reader.of(source, predictor.head.schema)
    found = [
        record["label"]
        for block in blocks(reader)
        for record in answer(block, predictor, Options(reserved=("id", "label")))
    ]
    source.close()
    return found


def large(args: argparse.Namespace, folder: Path) -> None:
    """Predict the large file undisturbed, and killed and resumed; print memory and speed."""
    data = folder / "large.csv"
    write(args.data, data, args.rows)
    print(f"{args.rows} rows, {data.stat().st_size / 1e6:.0f} MB of CSV", flush=True)
    whole, seconds = predict(args, folder, data, "whole.parquet", None)
    halved, _ = predict(args, folder, data, "half.parquet", random.Random(args.seed))
    print(f"undisturbed: {args.rows / seconds:.0f} rows/s, with the start of the process")
    equal = whole.read_bytes() == halved.read_bytes()
    print(f"killed and resumed: {'equal' if equal else 'NOT EQUAL'} byte by byte", flush=True)
    if not equal:
        sys.exit(1)


def predict(
    args: argparse.Namespace, folder: Path, data: Path, name: str, rng: random.Random | None
) -> tuple[Path, float]:
    """Run `ftr predict`; with `rng` kill it at a random row and resume it. Print its memory."""
    output = folder / name
    words = ["-m", "ftr", "predict", str(args.run), str(data), "--output", str(output)]
    stop = None if rng is None else rng.uniform(0.05, 0.95) * args.rows
    began = time.perf_counter()
    process = begin(words, folder)
    held: dict[int, int] = {}
    for done in watched(output.with_name(f"{name}.partial") / "journal.jsonl", process.poll):
        held[done] = memory(process.pid) or held.get(done, 0)
        if stop is not None and done > stop:
            process.kill()
            break
    if stop is not None:
        process.wait()
        print(f"killed behind row {max(held)}; the output is there: {output.exists()}")
        process = begin([*words, "--resume"], folder)
    finished(process, folder)
    if stop is None:
        for share in (0.1, 1.0):
            near = min(held, key=lambda done: abs(done - share * args.rows))
            print(f"memory at row {near}: {held[near] / 1e6:.0f} MB", flush=True)
    return output, time.perf_counter() - began


def watched(journal: Path, ended: Callable[[], int | None]) -> Iterator[int]:
    """Yield the number of rows that are written, every half second until the process ends."""
    while ended() is None:
        if journal.exists():
            lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)[2:]
            if done := sum(json.loads(line)["rows"] for line in lines if line.endswith("\n")):
                yield done
        time.sleep(0.5)


if __name__ == "__main__":
    main()
