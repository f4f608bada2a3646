"""Plugin `paraphrase`: rates how similar two sentences are, with a head of its own."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ftr.plugin import Column, Head, Prediction, Row, task

DATA = Path(__file__).parent / "data"


def pairs(
    language: Annotated[Literal["all", "de", "en"], "language of the sentences"] = "all",
) -> dict[str, list[Row]]:
    """Return pairs of sentences, rated from 0 to 5, by split."""
    splits: dict[str, list[Row]] = {}
    for file in sorted(DATA.glob("*.csv" if language == "all" else f"{language}.csv")):
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
            splits.setdefault(row.pop("split"), []).append(row)
    return splits


def within_one(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Share of pairs whose rating is at most 1 off."""
    near = [abs(one - other) <= 1 for one, other in zip(predictions, references, strict=True)]
    return sum(near) / len(near)


@task("paraphrase", dataset=pairs, metrics=["spearman", within_one], defaults={"epochs": 8})
class Rating(Head):
    """Rate how similar two sentences are, from 0 to 5."""

    columns = (Column(name="text"), Column(name="text_pair"), Column(name="score", type="number"))

    def reduce(self, outputs: Any, features: Any) -> list[float]:
        return list(outputs["logits"].float().squeeze(-1).clamp(0, 5).tolist())

    def predict(self, row: Row, output: Any, labels: Sequence[str], state: Any) -> Prediction:
        return {"score": output}

    def compare(self, row: Row, prediction: Prediction) -> tuple[float, float]:
        return prediction["score"], row["score"]
