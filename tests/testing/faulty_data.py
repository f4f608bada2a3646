# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: TID253 - what stands here is imported when it is used, as targets are
"""Datasets with one fault each; `HealthyDataset` has none."""

from __future__ import annotations

import random
from typing import Any

from datasets import Dataset, DatasetDict

WORDS = ("good", "bad", "long", "short", "funny", "boring", "sweet", "poor")


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Return rows with ids from `first` on, all different."""
    return [
        {"id": str(n), "text": f"{WORDS[n % 8]} film number {n}", "label": ("no", "yes")[n % 2]}
        for n in range(first, first + count)
    ]


class HealthyDataset:
    def load(self, options):
        return self.made(rows(0, 12), rows(100, 4))

    def made(self, train, test):
        return DatasetDict(train=Dataset.from_list(train), test=Dataset.from_list(test))


class EmptySplit(HealthyDataset):
    def load(self, options):
        return DatasetDict(
            train=Dataset.from_list(rows(0, 12)), test=Dataset.from_list(rows(100, 4)).select([])
        )


class UndeclaredColumn(HealthyDataset):
    def load(self, options):
        return self.made([{**row, "source": "here"} for row in rows(0, 12)], rows(100, 4))


class MissingColumn(HealthyDataset):
    def load(self, options):
        return self.made(
            [{"id": row["id"], "text": row["text"]} for row in rows(0, 12)], rows(100, 4)
        )


class UnseededShuffle(HealthyDataset):
    def load(self, options):
        train = rows(0, 12)
        random.shuffle(train)
        return self.made(train, rows(100, 4))


class ThroughASet(HealthyDataset):
    def load(self, options):
        texts = {row["text"] for row in rows(0, 12)}
        return self.made(
            [{"id": str(n), "text": text, "label": "yes"} for n, text in enumerate(texts)],
            rows(100, 4),
        )


class DuplicateIds(HealthyDataset):
    def load(self, options):
        return self.made([*rows(0, 11), {**rows(11, 1)[0], "id": "3"}], rows(100, 4))


class TestsOnTraining(HealthyDataset):
    def load(self, options):
        return self.made(rows(0, 12), [{**row, "id": f"t{row['id']}"} for row in rows(2, 4)])


class NamesSplitsItsOwnWay(HealthyDataset):
    def load(self, options):
        return DatasetDict(training=Dataset.from_list(rows(0, 12)))


class ReturnsTexts(HealthyDataset):
    def load(self, options):
        return [row["text"] for row in rows(0, 12)]


class HasEmptyTexts(HealthyDataset):
    def load(self, options):
        return self.made([*rows(0, 11), {"id": "11", "text": "", "label": "no"}], rows(100, 4))


class CannotLoad(HealthyDataset):
    def load(self, options):
        return self.made(rows(0, options.size), rows(100, 4))
