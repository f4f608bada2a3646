"""The recipe of `tweets_plain.py` beside `ftr run` with `examples/recipes/tweets.yaml`: 1,000
tweets, 1,000 to test on, three classes.

Both sides train on the same rows (shuffled with seed 42, the first 1,000 of each split) and the
same model, in turn, one process at a time. The unit is tweets per second of training, evaluation
left out.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftr_plugins.models import MiniLM
from throughput import HERE, machine, process

LABELS = {"negative": 0, "neutral": 1, "positive": 2}
CONFIG = HERE.parent / "examples" / "recipes" / "tweets.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One training: tweets a second, accuracy on the test tweets, peak memory in bytes, seconds of
    the whole process.
    """

    rate: float
    accuracy: float
    memory: int
    wall: float
    about: str


def main() -> None:
    """Measure and print."""
    args = arguments()
    print("\n".join(machine()), flush=True)
    pairs = []
    with tempfile.TemporaryDirectory(prefix="ftr-tweets-") as folder:
        files = write_tweets(Path(folder), args.data, {"train": args.rows, "test": args.rows})
        for seed in range(args.pairs):
            pair = (
                shown("recipe", plain(files, seed, Path(folder))),
                shown("ftr", ours(files, seed, Path(folder))),
            )
            pairs.append(pair)
    print("\n" + "\n".join(table(pairs)))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--pairs", type=int, default=3, help="pairs of trainings, each with a seed of its own"
    )
    parser.add_argument(
        "--rows", type=int, default=1000, help="fewer, to try the program, not to measure"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("FTR_DATA", HERE.parent.parent / "shared" / "data")),
    )
    args = parser.parse_args()
    if not (args.data / "tweet_sentiment").is_dir():
        parser.error(
            f"there is no folder `{args.data / 'tweet_sentiment'}`: give the real data with "
            "`--data` or `FTR_DATA`"
        )
    return args


def write_tweets(folder: Path, data: Path, counts: dict[str, int]) -> dict[str, Path]:
    """Write the first rows of each split, shuffled as `datasets` shuffles with seed 42, and return
    the files.

    Rows of `validation` are the ones after those of `train`.
    """
    from datasets import Dataset

    files = {}
    for split in ("train", "test"):
        shuffled = Dataset.from_list(list(tweets(data, split))).shuffle(seed=42)
        begin = 0
        for name in (split, "validation") if split == "train" else (split,):
            count = counts.get(name, 0)
            if count:
                files[name] = folder / f"{name}.jsonl"
                rows = shuffled.select(range(begin, begin + count))
                files[name].write_text(
                    "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
                    encoding="utf-8",
                )
            begin += count
    return files


def tweets(data: Path, split: str) -> list[dict[str, Any]]:
    """Return the tweets of a split that have a text; labels are 0 (negative), 1 and 2
    (positive).
    """
    with gzip.open(
        data / "tweet_sentiment" / f"{split}.csv.gz", "rt", encoding="utf-8", newline=""
    ) as file:
        rows = [row for row in csv.DictReader(file) if row["text"].strip()]
    return [
        {"id": row["textID"], "text": row["text"], "label": LABELS[row["sentiment"]]}
        for row in rows
    ]


def plain(files: dict[str, Path], seed: int, folder: Path) -> Measured:
    """Train with the recipe."""
    words = [f"--{split}={files[split]}" for split in ("train", "test")]
    words += [f"--model={MiniLM().source}", f"--seed={seed}", f"--output-dir={folder / 'plain'}"]
    answer, wall = process([str(HERE / "tweets_plain.py"), *words], folder)
    found = json.loads(answer.splitlines()[-1])
    about = f"{found['steps']} steps, {found['length']} tokens a tweet"
    rate = found["rows"] * found["epochs"] / found["seconds"]
    return Measured(
        rate=rate,
        accuracy=found["accuracy"],
        memory=found["peak_memory_bytes"],
        wall=wall,
        about=about,
    )


def ours(files: dict[str, Path], seed: int, folder: Path) -> Measured:
    """Train with `ftr run`, on all of the training tweets."""
    settings = [
        f"config={CONFIG}",
        "dataset=files",
        f"dataset.train={files['train']}",
        f"dataset.test={files['test']}",
        f"seed={seed}",
    ]
    settings += [
        "dataset.validation=none",
        "data.validation_size=0",
        "train.eval_on_start=false",
        f"output={folder / 'runs'}",
    ]
    answer, wall = process(["-m", "ftr", "run", *settings, "--json"], folder)
    record = json.loads(answer)["record"]
    return Measured(
        rate=record["data"]["splits"]["train"]["row_count"]
        * record["config"]["epochs"]
        / record["timings"]["train"],
        accuracy=record["scores"]["test"]["accuracy"],
        memory=record["peak_memory_bytes"],
        wall=wall,
        about=f"{record['steps']} steps",
    )


def shown(side: str, found: Measured) -> Measured:
    """Print one training and return it."""
    print(
        f"{side:<8}{found.rate:7.2f} tweets/s  accuracy {found.accuracy:.4f}  peak "
        f"{found.memory / 1e9:.1f} GB, whole process {found.wall:.0f} s ({found.about})",
        flush=True,
    )
    return found


def table(pairs: list[tuple[Measured, Measured]]) -> list[str]:
    """Return the medians as Markdown."""
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    rates = [statistics.median(found.rate for found in side) for side in sides]
    accuracies = [statistics.mean(found.accuracy for found in side) for side in sides]
    walls = [statistics.median(found.wall for found in side) for side in sides]
    memory = [statistics.median(found.memory for found in side) / 1e9 for side in sides]
    return [
        f"| {len(pairs)} pairs | recipe | ftr | ratio |",
        "|---|---:|---:|---:|",
        f"| tweets per second of training, median | {rates[0]:.2f} | {rates[1]:.2f} | "
        f"{rates[1] / rates[0]:.1f} |",
        f"| accuracy, mean | {accuracies[0]:.4f} | {accuracies[1]:.4f} | |",
        f"| whole process, s, median | {walls[0]:.0f} | {walls[1]:.0f} | {walls[0] / walls[1]:.1f} "
        "|",
        f"| peak memory, GB | {memory[0]:.1f} | {memory[1]:.1f} | |",
    ]


if __name__ == "__main__":
    main()
