"""The comments written for this package, a file for each language."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel

LANGUAGES = ("de", "en", "es")
SPLITS = ("train", "validation", "test")


class ToxicSample:
    """Comments with the set of labels that apply; what a test comment says is mostly said nowhere
    in training.
    """

    def load(self, options: BaseModel | None) -> DatasetDict:
        """Return the splits that the files name, with `id`, `text` and `labels`."""
        from datasets import Dataset, DatasetDict, Features, List, Value

        # Said rather than found out: a comment without labels has an empty list, which has no type
        # of its own.
        features = Features(
            {"id": Value("string"), "text": Value("string"), "labels": List(Value("string"))}
        )
        rows = [row for language in LANGUAGES for row in read(language)]
        return DatasetDict(
            {
                split: Dataset.from_list(
                    [{key: row[key] for key in features} for row in rows if row["split"] == split],
                    features=features,
                )
                for split in SPLITS
            }
        )


def read(language: str) -> list[dict[str, Any]]:
    """Return the rows of a language's file: `id`, `split`, `text` and `labels`."""
    text = (
        files("ftr_toxic_labels").joinpath("data", f"{language}.jsonl").read_text(encoding="utf-8")
    )
    return [json.loads(line) for line in text.splitlines()]
