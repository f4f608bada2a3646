"""The question answering folders of the cases beside the project: `ftr run` reads each of them."""

import json
import os
from pathlib import Path

import pytest

from ftr.cli.main import main

CASES = Path(os.environ.get("FTR_CASES", Path(__file__).parents[3] / "shared" / "cases"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not CASES.is_dir(), reason="no cases: set FTR_CASES or lay them in ../shared/cases"
    ),
]


@pytest.mark.parametrize(
    ("file", "read", "used", "note"),
    [
        ("answer-of-several/train.json", 60, 60, "answers not usable: 15"),
        ("context-qas/train.json", 48, 48, ""),
        ("flattened-answers/flat.jsonl", 48, 48, "answer_start=`answers.answer_start`"),
        ("impossible-forms/dict_empty.json", 48, 48, ""),
        ("impossible-forms/string_false.json", 48, 48, ""),
        ("numpy-cell/squad.csv", 48, 48, ""),
        ("row-per-answer/exploded.csv", 72, 48, "rows joined to an earlier one: 24"),
    ],
)
def test_a_case_is_read_and_trained_on(
    file: str, read: int, used: int, note: str, tiny_bert: Path, tmp_path: Path
) -> None:
    words = [
        "task=qa",
        f"model={tiny_bert}",
        f"dataset={CASES / file}",
        f"output={tmp_path}",
        "epochs=0.1",
        "batch_size=8",
    ]
    words += [
        "data.max_length=64",
        "data.stride=8",
        "head.max_question_length=16",
        "train.precision=fp32",
        "baselines=false",
    ]
    assert main(["run", *words, "data.validation_size=0", "data.test_size=0"]) == 0
    (record,) = [
        json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*/run.json")
    ]
    train = record["data"]["splits"]["train"]
    assert (train["read"], train["used"], train["rejected"]) == (read, used, {})
    assert any(note in line for line in record["notes"]) or not note
