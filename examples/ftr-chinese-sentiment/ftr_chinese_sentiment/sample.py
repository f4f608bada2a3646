"""The reviews written for this package, a file for each thing they are about."""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from typing import TYPE_CHECKING

from ftr_chinese_sentiment.options import SampleOptions

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel

SPLITS = ("train", "validation", "test")
COLUMNS = ("id", "text", "label")


class ChineseReviews:
    """Reviews of three classes, 好评 (good), 中评 (so so) and 差评 (bad), in equal shares."""

    def load(self, options: BaseModel | None) -> DatasetDict:
        """Return the splits that the files name, with `id`, `text` and `label`."""
        from datasets import Dataset, DatasetDict

        chosen = options if isinstance(options, SampleOptions) else SampleOptions()
        rows = [row for part in chosen.parts for row in read(part)]
        return DatasetDict(
            {
                split: Dataset.from_list(
                    [{key: row[key] for key in COLUMNS} for row in rows if row["split"] == split]
                )
                for split in SPLITS
            }
        )


def read(part: str) -> list[dict[str, str]]:
    """Return the rows of a file: `id`, `split`, `text` and `label`."""
    text = (
        files("ftr_chinese_sentiment").joinpath("data", f"{part}.csv").read_text(encoding="utf-8")
    )
    return list(csv.DictReader(io.StringIO(text, newline="")))
