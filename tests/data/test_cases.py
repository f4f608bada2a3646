"""The small inputs on which reading fell short: what each must give."""

import os
from pathlib import Path
from typing import Any

import pytest

from ftr.data.prepare import prepare_rows
from ftr.errors import DataError
from readers import ALL, TEXT, head_of, load, prepare

CASES = Path(os.environ.get("FTR_CASES", Path(__file__).parents[3] / "shared" / "cases"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not CASES.is_dir(), reason="no cases: set FTR_CASES or lay them in ../shared/cases"
    ),
]

GERMAN = {"encoding": "cp1252", "text": "Bewertung", "label": "Sterne"}


@pytest.mark.parametrize(
    ("source", "options", "labels", "used"),
    [
        ("excel-sep-line/export_sep.csv", GERMAN, ("gut", "schlecht"), {"train": 80}),
        ("float-labels", {}, ("0", "1"), {"train": 60, "test": 20}),
        ("bool-labels", {}, ("false", "true"), {"train": 60, "test": 20}),
        ("doccano/v12.jsonl", {"text": "data"}, ("negative", "positive"), {"train": 80}),
        ("doccano/cats.jsonl", {}, ("NEG", "POS"), {"train": 80}),
        ("aclImdb", {}, ("neg", "pos"), {"train": 48, "test": 32}),
        ("save-to-disk/single", {}, None, {"train": 80}),
        ("save-to-disk/dict", {}, None, {"train": 60, "test": 20}),
        ("packed/r.csv.zip", {}, None, {"train": 80}),
        ("surrogate/tweets.jsonl", {}, ("neg", "pos"), {"train": 79}),
        ("binary-parquet/impala.parquet", {}, ("neg", "pos"), {"train": 80}),
        ("kaggle-folder", {}, ("0", "1"), {"train": 80}),
        ("glue-unlabelled", {}, ("0", "1"), {"train": 60, "validation": 20}),
        ("plain-text-forms/label_first.txt", {}, ("0", "1"), {"train": 60}),
        ("plain-text-forms/tab_label_last.txt", {}, ("0", "1"), {"train": 60}),
        ("plain-text-forms/at_sign.txt", {}, ("negative", "positive"), {"train": 60}),
        (
            "plain-text-forms/coarse_fine.label",
            {},
            ("BLAME:long", "BLAME:short", "PRAISE:long", "PRAISE:short"),
            {"train": 60},
        ),
        ("plain-text-forms/file_per_class", {}, ("neg", "pos"), {"train": 60}),
    ],
)
def test_a_case_is_read(
    source: str, options: dict[str, Any], labels: tuple[str, ...] | None, used: dict[str, int]
) -> None:
    prepared = prepare_rows(load(CASES / source, TEXT, **options), head_of(TEXT), ALL)
    assert {name: len(rows) for name, rows in prepared.splits.items()} == used
    assert labels is None or prepared.labels == labels


@pytest.mark.parametrize(
    ("source", "said"),
    [("packed/book.xlsx", "an Excel file: save it as CSV"), ("conll", "task=ner")],
)
def test_a_case_is_refused_with_the_way_out(source: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(CASES / source)


def test_lists_of_labels_are_reported() -> None:
    assert any(
        "look like lists of labels" in note and "task=topics" in note
        for note in prepare(CASES / "list-cells" / "emotions.csv").notes
    )
