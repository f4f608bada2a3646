"""`data.duplicates`: rows of equal texts, within a split and between splits, and answers to them that contradict each other."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftr.data.rows import SPLITS, Row, Rows

if TYPE_CHECKING:
    from ftr.data.schema import RowSchema

Key = tuple[str, ...]


def text_key(row: Mapping[str, object], schema: RowSchema) -> Key:
    """Return what makes two rows duplicates: their texts in NFKC, without case, with single spaces."""
    return tuple(_normal(row.get(column.name)) for column in schema.columns if _input(column.type) and not column.target)


def input_names(schema: RowSchema) -> list[str]:
    """Return the columns that are compared and that every row has."""
    return [column.name for column in schema.columns if _input(column.type) and column.required]


def find(splits: Mapping[str, Rows], schema: RowSchema) -> dict[str, dict[str, int]]:
    """Return, for each split, counts of rows by what they duplicate; a count of 0 is left out.

    `repeated`: rows whose texts stand in an earlier row of the split; `contradicting`: rows whose texts stand in the split with
    another target too; `in_train`, `in_validation`, `in_test`: rows whose texts stand in that other split.
    """
    if not input_names(schema):
        return {}
    keys = {split: [text_key(row, schema) for row in splits[split].rows] for split in SPLITS if split in splits}
    sets = {split: set(found) for split, found in keys.items()}
    report: dict[str, dict[str, int]] = {}
    for split, found in keys.items():
        counts = {"repeated": len(found) - len(sets[split]), "contradicting": _contradicting(splits[split].rows, found, schema)}
        counts |= {f"in_{other}": sum(key in sets[other] for key in found) for other in sets if other != split}
        report[split] = {name: count for name, count in counts.items() if count}
    return report


def unique(splits: Mapping[str, Rows], schema: RowSchema) -> list[int]:
    """Return the training rows to keep: the first of each text, where it stands in no held-out split."""
    heldout = {text_key(row, schema) for split in SPLITS if split != "train" and split in splits for row in splits[split].rows}
    kept: list[int] = []
    for index, row in enumerate(splits["train"].rows):
        key = text_key(row, schema)
        if key not in heldout:
            heldout.add(key)
            kept.append(index)
    return kept


def notes(report: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int], schema: RowSchema) -> list[str]:
    """Return what to tell a person of `find`'s counts."""
    what = f"the same {' and '.join(input_names(schema))}"
    lines: list[str] = []
    for split, counts in report.items():
        of = f"of {sizes[split]} rows"
        if counts.get("repeated"):
            several = f", {counts['contradicting']} stand there with different targets" if counts.get("contradicting") else ""
            lines.append(f"{split}: {counts['repeated']} {of} repeat an earlier one ({what}){several}")
        if split != "train" and counts.get("in_train"):
            lines.append(f"{split}: {counts['in_train']} {of} have {what} as a training row")
    return lines


def _contradicting(rows: Sequence[Row], keys: Sequence[Key], schema: RowSchema) -> int:
    targets = [column.name for column in schema.columns if column.target]
    if not targets:
        return 0
    found: dict[Key, set[str]] = {}
    counts = Counter(keys)
    for row, key in zip(rows, keys, strict=True):
        if counts[key] > 1:
            found.setdefault(key, set()).add("\n".join(_target(row.get(name)) for name in targets))
    return sum(counts[key] for key, several in found.items() if len(several) > 1)


def _target(value: object) -> str:
    """Return a target for comparison: of answers their texts, whatever their order and place."""
    return str(sorted(map(str, value["text"]))) if isinstance(value, Mapping) and isinstance(value.get("text"), list) else str(value)


def _input(kind: str) -> bool:
    return kind in ("text", "tokens")


def _normal(value: object) -> str:
    if isinstance(value, list):
        return "\x1f".join(map(_normal, value))
    text = "" if value is None else str(value)
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().split())
