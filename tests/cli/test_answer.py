"""Answers and tables."""

import json
from pathlib import Path

from ftr.cli.answer import Answer, table


def test_json_is_strict_even_for_numbers_that_are_not_finite() -> None:
    text = Answer(
        {"loss": float("nan"), "scores": (1.5, float("inf")), "at": Path("runs")}, ""
    ).json()
    assert json.loads(text, parse_constant=lambda name: f"invalid {name}") == {
        "loss": None,
        "scores": [1.5, None],
        "at": "runs",
    }


def test_a_table_is_aligned_and_leaves_out_empty_columns() -> None:
    assert table(("A", "B", "C"), [("x", "", 1), ("long", "", 22)]) == "A     C\nx     1\nlong  22"
