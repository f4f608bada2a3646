"""Baselines beside a run: in its record and its table, where the head has any, and never in its
way.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.config.resolve import resolve
from ftr.registry.registry import get_registry
from ftr.runs.prepare import Prepared, prepare, with_baselines
from ftr.runs.report import score_table
from trainings import ALL_OF_REVIEWS

if TYPE_CHECKING:
    from ftr.config.schema import RunConfig
    from ftr.runs.run import RunResult


@pytest.mark.parametrize(
    ("task", "names"), [("classifier", ["majority", "tf-idf"]), ("reader", ["overlap"])]
)
def test_a_run_has_the_scores_of_its_baselines_on_every_held_out_split(
    task: str, names: list[str], request: pytest.FixtureRequest
) -> None:
    run: RunResult = request.getfixturevalue(task)
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert (
        list(record["baselines"]) == names
        and record["timings"]["baselines"] > 0
        and "baseline_seconds" not in record
    )
    for scores in record["baselines"].values():
        assert {split: set(found) for split, found in scores.items()} == {
            split: set(found) for split, found in record["scores"].items()
        }
    table = score_table(record)
    assert max(map(len, table)) <= 80
    assert all(name in " ".join(table[:2]) for name in (*names, "untrained", "trained"))


def test_the_majority_class_scores_its_share(classifier: RunResult) -> None:
    labels = classifier.record["data"]["splits"]["train"]["labels"]
    test = classifier.record["data"]["splits"]["test"]["labels"]
    first = max(labels, key=lambda name: labels[name])
    assert classifier.record["baselines"]["majority"]["test"]["accuracy"] == test[first] / sum(
        test.values()
    )


@pytest.fixture(scope="module")
def prepared(tiny_bert: Path, reviews: Path) -> tuple[RunConfig, Prepared]:
    settings = {
        **ALL_OF_REVIEWS,
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "output": "unused",
    }
    config = resolve(settings, get_registry()).config
    return config, prepare(config, get_registry())


def beside(
    config: RunConfig, prepared: Prepared, record: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    return with_baselines(record or {}, config, prepared, said.append), said


def test_they_are_said_before_the_training(prepared: tuple[RunConfig, Prepared]) -> None:
    record, (line,) = beside(*prepared)
    assert line.startswith("baselines on test, accuracy: majority 0.")
    assert f"tf-idf {record['baselines']['tf-idf']['test']['accuracy']:.4f}" in line


def test_there_are_none_where_none_are_wanted_possible_or_missing(
    prepared: tuple[RunConfig, Prepared],
) -> None:
    config, rows = prepared
    assert beside(config.model_copy(update={"baselines": False}), rows) == ({}, [])
    assert beside(config, replace(rows, splits={"train": rows.splits["train"]})) == ({}, [])
    # A run that goes on has them already.
    assert beside(config, rows, {"baselines": {"a": {}}}) == ({"baselines": {"a": {}}}, [])


def test_a_head_without_them_has_none(
    prepared: tuple[RunConfig, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftr.runs.prepare.make_head", lambda registry, head: object())
    assert beside(*prepared) == ({}, [])


def test_one_that_fails_is_said_and_fails_nothing_else(
    prepared: tuple[RunConfig, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftr_plugins.classification.baselines.majority", lambda *given: 1 / 0)
    record, said = beside(*prepared, {"notes": ["before"]})
    assert (
        record == {"notes": ["before", *said]}
        and "no baselines" in said[0]
        and "division by zero" in said[0]
    )
