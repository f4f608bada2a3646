"""The pairs of sentences written for this package, a file for each language."""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel

LANGUAGES = ("de", "en")
SPLITS = ("train", "validation", "test")
COLUMNS = ("id", "text", "text_pair", "score")


class SimilaritySample:
    """Pairs with a score from 0 to 5; all pairs about one scene are in one split."""

    def load(self, options: BaseModel | None) -> DatasetDict:
        """Return the splits that the files name, with `id`, `text`, `text_pair` and `score`."""
        from datasets import Dataset, DatasetDict

        rows = [row for language in LANGUAGES for row in read(language)]
        return DatasetDict(
            {
                split: Dataset.from_list(
                    [{key: row[key] for key in COLUMNS} for row in rows if row["split"] == split]
                )
                for split in SPLITS
            }
        )


def read(language: str) -> list[dict[str, Any]]:
    """Return the rows of a language's file: `id`, `split`, `text`, `text_pair` and `score`."""
    text = files("ftr_similarity").joinpath("data", f"{language}.csv").read_text(encoding="utf-8")
    return [
        {**row, "score": float(row["score"])}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
