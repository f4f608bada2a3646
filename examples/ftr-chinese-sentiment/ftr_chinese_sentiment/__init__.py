"""Plugin `chinese-sentiment`: the sentiment of Chinese reviews, read character by character by a
small model of its own.
"""

import csv
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Len

from ftr.plugin import ModelSpec, Row, hookimpl, task

DATA = Path(__file__).parent / "data"
Part = Literal["books", "food", "hotels", "phones", "traditional"]


@hookimpl
def ftr_models() -> list[ModelSpec]:
    """Return the model; its module is imported when it is used."""
    return [
        ModelSpec(
            name="hanzi-bert",
            target="ftr_chinese_sentiment.model:HanziBert",
            options="ftr_chinese_sentiment.model:HanziBert",
            summary="a small BERT over Chinese characters, its weights drawn from a seed; needs no "
            "hub",
        )
    ]


@task(
    "chinese-sentiment",
    model="hanzi-bert",
    metrics=["accuracy", "f1", "confusion_matrix"],
    defaults={"learning_rate": 1e-3, "batch_size": 16, "epochs": 8, "data.max_length": 64},
    search_space={
        "learning_rate": "loguniform(3e-4,3e-3)",
        "batch_size": "choice(8,16,32)",
        "model.layers": "choice(1,2)",
    },
)
def reviews(
    parts: Annotated[
        tuple[Part, ...], Len(1), "files to read; `traditional`: in traditional characters"
    ] = get_args(Part),
) -> dict[str, list[Row]]:
    """Label a Chinese review by its sentiment."""
    splits: dict[str, list[Row]] = {}
    for part in parts:
        for row in csv.DictReader((DATA / f"{part}.csv").read_text(encoding="utf-8").splitlines()):
            splits.setdefault(row.pop("split"), []).append(row)
    return splits
