"""Faults that only a whole training shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import DatasetSpec, HeadSpec, TaskSpec
from ftr.testing import TaskConformance
from ftr.testing.subjects import TaskSubject
from ftr.testing.tiny import TinyModels

Said = Callable[..., str]
Make = Callable[..., TaskSubject]
QUICK = {"data.limit_validation": 4, "data.limit_test": 4}


@pytest.fixture
def task(ftr_tiny_models: TinyModels, ftr_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes a task of the faulty plugin, whose trainings in this process know its
    parts.
    """

    def make(
        head: str = "Healthy",
        defaults: Mapping[str, Any] | None = None,
        space: Mapping[str, Any] | None = None,
    ) -> TaskSubject:
        spec = TaskSpec(
            name="faulty",
            dataset="faulty",
            model="minilm",
            head="faulty",
            metrics=("accuracy",),
            summary="faulty",
            defaults=defaults or {},
            search_space=space or {},
        )
        plugin = PluginRecord(
            name="faulty",
            distribution="ftr-faulty",
            version="1.0",
            origin=__file__,
            builtin=False,
            status="loaded",
            specs=(
                ("task", spec),
                (
                    "dataset",
                    DatasetSpec(
                        name="faulty",
                        target="faulty_data:HealthyDataset",
                        columns=("id", "text", "label"),
                    ),
                ),
                ("head", HeadSpec(name="faulty", target=f"faulty_heads:{head}")),
            ),
        )
        registry = Registry([*get_registry().plugins, plugin])
        monkeypatch.setattr("ftr.train.session.get_registry", lambda: registry)
        return TaskSubject(registry, "faulty", QUICK, "bert", ftr_tiny_models, ftr_runs)

    return make


@pytest.mark.slow
def test_a_head_that_counts_its_batches_comes_to_another_result_when_resumed(
    task: Make, said: Said
) -> None:
    message = said(
        TaskConformance,
        "test_an_interrupted_run_goes_on_to_the_same_result",
        task("CountsItsBatches"),
    )
    assert re.search(r"`train at step \d` differs\n.*keep no state in the head", message), message


def test_a_healthy_task_is_run_loaded_interrupted_and_resumed(task: Make) -> None:
    subject = task(defaults={"epochs": 2}, space={"learning_rate": "loguniform(1e-5,1e-4)"})
    checks = {
        name
        for name in dir(TaskConformance)
        if getattr(getattr(TaskConformance, name), "__annotations__", {}).keys()
        == {"ftr_task", "return"}
    }
    assert len(checks) == 6
    for check in sorted(checks):
        getattr(TaskConformance(), check)(subject)
    subject.metrics[0].value(subject.metrics[0].perfect)


def test_a_head_that_draws_its_weights_anew_is_caught_by_loading_a_run(
    task: Make, said: Said
) -> None:
    message = said(
        TaskConformance, "test_a_run_loads_and_predicts_what_it_did", task("DrawsTheHeadAnew")
    )
    assert re.search(r"predictions differ: \[\d+\]\['(label|score|probabilities)'\]", message), (
        message
    )


@pytest.mark.parametrize(
    ("fault", "check", "pattern"),
    [
        (
            {"defaults": {"data.max_lenght": 3}},
            "test_it_resolves_without_further_settings",
            r"`data.max_lenght`.*max_length",
        ),
        (
            {"space": {"learning_rate": "loguniform(1,0)"}},
            "test_its_search_space_can_be_swept",
            r"learning_rate.*\n.*mend `search_space`",
        ),
        (
            {"space": {"head.depth": "choice(1,2)"}},
            "test_its_search_space_can_be_swept",
            r"head.depth",
        ),
        ({"head": "DropsTheLastRecord"}, "test_a_run_goes_from_data_to_predictions", r"faulty"),
    ],
)
def test_a_faulty_task_fails_with_a_message_that_points_at_the_fault(
    task: Make, said: Said, fault: dict[str, Any], check: str, pattern: str
) -> None:
    message = said(TaskConformance, check, task(**fault))
    assert re.search(pattern, message), message
