"""The fixtures: what is installed, tiny models, a place for runs, Ray, and the component that a
class of checks is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.testing.contract import Conformance
from ftr.testing.tiny import TinyModels

if TYPE_CHECKING:
    from ftr.registry.registry import Registry
    from ftr.testing.subjects import (
        Component,
        DatasetSubject,
        HeadSubject,
        MetricSubject,
        ModelSubject,
        TaskSubject,
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the checks of a head once for each of its `families`."""
    families = getattr(metafunc.cls, "families", None)
    if families and "ftr_family" in metafunc.fixturenames and issubclass(metafunc.cls, Conformance):
        metafunc.parametrize("ftr_family", families, scope="class")


@pytest.fixture(scope="session")
def ftr_registry() -> Registry:
    """The registry of everything installed."""
    from ftr.registry.registry import get_registry

    return get_registry()


@pytest.fixture(scope="session")
def ftr_tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Family (`bert`, `modernbert`, `gpt2`, ...) -> directory of a tiny checkpoint, made on first
    use.
    """
    return TinyModels(tmp_path_factory.mktemp("ftr-models"))


@pytest.fixture(scope="class")
def ftr_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for run directories; encoded rows go to another, out of the user's cache, for as
    long as it is in use, and no settings are found.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTR_SETTINGS", "off")
        patch.setenv("FTR_CACHE", str(tmp_path_factory.mktemp("ftr-cache")))
        yield tmp_path_factory.mktemp("ftr-runs")


@pytest.fixture(scope="module")
def ftr_ray(ftr_registry: Registry) -> Iterator[None]:
    """Ray with room for two processes on this machine, for the tests of a module; shut down
    afterwards.
    """
    from ftr.config.schema import ComputeConfig
    from ftr.runs.launch import connected
    from ftr.study.search import TUNE_SETTINGS

    with connected(ComputeConfig(), ftr_registry, lambda line: None, TUNE_SETTINGS):
        yield


@pytest.fixture(scope="class")
def ftr_family(request: pytest.FixtureRequest) -> str | None:
    """The tiny family that a class of checks trains with."""
    family: str | None = getattr(request.cls, "model", "bert")
    return family


@pytest.fixture(scope="class")
def ftr_task(
    request: pytest.FixtureRequest,
    ftr_registry: Registry,
    ftr_tiny_models: TinyModels,
    ftr_runs: Path,
    ftr_family: str | None,
) -> TaskSubject:
    """The task of a `TaskConformance` class."""
    from ftr.testing.subjects import TaskSubject

    cls = request.cls
    return TaskSubject(ftr_registry, cls.name, cls.settings, ftr_family, ftr_tiny_models, ftr_runs)


@pytest.fixture(scope="class")
def ftr_components(request: pytest.FixtureRequest, ftr_registry: Registry) -> list[Component]:
    """The component of a class of checks, and for a task those that come with it."""
    from ftr.testing.subjects import Component

    cls = request.cls
    if cls.kind == "task":
        task: TaskSubject = request.getfixturevalue("ftr_task")
        return task.components
    return [Component(ftr_registry, cls.kind, cls.name, cls.options)]


@pytest.fixture(scope="class")
def ftr_dataset(request: pytest.FixtureRequest, ftr_registry: Registry) -> DatasetSubject:
    """The dataset of a class of checks."""
    from ftr.testing.subjects import DatasetSubject

    cls = request.cls
    if cls.kind == "task":
        task: TaskSubject = request.getfixturevalue("ftr_task")
        return task.dataset
    return DatasetSubject(ftr_registry, cls.name, cls.options, cls.head)


@pytest.fixture(scope="class")
def ftr_head(
    request: pytest.FixtureRequest,
    ftr_registry: Registry,
    ftr_tiny_models: TinyModels,
    ftr_family: str | None,
) -> HeadSubject:
    """The head of a class of checks, with rows and a tiny model to try it on."""
    from ftr.testing.subjects import HeadSubject

    cls = request.cls
    if cls.kind == "task":
        task: TaskSubject = request.getfixturevalue("ftr_task")
        return task.head
    return HeadSubject.of(
        ftr_registry,
        cls.name,
        cls.options,
        cls.rows,
        cls.labels,
        ftr_tiny_models,
        ftr_family or "bert",
    )


@pytest.fixture(scope="class")
def ftr_metrics(request: pytest.FixtureRequest, ftr_registry: Registry) -> list[MetricSubject]:
    """The metrics of a class of checks, with predictions to score."""
    from ftr.testing.subjects import MetricSubject

    cls = request.cls
    if cls.kind == "task":
        task: TaskSubject = request.getfixturevalue("ftr_task")
        return task.metrics
    return [MetricSubject(ftr_registry, cls.name, cls.perfect, cls.worse, labels=cls.labels)]


@pytest.fixture(scope="class")
def ftr_model(request: pytest.FixtureRequest, ftr_registry: Registry) -> ModelSubject:
    """The model of a class of checks."""
    from ftr.testing.subjects import ModelSubject

    return ModelSubject(ftr_registry, request.cls.name, request.cls.options)
