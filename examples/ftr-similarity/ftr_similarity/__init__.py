"""Plugin `paraphrase`: rates how similar two sentences are, with a head of its own."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftr.plugin import Column, Head, Prediction, Row, task


def pairs() -> dict[str, list[Row]]:
    """Return pairs of sentences, rated from 0 to 5, by split."""
    splits: dict[str, list[Row]] = {}
    for file in sorted(Path(__file__).with_name("data").glob("*.csv")):
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
            splits.setdefault(row.pop("split"), []).append(row)
    return splits


def within_one(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Share of pairs whose rating is at most 1 off."""
    near = [abs(one - other) <= 1 for one, other in zip(predictions, references, strict=True)]
    return sum(near) / len(near)


@task(
    "paraphrase",
    dataset=pairs,
    metrics=["spearman", within_one],
    defaults={"learning_rate": 2e-4, "batch_size": 16, "epochs": 8, "data.max_length": 96},
    search_space={"learning_rate": "loguniform(5e-5,5e-4)", "epochs": "choice(6,8,10)"},
)
class Rating(Head):
    """Rate how similar two sentences are, from 0 to 5."""

    columns = (Column(name="text"), Column(name="text_pair"), Column(name="score", type="number"))

    def reduce(self, outputs: Any, features: Any) -> list[float]:
        return list(outputs["logits"].float().squeeze(-1).clamp(0, 5).tolist())

    def predict(self, row: Row, output: Any, labels: Sequence[str], state: Any) -> Prediction:
        return {"score": output}

    def compare(self, row: Row, prediction: Prediction) -> tuple[float, float]:
        return prediction["score"], row["score"]
