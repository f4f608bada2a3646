"""The two small datasets written for this project: enough to see a task work on a machine without a
network.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel

    from ftr.data.rows import Row

# Of twenty equal parts: how many each split gets.
PARTS = {"validation": 3, "test": 3}
WHOLE = 20


class SentimentSample:
    """Short reviews of three classes; each split has the classes in equal shares."""

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return train, validation and test: 70, 15 and 15 % of the reviews of each class."""
        import csv
        import io

        rows: list[Row] = [
            dict(row) for row in csv.DictReader(io.StringIO(_read("sentiment.csv"), newline=""))
        ]
        seen: dict[object, int] = {}
        parts = []
        for row in rows:
            seen[row["label"]] = seen.get(row["label"], 0) + 1
            parts.append(_part(seen[row["label"]]))
        return _divided(rows, parts)


class QASample:
    """Questions on short passages, a third of them unanswerable; all passages of one title are in
    one split.
    """

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return train, validation and test: 70, 15 and 15 % of the titles."""
        import json

        from ftr.data.squad import read_squad

        table = read_squad(json.loads(_read("qa.json")), "qa.json", "train")
        rows: list[Row] = [
            dict(zip(table.columns, record, strict=True)) for record in table.records
        ]
        for row in rows:
            row.pop("is_impossible", None)
            found = row["answers"] if isinstance(row["answers"], list) else []
            row["answers"] = {
                key: [answer[key] for answer in found] for key in ("text", "answer_start")
            }
        titles = {
            title: number
            for number, title in enumerate(dict.fromkeys(row["title"] for row in rows), start=1)
        }
        return _divided(rows, [_part(titles[row["title"]]) for row in rows])


def _part(number: int) -> str:
    """Return the split of the `number`-th item: a fixed pattern, so the division never moves."""
    place = number * 7 % WHOLE
    return (
        "validation"
        if place < PARTS["validation"]
        else "test"
        if place < sum(PARTS.values())
        else "train"
    )


def _divided(rows: list[Row], parts: list[str]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    names = ("train", *PARTS)
    chosen = {
        name: [row for row, part in zip(rows, parts, strict=True) if part == name] for name in names
    }
    return DatasetDict({name: Dataset.from_list(chosen[name]) for name in names})


def _read(name: str) -> str:
    return files("ftr_plugins").joinpath("data", name).read_text(encoding="utf-8")
