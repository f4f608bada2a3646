"""The practices that `practices.py` measures, and the rows they are measured on."""

import csv
import gzip
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from throughput import READERS, Row
from tweets import write_tweets

PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rows, the settings all its runs share, and the score that is compared."""

    write: Callable[[Path, Path], dict[str, Path]]
    settings: tuple[str, ...]
    score: str
    most: float = 1.0
    """The best value of the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """One practice: what to set on which case, and what it is compared with."""

    name: str
    settings: tuple[str, ...] = ()
    case: str = "tweets"
    base: str = PLAIN

    @property
    def plain(self) -> bool:
        """Whether others are compared with it."""
        return self.name.startswith(PLAIN)


def write_reviews(folder: Path, data: Path) -> dict[str, Path]:
    """Write 640, 200 and 1,000 reviews of IMDb, drawn with seed 42."""
    with gzip.open(
        data / "imdb" / "IMDb_reviews.csv.gz", "rt", encoding="utf-8", newline=""
    ) as file:
        rows = list(csv.DictReader(file))
    random.Random(42).shuffle(rows)
    named = (
        {"id": str(number), "text": row["review"], "label": row["sentiment"]}
        for number, row in enumerate(rows)
    )
    return _written(folder, "imdb", named, {"train": 640, "validation": 200, "test": 1000})


def _written(
    folder: Path, name: str, rows: Iterable[Row], counts: dict[str, int]
) -> dict[str, Path]:
    files, stream = {}, iter(rows)
    for split, count in counts.items():
        files[split] = folder / f"{name}-{split}.jsonl"
        files[split].write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in islice(stream, count)),
            encoding="utf-8",
        )
    return files


def write_first(name: str, counts: dict[str, int]) -> Callable[[Path, Path], dict[str, Path]]:
    """Return what writes the first rows of SST-2 or SQuAD v1.1: `train` and `validation` are of its
    training split, one after the other, `test` is of its dev split.
    """

    def write(folder: Path, data: Path) -> dict[str, Path]:
        learned = READERS[name](data, "train")
        files = _written(folder, name, learned, {k: counts[k] for k in ("train", "validation")})
        return files | _written(
            folder, name, READERS[name](data, "validation"), {"test": counts["test"]}
        )

    return write


_ALL = ("dataset=files", "train.eval_on_start=false", "baselines=false")
CASES = {
    "tweets": Case(
        write=lambda folder, data: write_tweets(
            folder, data, {"train": 640, "validation": 200, "test": 1500}
        ),
        settings=("task=sentiment", *_ALL, "data.max_length=128", "batch_size=16", "epochs=2"),
        score="accuracy",
    ),
    "imdb": Case(
        write=write_reviews,
        settings=("task=sentiment", *_ALL, "data.max_length=128", "batch_size=16", "epochs=2"),
        score="accuracy",
    ),
    "sst2-2k": Case(
        write=write_first("sst2", {"train": 2000, "validation": 200, "test": 872}),
        settings=("task=sentiment", *_ALL, "data.max_length=128", "batch_size=16", "epochs=2"),
        score="accuracy",
    ),
    "tweets-2k": Case(
        write=lambda folder, data: write_tweets(
            folder, data, {"train": 2000, "validation": 200, "test": 1500}
        ),
        settings=("task=sentiment", *_ALL, "data.max_length=128", "batch_size=16", "epochs=2"),
        score="accuracy",
    ),
    "squad-2k": Case(
        write=write_first("squad", {"train": 2000, "validation": 100, "test": 700}),
        settings=("task=qa", *_ALL, "batch_size=16", "epochs=2", "learning_rate=2e-4"),
        score="f1",
        most=100.0,
    ),
}

PRACTICES = (
    Practice(name=PLAIN),
    Practice(name="dropout off", settings=("train.dropout=0", "train.attention_dropout=0")),
    Practice(name="dropout of attention only", settings=("train.dropout=0",)),
    Practice(name="frozen backbone", settings=("train.freeze=backbone", "learning_rate=1e-2")),
    Practice(name="frozen embeddings", settings=("train.freeze=embeddings",)),
    Practice(name="lowest 3 layers frozen", settings=("train.freeze=3",)),
    Practice(
        name="head first, then all",
        settings=("train.freeze=backbone", "train.unfreeze=all", "epochs=4"),
        base=f"{PLAIN}, 4 epochs",
    ),
    Practice(
        name="gradual unfreezing",
        settings=("train.freeze=backbone", "train.unfreeze=3", "epochs=4"),
        base=f"{PLAIN}, 4 epochs",
    ),
    Practice(name="layer-wise decay", settings=("train.layerwise_decay=0.8",)),
    Practice(
        name="LoRA",
        settings=("train.lora.rank=8", "learning_rate=2e-3", "epochs=4"),
        base=f"{PLAIN}, 4 epochs",
    ),
    Practice(name="cleaned: html, urls, users", settings=("data.clean=html,urls,users",)),
    Practice(name="cleaned: unicode, whitespace", settings=("data.clean=unicode,whitespace",)),
    Practice(name="stop words left out", settings=("data.stop_words=en",)),
    Practice(name="words deleted", settings=("data.augment.delete=0.1",)),
    Practice(name="words swapped", settings=("data.augment.swap=0.1",)),
    Practice(name="words replaced", settings=("data.augment.replace=0.1",)),
    Practice(name="words inserted", settings=("data.augment.insert=0.1",)),
    Practice(name="duplicates removed", settings=("data.duplicates=remove",)),
    Practice(name="class weights", settings=("train.class_weights=auto",)),
    Practice(name="weighted sampler", settings=("train.sampler=weighted",)),
    Practice(name="cosine schedule", settings=("train.lr_scheduler=cosine",)),
    Practice(name="no warmup", settings=("train.warmup=0",)),
    Practice(name="no weight decay", settings=("train.weight_decay=0",)),
    Practice(name="no clipping", settings=("train.max_grad_norm=0",)),
    Practice(name="label smoothing", settings=("train.label_smoothing=0.1",)),
    Practice(name="adafactor", settings=("train.optimizer=adafactor",)),
    Practice(name="sgd", settings=("train.optimizer=sgd", "learning_rate=0.5")),
    Practice(name="moving average of weights", settings=("train.ema=0.95",)),
    Practice(name="validation every 25 steps", settings=("train.evaluate_every=25",)),
    Practice(name=f"{PLAIN}, 4 epochs", settings=("epochs=4",)),
    Practice(
        name="early stopping, 4 epochs",
        settings=("epochs=4", "train.early_stopping_patience=1"),
        base=f"{PLAIN}, 4 epochs",
    ),
    Practice(name="micro-batches of 2", settings=("train.micro_batch_size=2",)),
    Practice(name="activations computed again", settings=("train.activation_checkpointing=true",)),
    Practice(name="bagging of 3", settings=("ensemble=bagging",)),
    Practice(name="3 seeds averaged", settings=("ensemble=seeds",)),
    Practice(name="3 folds averaged", settings=("ensemble=folds", "cv.folds=3")),
    Practice(name="soup of 3 seeds", settings=("ensemble=soup",)),
    Practice(name="boosting, 3 rounds", settings=("boosting=3",)),
    Practice(name=PLAIN, case="imdb"),
    Practice(
        name="cleaned: html, whitespace", settings=("data.clean=html,whitespace",), case="imdb"
    ),
    *(
        Practice(name=name, settings=settings, case=case)
        for case in ("sst2-2k", "tweets-2k", "squad-2k")
        for name, settings in (
            (PLAIN, ()),
            ("no dropout of attention", ("train.attention_dropout=0",)),
        )
    ),
)
