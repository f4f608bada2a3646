"""The five hooks a plugin may implement: registration only, no arguments."""

from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

from ftr.registry.specs import DatasetSpec, HeadSpec, MetricSpec, ModelSpec, TaskSpec

PROJECT = "ftr"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecated:
    """A hook (`ftr_heads`) or a field of a spec (`MetricSpec.key`) that still works and will not
    for ever.

    `since` and `removed` are releases of ftr; `instead` says what to use.
    """

    name: str
    since: str
    removed: str
    instead: str

    @property
    def notice(self) -> str:
        """What is said to whoever uses a plugin with it."""
        return (
            f"`{self.name}` is deprecated since ftr {self.since} and goes in ftr {self.removed}: "
            f"use {self.instead}"
        )


DEPRECATED: tuple[Deprecated, ...] = ()
"""A plugin that uses one of these loads, and one line names the plugin and the entry.

What was removed stays here, to be explained.
"""


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
