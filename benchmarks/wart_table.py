"""Read every file of the real data and print, as a Markdown table, how many rows are used, and
which are not and why.

Usage: `python benchmarks/wart_table.py [FOLDER]`; the folder is `FTR_DATA` or `../shared/data` when
it is not given.
"""

import os
import sys
from collections import Counter
from pathlib import Path

from ftr.config.schema import DataConfig
from ftr.data.prepare import prepare_rows
from ftr.data.read import load_rows
from ftr.errors import FtrError
from ftr.registry.registry import get_registry

# Source, head, options: each folder, and the single files that a folder does not give.
CASES: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("imdb", "sequence-classification", {}),
    ("imdb/IMDb_reviews.csv.gz", "sequence-classification", {}),
    ("sst2", "sequence-classification", {}),
    ("sst2/sentence_level_noheader", "sequence-classification", {}),
    ("tweet_sentiment", "sequence-classification", {}),
    ("tweeteval_sentiment", "sequence-classification", {}),
    ("tweeteval_sentiment/val_text.txt", "sequence-classification", {"test": "test_text.txt"}),
    ("squad_v1.1", "extractive-qa", {}),
    ("squad_v1.1", "extractive-qa", {"train": "train-v1.1-first44articles.json.gz"}),
    ("squad_v1.1/train-v1.1-extra-rebuilt.json.gz", "extractive-qa", {}),
    ("squad_v2", "extractive-qa", {}),
    (
        "squad_v2",
        "extractive-qa",
        {
            "train": "train-mix-v2.0.json.gz",
            "test": "dev-heldout-v2.0.json.gz",
            "validation": "none",
        },
    ),
    ("squad_v2/train-v2.0-first10articles.json.gz", "extractive-qa", {}),
    ("squad_v2/dev-v2.0-rebuilt.json.gz", "extractive-qa", {}),
)


def main(folder: Path) -> None:
    """Print the table."""
    print(
        "| source | head | split | rows read | used | rejected | notes "
        "|\n|---|---|---|---:|---:|---|---|"
    )
    for source, head, options in CASES:
        for cells in rows_of(folder, source, head, options):
            print(
                "| "
                + " | ".join(cell.replace("|", "\\|").replace(str(folder), "…") for cell in cells)
                + " |",
                flush=True,
            )


def rows_of(
    folder: Path, source: str, head_name: str, options: dict[str, object]
) -> list[list[str]]:
    """Return the table's lines for one dataset: one per split, or one with the message when it is
    refused.
    """
    shown = " ".join([f"`{source}`", *(f"`{key}={value}`" for key, value in options.items())])
    registry = get_registry()
    target = registry.target("head", head_name)
    assert callable(target)
    head = target()
    inside = {key: _inside(folder, source, value) for key, value in options.items()}
    try:
        loaded = load_rows(str(folder / source), inside, registry, head.schema)
        prepared = prepare_rows(loaded, head, DataConfig())
    except FtrError as error:
        return [[shown, head_name, "refused", "", "", "", str(error)]]
    lines = []
    for split, rows in prepared.splits.items():
        causes = Counter(item.cause for item in prepared.rejected if item.split == split)
        made = split not in loaded.splits
        read = (
            0
            if made
            else len(loaded.splits[split]) + sum(item.split == split for item in loaded.rejected)
        )
        rejected = ", ".join(f"{cause}: {count}" for cause, count in causes.items()) or "0"
        lines.append(
            [shown, head_name, split, "(made)" if made else str(read), str(len(rows)), rejected, ""]
        )
    lines[0][-1] = "; ".join([*loaded.notes, *prepared.notes])
    return lines


def _inside(folder: Path, source: str, value: object) -> str:
    near = (folder / source).parent if (folder / source).is_file() else folder / source
    return str(value) if value == "none" else str(near / str(value))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("FTR_DATA", "../shared/data")))
