"""The five hooks a plugin may implement: registration only, no arguments, nothing imported but specs."""

from collections.abc import Iterable

import pluggy

from ftr.specs import DatasetSpec, HeadSpec, MetricSpec, ModelSpec, TaskSpec

PROJECT = "ftr"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ftr_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Return the datasets this plugin adds."""


@hookspec
def ftr_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Return the pretrained models this plugin adds."""


@hookspec
def ftr_heads() -> Iterable[HeadSpec]:  # type: ignore[empty-body]
    """Return the heads this plugin adds."""


@hookspec
def ftr_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Return the metrics this plugin adds."""


@hookspec
def ftr_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Return the tasks this plugin adds."""
