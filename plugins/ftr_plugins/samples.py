"""The small datasets written for this project: enough to see a task work on a machine without a
network.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import DatasetDict, Features
    from pydantic import BaseModel

    from ftr.data.store import Row

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


class TopicsSample:
    """Short news and forum posts in English and German with none to three of six topics."""

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return the splits that the file names, with `id`, `text` and `labels`."""
        from datasets import Features, List, Value

        # A text without topics has an empty list, which has no type of its own.
        features = Features(
            {"id": Value("string"), "text": Value("string"), "labels": List(Value("string"))}
        )
        return _by_split(_json_lines("topics.jsonl"), features)


class SimilaritySample:
    """Pairs of sentences in English and German with a score from 0 to 5; all pairs about one scene
    are in one split.
    """

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return the splits that the file names, with `id`, `text`, `text_pair` and `score`."""
        import csv
        import io

        rows: list[Row] = [
            {**row, "score": float(row["score"])}
            for row in csv.DictReader(io.StringIO(_read("similarity.csv"), newline=""))
        ]
        return _by_split(rows)


class NerSample:
    """Tokenized sentences in four languages with BIO tags; most names and phrases of the test
    sentences do not occur in training.
    """

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return the splits that the file names, with `id`, `tokens` and `tags`."""
        return _by_split(_json_lines("ner.jsonl"))


def _json_lines(name: str) -> list[Row]:
    import json

    return [json.loads(line) for line in _read(name).splitlines()]


def _by_split(rows: list[Row], features: Features | None = None) -> DatasetDict:
    """Return the rows of each split, without the column `split` that names it."""
    from datasets import Dataset, DatasetDict

    names = ("train", *PARTS)
    chosen = {
        name: [
            {key: cell for key, cell in row.items() if key != "split"}
            for row in rows
            if row["split"] == name
        ]
        for name in names
    }
    return DatasetDict({name: Dataset.from_list(chosen[name], features=features) for name in names})


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
