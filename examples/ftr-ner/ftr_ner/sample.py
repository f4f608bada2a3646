"""The sentences written for this package, a file for each language."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ftr_ner.options import SampleOptions

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel

SPLITS = ("train", "validation", "test")


class NerSample:
    """Tokenised sentences with BIO tags; the names and the turns of phrase of a test sentence are
    mostly not those of training.
    """

    def load(self, options: BaseModel | None) -> DatasetDict:
        """Return the splits that the files name, with `id`, `tokens` and `tags`."""
        from datasets import Dataset, DatasetDict

        chosen = options if isinstance(options, SampleOptions) else SampleOptions()
        rows = [row for language in chosen.languages for row in read(language)]
        return DatasetDict(
            {
                split: Dataset.from_list(
                    [
                        {key: row[key] for key in ("id", "tokens", "tags")}
                        for row in rows
                        if row["split"] == split
                    ]
                )
                for split in SPLITS
            }
        )


def read(language: str) -> list[dict[str, Any]]:
    """Return the rows of a language's file: `id`, `split`, `tokens` and `tags`."""
    text = files("ftr_ner").joinpath("data", f"{language}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
