"""The final table of a run: baselines, the untrained and the trained model side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDEST = 80
"""Characters of the widest table that is not folded."""
OTHER_AVERAGES = ("_macro", "_micro", "_weighted")


def score_columns(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the columns there are, in order: of the held-out split baselines, `untrained` and `trained`, then validation."""
    heldout, scores = record["heldout"], record["scores"]
    columns: dict[str, dict[str, Any]] = {}
    for name, by_split in record.get("baselines", {}).items():
        if heldout in by_split:
            columns[f"{heldout}, {name}"] = by_split[heldout]
    if record["untrained"] is not None:
        columns[f"{heldout}, untrained"] = record["untrained"]
    if heldout:
        columns[f"{heldout}, trained"] = scores[heldout]
    if heldout == "test" and "validation" in scores:
        columns["validation, trained"] = scores["validation"]
    return columns


def score_table(record: Mapping[str, Any], markdown: bool = False) -> list[str]:
    """Return the lines of a table: a row a score that is a single number, a column a split."""
    columns = score_columns(record)
    if not columns:
        return ["no validation or test rows: nothing was scored"]
    names = list(dict.fromkeys(key for scores in columns.values() for key, value in scores.items() if _shown(key, value)))
    digits = decimals([value for scores in columns.values() for key, value in scores.items() if key != "loss"])
    rows = [["", *columns], *([name, *(number(scores.get(name), digits) for scores in columns.values())] for name in names)]
    if markdown:
        return as_markdown(rows)
    lines = aligned(rows)
    return lines if len(lines[0]) <= WIDEST else aligned([*_stacked(rows[0]), *rows[1:]])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]


def as_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as the lines of a Markdown table; the first is its header."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [body[0], "|---" * len(rows[0]) + "|", *body[1:]]


def _stacked(header: Sequence[str]) -> list[list[str]]:
    """Return a header of `split, what` cells as two rows, each split named above the first of its columns."""
    splits, kinds = [cell.partition(", ")[0] for cell in header], [cell.partition(", ")[2] for cell in header]
    return [["" if place and name == splits[place - 1] else name for place, name in enumerate(splits)], kinds]


def _shown(key: str, value: Any) -> bool:
    """Whether a score stands in the table: other averages of a score that stands there are in `run.json` alone."""
    return isinstance(value, int | float) and not key.endswith(OTHER_AVERAGES)


def decimals(values: Iterable[Any]) -> int:
    """Return how many decimals scores are shown with: two where some are percentages, or a 0.95 % would read as 95 %."""
    return 2 if any(isinstance(value, float) and abs(value) > 1 for value in values) else 4


def number(value: Any, digits: int = 4) -> str:
    """Return a score for reading: whole numbers as they are, others with `digits` decimals."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}"
