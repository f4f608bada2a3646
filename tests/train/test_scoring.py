"""Scores: names, classes, directions, and metrics of third parties that fail."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pytest

from ftr.cli.main import main
from ftr.errors import DataError, PluginError, ScoreError
from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import AnySpec, Kind, MetricSpec
from ftr.train.scoring import Scorer
from ftr_plugins.classification.head import SequenceClassificationHead

CODE = """
from ftr.errors import DataError

class Module:
    def __init__(self, result):
        self.result = result

    def compute(self, predictions, references):
        if isinstance(self.result, Exception):
            raise self.result
        print("noise")
        return self.result

def loss(): return Module({"loss": 0.25})
def crash(): return Module(KeyError("label"))
def refuse(): return Module(DataError("only two classes"))
def nothing(): return Module(None)
def arrays():
    import numpy as np
    return Module({"per_class": np.array([0.5, 1.0]), "matrix": [[1, 0], [0, 1]], "many": [1, 2, 3, 4], "empty": [], "one": np.float32(2)})
not_callable = 3
"""
ROWS = [{"label": 0}, {"label": 1}]
PREDICTIONS = [{"label_id": 0}, {"label_id": 1}]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the built-ins and a plugin `acme` with metrics of its own."""
    (tmp_path / "scoring_fakes.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    modes: dict[str, Literal["max", "min"]] = {
        "loss": "min",
        "crash": "max",
        "refuse": "max",
        "nothing": "max",
        "arrays": "max",
        "not_callable": "max",
    }
    specs: list[tuple[Kind, AnySpec]] = [
        (
            "metric",
            MetricSpec(
                name=name,
                target=f"scoring_fakes:{name}",
                mode=mode,
                key="one" if name == "arrays" else None,
            ),
        )
        for name, mode in modes.items()
    ]
    acme = PluginRecord(
        name="acme",
        distribution="acme-metrics",
        version="1.2",
        origin="here",
        builtin=False,
        status="loaded",
        specs=tuple(specs),
    )
    return Registry([*get_registry().plugins, acme])


def score(
    registry: Registry, *names: str, labels: tuple[str, ...] = ("x", "y", "z")
) -> dict[str, Any]:
    """Return the scores of two right predictions."""
    return Scorer.of(registry, names).score(SequenceClassificationHead(), ROWS, PREDICTIONS, labels)


def test_scores_of_all_metrics_stand_side_by_side_and_lists_get_class_names(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = score(registry, "accuracy", "f1", "confusion_matrix", "loss")
    assert (scores["accuracy"], scores["f1"], scores["loss"]) == (1.0, 1.0, 0.25)
    assert scores["f1_per_class"] == {"x": 1.0, "y": 1.0}
    assert scores["confusion_matrix"] == {"x": {"x": 1, "y": 0}, "y": {"x": 0, "y": 1}}
    assert capsys.readouterr().out == ""


def test_arrays_become_plain_values_and_lists_longer_than_the_classes_stay_lists(
    registry: Registry,
) -> None:
    scores = score(registry, "arrays")
    assert scores == {
        "per_class": {"x": 0.5, "y": 1.0},
        "matrix": {"x": {"x": 1, "y": 0}, "y": {"x": 0, "y": 1}},
        "many": [1, 2, 3, 4],
        "empty": [],
        "one": 2.0,
    }
    assert type(scores["one"]) is float


def test_the_first_metric_is_the_primary_one_with_its_key_and_direction(registry: Registry) -> None:
    assert (
        Scorer.of(registry, ("squad", "accuracy")).primary,
        Scorer.of(registry, ("squad",)).mode,
    ) == ("f1", "max")
    assert (
        Scorer.of(registry, ("loss", "accuracy")).primary,
        Scorer.of(registry, ("loss",)).mode,
    ) == ("loss", "min")


@pytest.mark.parametrize(
    ("mode", "new", "old", "better"),
    [
        ("max", 0.5, None, True),
        ("max", 0.6, 0.5, True),
        ("max", 0.5, 0.5, False),
        ("min", 0.5, 0.6, True),
        ("min", 0.6, 0.5, False),
        ("max", math.nan, None, False),
        ("min", math.nan, 0.5, False),
        ("max", -math.inf, None, True),
    ],
)
def test_better_follows_the_direction_and_nothing_is_better_with_nan(
    mode: str, new: float, old: float | None, better: bool
) -> None:
    assert Scorer({}, {}, "score", mode).better(new, old) is better


def test_a_metric_that_fails_is_named_with_its_plugin(registry: Registry) -> None:
    with pytest.raises(
        PluginError, match=r"metric `crash` \(.*acme.* 1.2.*\) failed: KeyError: 'label'"
    ):
        score(registry, "accuracy", "crash")
    with pytest.raises(DataError, match=r"^only two classes$"):
        score(registry, "refuse")


def test_a_metric_that_gives_no_primary_score_or_cannot_be_called_is_named(
    registry: Registry,
) -> None:
    with pytest.raises(
        PluginError, match=r"metric `nothing` gave no score `nothing`, only: accuracy"
    ):
        score(registry, "nothing", "accuracy")
    with pytest.raises(
        PluginError,
        match=r"the metric `not_callable` of plugin .*acme.*: its target `scoring_fakes:not_callable` is not callable",
    ):
        score(registry, "not_callable")


def test_a_score_that_was_asked_for_is_the_primary_one_where_it_is_a_number(
    registry: Registry,
) -> None:
    def ranked(name: str) -> dict[str, Any]:
        scorer = Scorer.of(registry, ("accuracy", "f1", "confusion_matrix"), (name, "max"))
        assert (scorer.primary, scorer.mode) == (name, "max")
        return scorer.score(SequenceClassificationHead(), ROWS, PREDICTIONS, ("x", "y"))

    assert ranked("f1_macro")["f1_macro"] == 1.0
    with pytest.raises(
        ScoreError,
        match=r"`metric=f1_micra` is no score of this task. Did you mean `f1_micro`\? Choose from: "
        r"accuracy, f1, ",
    ):
        ranked("f1_micra")
    with pytest.raises(
        ScoreError,
        match=r"`metric=confusion_matrix` is no single number. Choose from: accuracy, f1, "
        r"[a-z0-9_, ]*\.$",
    ):
        ranked("confusion_matrix")
    assert ScoreError.exit_code == 2


@pytest.mark.parametrize("kind", ["classifier", "reader"])
def test_the_built_in_metrics_declare_every_number_they_give(
    kind: str, request: pytest.FixtureRequest
) -> None:
    record = request.getfixturevalue(kind).record
    given = {
        key
        for scores in record["scores"].values()
        for key, value in scores.items()
        if isinstance(value, int | float)
    }
    assert given == {
        score
        for name in record["config"]["metrics"]
        for score in get_registry().metric(name).scores or ()
    }


@pytest.mark.parametrize(
    ("task", "asked", "near"),
    [("sentiment", "f1_micra", "f1_micro"), ("qa", "exact_match", "exact"), ("qa", "Loss", "loss")],
)
def test_a_sweep_refuses_a_score_that_no_metric_gives_before_it_reads_data(
    task: str, asked: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "sweep",
        f"task={task}",
        "dataset=hub:no/where",
        f"metric={asked}",
        "epochs=choice(1,2)",
    ]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"`metric={asked}`" in line and f"Did you mean `{near}`?" in line
