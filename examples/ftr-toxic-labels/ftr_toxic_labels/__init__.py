"""Plugin `toxic-labels`: what is wrong with a comment, with the head of ftr for several labels."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from ftr.plugin import Row, task

DATA = Path(__file__).parent / "data"


def jaccard(predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> float:
    """Mean of the labels that are right by those that are predicted or true; 1 for none of both."""
    pairs = [
        (sum(map(min, found, true)), sum(map(max, found, true)))
        for found, true in zip(predictions, references, strict=True)
    ]
    return sum(both / either if either else 1.0 for both, either in pairs) / len(pairs)


@task(
    "toxic-labels",
    head="multi-label-classification",
    metrics=["multi_label", jaccard],
    defaults={"learning_rate": 4e-4, "batch_size": 16, "epochs": 5, "data.max_length": 96},
    search_space={"learning_rate": "loguniform(1e-4,1e-3)", "epochs": "choice(3,5,7)"},
)
def comments(
    language: Annotated[Literal["all", "de", "en", "es"], "language of the comments"] = "all",
) -> dict[str, list[Row]]:
    """Find insults, threats, swearing and advertising in a comment."""
    splits: dict[str, list[Row]] = {}
    for file in sorted(DATA.glob("*.jsonl" if language == "all" else f"{language}.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            splits.setdefault(row.pop("split"), []).append(row)
    return splits
