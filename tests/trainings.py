"""Small data on disk, and trainings on it that take seconds."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

CLASSES = {
    "bad": ("bad", "boring", "poor", "hated"),
    "good": ("good", "great", "loved", "funny"),
    "so so": ("long", "short", "sweet", "acting"),
}
FILLER = ("the", "film", "movie", "was", "and", "story", "with", "that", "very", "it", "by", "for")

Settings = Mapping[str, object]

ALL_OF_REVIEWS: Settings = {
    "task": "sentiment",
    "epochs": 5,
    "batch_size": 8,
    "learning_rate": 5e-3,
    "data.max_length": 48,
    "data.validation_size": 0.2,
    "data.test_size": 0.2,
    "train.precision": "fp32",
    "train.logging_steps": 1,
}
"""With every metric of the task, and baselines."""
REVIEWS: Settings = {**ALL_OF_REVIEWS, "metrics": "accuracy,f1", "baselines": False}
"""The same training in 60 % of the time: metrics and baselines take longer than its steps."""
QUESTIONS: Settings = {
    "task": "qa",
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "data.max_length": 48,
    "data.stride": 12,
    "data.validation_size": 0.2,
    "data.test_size": 0.2,
    "head.max_question_length": 12,
    "train.precision": "fp32",
    "train.logging_steps": 1,
    "baselines": False,
}


def train(settings: Settings, **keys: object) -> RunResult:
    """Train without a word and return the result; paths may be given as they are."""
    import ftr

    asked = {**settings, **keys}
    return ftr.run(
        {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()},
        say=lambda line: None,
    )


def review(label: str, rng: random.Random) -> str:
    """Return a review of 3 to 30 words, half of which tell its class."""
    words = [
        rng.choice(CLASSES[label]) if n % 2 == 0 else rng.choice(FILLER)
        for n in range(rng.randint(3, 30))
    ]
    return " ".join(words)


def write_reviews(path: Path, count: int = 60, broken: int = 1, seed: int = 0) -> Path:
    """Write reviews of three classes in turn, and `broken` rows without text, as CSV."""
    rng = random.Random(seed)
    labels = [list(CLASSES)[number % len(CLASSES)] for number in range(count)]
    rows = [(review(label, rng), label) for label in labels] + [("", "good")] * broken
    return write_csv(path, ("review", "sentiment"), rows)


def write_csv(path: Path, header: Iterable[object], rows: Iterable[Iterable[object]]) -> Path:
    """Write a CSV file and return its path."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def write_squad(path: Path, passages: int = 20, broken: int = 1, seed: int = 0) -> Path:
    """Write `passages` of very different lengths with three questions each, the third unanswerable,
    and `broken` wrong answers.
    """
    rng = random.Random(seed)
    articles = [_article(number, rng) for number in range(passages)]
    for number in range(broken):
        articles[number]["paragraphs"][0]["qas"][0]["answers"][0]["text"] = "nobody at all"
    path.write_text(json.dumps({"version": "v2.0", "data": articles}), encoding="utf-8")
    return path


def golds(path: Path) -> dict[str, list[str]]:
    """Return the answer texts of a SQuAD file by question id."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    asked = [
        qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]
    ]
    return {qa["id"]: [answer["text"] for answer in qa["answers"]] for qa in asked}


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def losses(run: RunResult) -> list[float]:
    """Return the training loss of every logged step."""
    return [
        record["loss"] for record in lines(run.path / "metrics.jsonl") if record["kind"] == "train"
    ]


def _article(number: int, rng: random.Random) -> dict[str, Any]:
    year, builder = rng.randint(1800, 1999), rng.choice(("two brothers", "the bakers", "a village"))
    filler = " ".join(rng.choice(FILLER) for _ in range(rng.randint(0, 80)))
    context = f"the old mill was built by {builder} . {filler} a flood broke it in {year} ."
    asked = [
        ("who built the mill ?", builder),
        ("when did the flood come ?", str(year)),
        ("where is the river ?", None),
    ]
    qas = [
        {
            "id": f"q{number}-{place}",
            "question": question,
            "is_impossible": answer is None,
            "answers": []
            if answer is None
            else [{"text": answer, "answer_start": context.index(answer)}],
        }
        for place, (question, answer) in enumerate(asked)
    ]
    return {"title": f"Mill {number}", "paragraphs": [{"context": context, "qas": qas}]}


NO_ROOM = {"id": "7", "text": "a good film", "text_pair": "and the long story of a boring film"}
"""A row that a model of `with_windows` refuses: the pair leaves no room for the text."""


def with_windows(model: Path, folder: Path) -> Path:
    """Copy the model of a classifier; the copy reads texts in windows of 8 tokens."""
    shutil.copytree(model, folder)
    card = json.loads((folder / "ftr.json").read_text(encoding="utf-8"))
    changed = {**card, "max_length": 8, "stride": 2}
    changed["head_options"] = {**card["head_options"], "windows": True}
    (folder / "ftr.json").write_text(json.dumps(changed), encoding="utf-8")
    return folder
