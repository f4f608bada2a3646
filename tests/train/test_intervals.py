"""Intervals of scores: what they cover, what is drawn, and where there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ftr.plugin import additive
from ftr.registry.schema import Column, RowSchema
from ftr.train.intervals import (
    FEWEST_RESAMPLES,
    Intervals,
    Units,
    contributions,
    interval_facts,
    intervals,
    mean_intervals,
)
from ftr_plugins.classification import metrics as classification
from ftr_plugins.extractive_qa.metrics import squad
from ftr_plugins.multi_label.metrics import multi_label
from ftr_plugins.regression import metrics as regression
from ftr_plugins.token_classification.metrics import entity_f1

LABELS = ("low", "middle", "high")
Inputs = dict[str, list[Any]]


def classes(rows: int, right: float = 0.8, seed: int = 0) -> Inputs:
    generator = np.random.default_rng(seed)
    references = generator.choice(3, size=rows, p=(0.6, 0.35, 0.05))
    others = generator.integers(3, size=rows)
    predictions = np.where(generator.random(rows) < right, references, others)
    return {"predictions": predictions.tolist(), "references": references.tolist()}


def found(
    metrics: Mapping[str, Any], inputs: Inputs, units: Units | None = None
) -> tuple[dict[str, Any], Intervals]:
    """Return the scores and intervals of metric functions."""
    rows = len(inputs["references"])
    scores: dict[str, Any] = {}
    for name, metric in metrics.items():
        given = metric(**inputs)
        scores |= given if isinstance(given, dict) else {name: given}
    for name, value in scores.items():
        if isinstance(value, list):
            scores[name] = dict(zip(LABELS, value, strict=False))
    known = contributions(metrics, {name: name for name in metrics}, inputs, LABELS, rows)
    return scores, intervals(scores, known, {}, units or Units("rows", rows))


QUESTIONS: Inputs = {
    "predictions": [
        {"prediction_text": text} for text in ("red cat", "dog", "", "the blue sky", "") * 20
    ],
    "references": [
        {"answers": {"text": texts}}
        for texts in (["red cat"], ["cat"], [], ["a sky", "the sea"], ["sun"]) * 20
    ],
}
TAGS: Inputs = {
    "predictions": [["B-PER", "O"], ["O", "B-LOC", "I-LOC"], ["B-PER", "I-PER"], ["O"]] * 10,
    "references": [["B-PER", "O"], ["O", "B-LOC", "O"], ["B-LOC", "I-LOC"], ["O"]] * 10,
}
SETS: Inputs = {
    "predictions": [[1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0]] * 10,
    "references": [[1, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]] * 10,
}
PAIRS: Inputs = {
    "predictions": [1000.1, 1000.4, 1000.2, 1000.9, 1000.7] * 10,
    "references": [1000.0, 1000.5, 1000.3, 1000.8, 1000.9] * 10,
}


@pytest.mark.parametrize(
    ("metrics", "inputs"),
    [
        ([classification.accuracy, classification.f1, classification.precision], classes(300)),
        ([classification.recall, classification.macro_recall], classes(300)),
        ([squad], QUESTIONS),
        ([entity_f1], TAGS),
        ([multi_label], SETS),
        ([regression.pearson, regression.mae, regression.mse], PAIRS),
    ],
)
def test_every_score_has_an_interval_around_it(metrics: Sequence[Any], inputs: Inputs) -> None:
    scores, result = found({metric.__name__: metric for metric in metrics}, inputs)
    assert result.all_notes == []
    # A class that is never right or never wrong varies in no resample.
    single = {name for name, value in scores.items() if isinstance(value, float)}
    assert {path[0] for path in result.found if len(path) == 1} == single
    for path, ends in result.found.items():
        value = scores[path[0]] if len(path) == 1 else scores[path[0]][path[1]]
        assert ends["low"] <= value <= ends["high"]
        assert ends["low"] < ends["high"]


def test_an_interval_is_near_the_binomial_one() -> None:
    inputs = classes(1000)
    scores, result = found({"accuracy": classification.accuracy}, inputs)
    ends, value = result.found["accuracy",], scores["accuracy"]
    reach = 1.96 * np.sqrt(value * (1 - value) / 1000)
    assert ends["low"] == pytest.approx(value - reach, abs=0.003)
    assert ends["high"] == pytest.approx(value + reach, abs=0.003)


def test_the_same_rows_give_the_same_interval_whatever_else_is_scored() -> None:
    inputs = classes(200)
    one, again = (found({"accuracy": classification.accuracy}, inputs)[1] for _ in range(2))
    assert one.found == again.found


def test_where_every_row_is_right_the_interval_is_that_of_clopper_and_pearson() -> None:
    same = [0, 1, 2, 0, 1] * 20
    _, result = found(
        {"accuracy": classification.accuracy, "recall": classification.recall},
        {"predictions": same, "references": same},
    )
    assert result.found["accuracy",] == {"low": pytest.approx(0.025 ** (1 / 100)), "high": 1.0}
    # Of the twenty rows of a class, and not of all hundred.
    assert result.found["recall_per_class", "high"]["low"] == pytest.approx(0.025 ** (1 / 20))


def test_a_score_that_never_varies_has_no_interval_and_a_note() -> None:
    inputs = {"predictions": [1.5] * 30, "references": [1.0] * 30}
    _, result = found({"mae": regression.mae, "pearson": regression.pearson}, inputs)
    assert result.found == {}
    assert result.all_notes == ["no interval of mae, pearson: resamples do not differ"]


def test_rows_of_a_title_are_drawn_together() -> None:
    inputs = classes(400)
    titles = np.repeat(np.arange(40), 10)
    order = np.argsort(np.equal(inputs["predictions"], inputs["references"]), kind="stable")
    sorted_inputs = {name: np.asarray(cells)[order].tolist() for name, cells in inputs.items()}
    metric = {"accuracy": classification.accuracy}
    _, alone = found(metric, sorted_inputs)
    _, grouped = found(metric, sorted_inputs, Units("title", 40, titles))
    # Ten rows of a title are all right or all wrong: ten times fewer things are drawn.
    width = {
        one: ends["high"] - ends["low"]
        for one, ends in (
            ("alone", alone.found["accuracy",]),
            ("grouped", grouped.found["accuracy",]),
        )
    }
    assert width["grouped"] / width["alone"] == pytest.approx(np.sqrt(10), rel=0.2)


def test_units_are_the_titles_of_a_schema_that_has_them() -> None:
    schema = RowSchema(
        columns=(Column(name="title"), Column(name="text")),
        group="title",
    )
    rows: list[dict[str, Any]] = [
        {"id": str(row), "title": f"title {row % 12}", "text": f"text {row}"} for row in range(60)
    ]
    units = Units.of(rows, schema)
    assert (units.name, units.count, units.note) == ("title", 12, None)
    assert sorted(len(one) for one in units.rows()) == [5] * 12
    few = Units.of([row for row in rows if int(row["id"]) % 12 < 6], schema)
    assert few.note is not None
    assert "not reliable" in few.note


def test_one_group_has_no_interval_and_the_reason() -> None:
    _, result = found(
        {"accuracy": classification.accuracy},
        classes(50),
        Units("title", 1, np.zeros(50, dtype=np.int64)),
    )
    assert result.found == {}
    assert result.notes == ["no intervals: all rows have one `title`"]


def test_a_metric_without_sums_is_called_on_resampled_rows() -> None:
    inputs = classes(200)
    pairs = np.asarray([inputs["predictions"], inputs["references"]])
    scores, exact = found({"accuracy": classification.accuracy}, inputs)
    none = contributions({}, {}, inputs, LABELS, 200)

    def called(rows: NDArray[np.int64]) -> dict[str, float]:
        predictions, references = pairs[:, rows]
        return {"accuracy": float((predictions == references).mean())}

    result = intervals(scores, none, {"accuracy": called}, Units("rows", 200))
    assert result.all_notes == []
    for end, value in exact.found["accuracy",].items():
        assert result.found["accuracy",][end] == pytest.approx(value, abs=0.011)


def test_a_slow_metric_stops_at_its_limit_and_says_how_far_it_came() -> None:
    inputs = classes(50)

    def slow(_rows: NDArray[np.int64]) -> dict[str, float]:
        time.sleep(0.05)
        return {"slow": 1.0}

    none = contributions({}, {}, inputs, LABELS, 50)
    result = intervals({"slow": 0.5}, none, {"slow": slow}, Units("rows", 50), seconds=0.2)
    assert result.found == {}
    assert len(result.notes) == 1
    assert "of 2000 times in 0.2 s" in result.notes[0]
    assert int(result.notes[0].split()[4]) < FEWEST_RESAMPLES


def test_a_metric_that_fails_on_resamples_is_a_note_and_no_error() -> None:
    def fails(_rows: NDArray[np.int64]) -> dict[str, float]:
        raise ValueError("only one class")

    none = contributions({}, {}, classes(50), LABELS, 50)
    result = intervals({"x": 0.5}, none, {"x": fails}, Units("rows", 50))
    assert result.found == {}
    assert "`x`" in result.notes[0]
    assert "only one class" in result.notes[0]


def test_sums_that_do_not_give_the_metric_are_not_used() -> None:
    @additive(
        lambda predictions, references: {"n": np.ones(len(references))},
        lambda sums: sums["n"] * 0.5,
    )
    def wrong(predictions: list[int], references: list[int]) -> float:
        return len(references) * float(predictions[0] == predictions[0])

    _, result = found({"wrong": wrong}, classes(50))
    assert result.found == {}
    assert "`wrong` 25, not 50" in result.notes[0]


def test_rows_of_another_number_than_the_split_are_refused() -> None:
    @additive(lambda predictions: {"n": np.ones(3)}, lambda sums: sums["n"])
    def short(predictions: list[int]) -> float:
        return float(len(predictions))

    given = contributions({"short": short}, {"short": "short"}, classes(50), LABELS, 50)
    assert given.metrics == {}
    assert "`n`" in given.problems["short"]


def test_the_mean_of_models_on_the_same_rows_varies_as_they_do_together() -> None:
    one = classes(400)
    metric = {"accuracy": classification.accuracy}
    scores, alone = found(metric, one)
    given = contributions(metric, {"accuracy": "accuracy"}, one, LABELS, 400)
    units, members = Units("rows", 400), [(scores, given), (scores, given)]
    same = mean_intervals(scores, members, [units] * 2, same_rows=True)
    apart = mean_intervals(scores, members, [units] * 2, same_rows=False)
    widths = [
        ends["high"] - ends["low"]
        for ends in (one.found["accuracy",] for one in (alone, same, apart))
    ]
    assert widths[1] == pytest.approx(widths[0], abs=1e-9)
    assert widths[2] == pytest.approx(widths[0] / np.sqrt(2), rel=0.15)
    assert apart.units.count == 800


def test_a_mean_of_scores_that_are_no_sums_over_rows_has_a_note() -> None:
    given = contributions(
        {"accuracy": classification.accuracy}, {"accuracy": "accuracy"}, classes(50), LABELS, 50
    )
    scores = {**found({"accuracy": classification.accuracy}, classes(50))[0], "other": 0.5}
    mean = mean_intervals(scores, [(scores, given)] * 2, [Units("rows", 50)] * 2, same_rows=True)
    assert mean.found.keys() == {("accuracy",)}
    assert any("other" in note and "accuracy" not in note for note in mean.notes)


def test_the_record_says_how_intervals_were_found() -> None:
    _, result = found({"accuracy": classification.accuracy}, classes(60))
    facts = interval_facts({"test": result})
    assert facts["intervals"]["test"]["accuracy"].keys() == {"low", "high"}
    about = facts["interval"]
    assert (about["level"], about["resamples"], about["unit"]) == (0.95, 2000, "rows")
    assert about["units"] == {"test": 60}


@pytest.mark.parametrize("rows", [10_000])
def test_resampling_ten_thousand_rows_is_fast(rows: int) -> None:
    generator = np.random.default_rng(0)
    numbers: NDArray[np.float64] = generator.normal(size=rows)
    inputs = {"predictions": (numbers + generator.normal(size=rows)).tolist()}
    began = time.process_time()
    found({"pearson": regression.pearson}, {**inputs, "references": numbers.tolist()})
    found({"f1": classification.f1}, classes(rows))
    # Two splits of 10,000 rows took 0.3 s of processor time; a busy machine may take longer.
    assert time.process_time() - began < 5


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """A small version of benchmarks/coverage.py: 200 samples of 100 rows, of accuracy and of the F1
    of SQuAD; 95 % are expected, with a standard error of 1.5 %.
    """
    generator = np.random.default_rng(0)
    covered = {"accuracy": 0, "f1": 0}
    for _ in range(200):
        right = (generator.random(100) < 0.8).astype(int).tolist()
        _, result = found(
            {"accuracy": classification.accuracy},
            {"predictions": right, "references": [1] * 100},
        )
        ends = result.found["accuracy",]
        covered["accuracy"] += ends["low"] <= 0.8 <= ends["high"]
        texts = generator.choice(("a red cat sat", "red cat", "dog"), p=(0.6, 0.2, 0.2), size=100)
        golds = [{"answers": {"text": ["red cat sat"]}}] * 100
        _, result = found(
            {"squad": squad},
            {"predictions": [{"prediction_text": text} for text in texts], "references": golds},
        )
        ends = result.found["f1",]
        covered["f1"] += ends["low"] <= 100 * (0.6 + 0.2 * 0.8) <= ends["high"]
    assert all(0.90 <= count / 200 <= 0.99 for count in covered.values()), covered
