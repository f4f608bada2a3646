"""The final table: which columns there are, and that it fits a screen."""

from typing import Any

import pytest

from ftr.runs.report import baseline_lines, score_table
from ftr.tables import table

SCORES = {"accuracy": 0.9, "f1": 0.8, "f1_macro": 0.8, "confusion_matrix": [[1]]}


def record(**more: Any) -> dict[str, Any]:
    return {
        "heldout": "test",
        "untrained": SCORES,
        "scores": {"validation": SCORES, "test": SCORES},
        **more,
    }


def test_a_table_is_aligned_and_leaves_out_empty_columns() -> None:
    assert table([("A", "B", "C"), ("x", "", 1), ("long", "", 22)]) == [
        "A      C",
        "x      1",
        "long  22",
    ]


def test_without_baselines_the_header_is_one_line() -> None:
    assert score_table(record()) == [
        "          test, untrained  test, trained  validation, trained",
        "accuracy           0.9000         0.9000               0.9000",
        "f1                 0.8000         0.8000               0.8000",
    ]


def test_a_wide_table_names_each_split_once_above_its_columns() -> None:
    baselines = {
        "majority": {"test": {"accuracy": 0.5}, "validation": SCORES},
        "tf-idf": {"test": {"accuracy": 0.75, "f1": 0.7}},
    }
    assert score_table(record(baselines=baselines)) == [
        "              test                              validation",
        "          majority  tf-idf  untrained  trained     trained",
        "accuracy    0.5000  0.7500     0.9000   0.9000      0.9000",
        "f1               -  0.7000     0.8000   0.8000      0.8000",
    ]
    assert score_table(record(baselines=baselines), as_markdown=True)[0] == (
        "|  | test, majority | test, tf-idf | test, untrained | test, trained | validation, "
        "trained |"
    )


def test_baselines_of_the_reported_split_alone_are_shown() -> None:
    only = {
        "heldout": "validation",
        "untrained": None,
        "scores": {"validation": SCORES},
        "baselines": {"majority": {"validation": SCORES}},
    }
    assert score_table(only)[0].split() == ["validation,", "majority", "validation,", "trained"]
    assert score_table({"heldout": None, "untrained": None, "scores": {}}) == [
        "no validation or test rows: nothing was scored"
    ]


def test_an_interval_stands_beside_the_score_and_says_what_was_drawn() -> None:
    ends = {"accuracy": {"low": 0.87, "high": 0.925}, "f1": {"low": -0.1, "high": 0.2}}
    about = {
        "resamples": 2000,
        "unit": "title",
        "units": {"test": 48},
        "notes": ["test: few rows", "validation: other rows"],
    }
    lines = score_table(record(intervals={"test": ends}, interval=about))
    assert "95 % interval" in lines[1]
    assert lines[2].split()[3] == "0.8700–0.9250"
    assert "-0.1000 to 0.2000" in lines[3]
    assert lines[4:] == [
        "95 % interval: 2,000 bootstrap resamples of 48 groups of rows (title)",
        "note: test: few rows",
    ]


def test_percentages_have_two_decimals_in_intervals_too() -> None:
    scores = {"f1": 71.25}
    shown = score_table(
        {
            "heldout": "test",
            "untrained": None,
            "scores": {"test": scores},
            "intervals": {"test": {"f1": {"low": 0.5, "high": 80.125}}},
        }
    )
    assert shown[1].split()[-1] == "0.50–80.12"


@pytest.mark.parametrize(
    ("mode", "value", "baselines", "worse_than"),
    [
        ("max", 0.40, {"majority": 0.39, "tf-idf": 0.62}, "0.6200 of the baseline tf-idf"),
        ("max", 0.39, {"majority": 0.39}, "0.3900 of the baseline majority"),
        ("max", 0.63, {"majority": 0.39, "tf-idf": 0.62}, None),
        ("min", 0.95, {"mean": 1.00, "ridge": 0.90}, "0.9000 of the baseline ridge"),
        ("min", 0.80, {"mean": 1.10, "ridge": 0.90}, None),
        ("max", 0.10, {}, None),
    ],
)
def test_a_model_that_is_no_better_than_a_baseline_gets_a_warning(
    mode: str, value: float, baselines: dict[str, float], worse_than: str | None
) -> None:
    record: dict[str, Any] = {
        "heldout": "test",
        "primary": "score",
        "mode": mode,
        "scores": {"test": {"score": value}},
        "baselines": {name: {"test": {"score": one}} for name, one in baselines.items()},
    }
    text = " ".join(line.strip() for line in baseline_lines(record))
    assert bool(text) == (worse_than is not None)
    if worse_than is not None:
        assert f"warning: test score {value:.4f} is no better than the {worse_than}" in text
