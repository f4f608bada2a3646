"""The real data beside the project: every count its READMEs state."""

import os
from pathlib import Path

import pytest

from ftr.registry.schema import RowSchema
from readers import QA, TEXT, prepare

DATA = Path(os.environ.get("FTR_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="no real data: set FTR_DATA or lay it in ../shared/data"
    ),
]


@pytest.mark.parametrize(
    ("source", "schema", "used", "rejected"),
    [
        ("imdb/IMDb_reviews.csv.gz", TEXT, {"train": 50000}, 0),
        ("sst2", TEXT, {"train": 67349, "validation": 872, "test": 1821}, 0),
        ("sst2/sentence_level_noheader", TEXT, {"train": 6920, "validation": 872, "test": 1821}, 0),
        ("tweet_sentiment", TEXT, {"train": 27480, "test": 3534}, 1),
        ("tweeteval_sentiment/test_text.txt", TEXT, {"train": 12284}, 0),
        ("squad_v1.1/dev-v1.1.json.gz", QA, {"train": 10570}, 0),
        ("squad_v2/dev-heldout-v2.0.json.gz", QA, {"train": 5795}, 0),
        ("squad_v2/train-mix-v2.0.json.gz", QA, {"train": 18297}, 0),
    ],
)
def test_every_row_of_the_real_data_is_used_or_accounted_for(
    source: str, schema: RowSchema, used: dict[str, int], rejected: int
) -> None:
    prepared = prepare(DATA / source, schema)
    assert {name: len(rows) for name, rows in prepared.splits.items()} == used
    assert len(prepared.rejected) == rejected


def test_unanswerable_questions_are_counted_as_the_readme_says() -> None:
    rows = prepare(DATA / "squad_v2" / "dev-heldout-v2.0.json.gz", QA).splits["train"]
    assert sum(not row["answers"]["text"] for row in rows) == 2777


def test_the_empty_tweet_is_rejected_at_its_line() -> None:
    (item,) = prepare(DATA / "tweet_sentiment" / "train.csv.gz").rejected
    assert (item.place, item.cause, item.row["id"]) == (
        "train.csv.gz:316",
        "empty text",
        "fdb77c3752",
    )
