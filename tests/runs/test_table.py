"""The final table: which columns there are, and that it fits a screen."""

from typing import Any

from ftr.runs.report import score_table, table

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
        "A     C",
        "x     1",
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
