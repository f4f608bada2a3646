"""Plugin `ingredients`: amounts, units and foods of a recipe, with the head of ftr for words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from ftr.plugin import Row, task

SAMPLE = Path(__file__).parent / "data" / "recipes.jsonl"


def whole_lines(predictions: Sequence[list[str]], references: Sequence[list[str]]) -> float:
    """Share of lines whose tags are all right."""
    right = [one == true for one, true in zip(predictions, references, strict=True)]
    return sum(right) / len(right)


@task(
    "ingredients",
    head="token-classification",
    metrics=["entity_f1", whole_lines],
    defaults={"learning_rate": 5e-4, "batch_size": 16, "epochs": 6, "data.max_length": 64},
    search_space={"learning_rate": "loguniform(1e-4,1e-3)", "epochs": "choice(4,6,8)"},
)
def recipes(
    min_words: Annotated[int, Ge(1), "lines with fewer words are left out"] = 1,
) -> dict[str, list[Row]]:
    """Find the amounts, units and foods in the lines of a recipe."""
    splits: dict[str, list[Row]] = {}
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if len(row["tokens"]) >= min_words:
            splits.setdefault(row.pop("split"), []).append(row)
    return splits
