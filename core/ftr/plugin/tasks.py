"""`@task`: one decorator registers a task with its dataset, head and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ftr.plugin.head import Head
from ftr.registry.signature import takes_keywords
from ftr.registry.specs import (
    SPEC_TYPES,
    SPECS,
    AnySpec,
    DatasetSpec,
    HeadSpec,
    MetricSpec,
    TaskSpec,
    fault,
)

Target = TypeVar("Target", bound=Callable[..., object])
Metric = str | Callable[..., object] | MetricSpec
HEAD = "sequence-classification"


def task(
    name: str,
    *,
    metrics: Sequence[Metric],
    dataset: str | Callable[..., object] | None = None,
    head: str | type[Head] | None = None,
    model: str = "minilm",
    summary: str = "",
    defaults: Mapping[str, object] | None = None,
    search_space: Mapping[str, object] | None = None,
) -> Callable[[Target], Target]:
    """Register a task: decorate a function that returns rows, or a head.

    A function becomes the dataset `name`; its keyword parameters are the options `dataset.*`, and
    `head` is the head that reads the rows (default: `sequence-classification`). A class becomes the
    head `name`, the keyword parameters of its `__init__` are the options `head.*`, and `dataset`
    names what it is trained on. `dataset` and `head` may be a function and a class of the plugin as
    well. `metrics` are names of registered metrics, functions (see `Metric` in the reference), and
    specs, for another name or `mode="min"`; the first one ranks. The summary is the first line of
    the docstring.

    Raises `TypeError` where dataset or metrics are missing.
    """

    def register(target: Target) -> Target:
        is_head = inspect.isclass(target)
        if problem := _problem(metrics, dataset, head, is_head=is_head):
            raise TypeError(f"`@task({name!r})`{problem}")
        about = summary or _first_line(target)
        rows, reader = (dataset, target) if is_head else (target, head or HEAD)
        scores = [_metric(metric) for metric in metrics]
        specs: list[AnySpec] = [
            *_component(DatasetSpec, name, rows, f"rows of `{name}`", about),
            *_component(HeadSpec, name, reader, f"head of `{name}`", about),
            *(metric for metric in scores if isinstance(metric, MetricSpec)),
            TaskSpec(
                name=name,
                dataset=rows if isinstance(rows, str) else name,
                head=reader if isinstance(reader, str) else name,
                model=model,
                metrics=tuple(one if isinstance(one, str) else one.name for one in scores),
                summary=about,
                defaults=defaults or {},
                search_space=search_space or {},
            ),
        ]
        for spec in specs:
            if trouble := fault(spec):
                raise TypeError(f"`@task({name!r})`: the {_kind(spec)} `{spec.name}`: {trouble}")
        setattr(target, SPECS, (*vars(target).get(SPECS, ()), *specs))
        return target

    return register


def _problem(metrics: object, dataset: object, head: object, *, is_head: bool) -> str | None:
    """Return what is wrong with the arguments of `@task` above a head, or above a function."""
    if not metrics or isinstance(metrics, str):
        return ' needs a list of metrics, such as `["accuracy"]`'
    if is_head and dataset is None:
        return " above a head needs `dataset=`: a name or a function"
    if (head if is_head else dataset) is not None:
        what = "head" if is_head else "dataset"
        return f": the decorated object is the {what}, leave `{what}=` out"
    return None


def _kind(spec: AnySpec) -> str:
    return next(kind for kind, made in SPEC_TYPES.items() if type(spec) is made)


def _component(kind: Any, name: str, target: Any, what: str, task: str) -> list[AnySpec]:
    """Return the spec of a component that is not registered yet, none for the name of one.

    Its summary is `what` it is, and its docstring, which may be that of the `task`.
    """
    if isinstance(target, str):
        return []
    about = _first_line(target) or task
    summary = f"{what}: {about}" if about else what
    options = target if takes_keywords(target) else None
    return [kind(name=name, target=target, summary=summary, options=options)]


def _metric(metric: Metric) -> str | MetricSpec:
    if isinstance(metric, str | MetricSpec):
        return metric
    name = getattr(metric, "__name__", "")
    return MetricSpec(name=name.lower(), target=metric, summary=_first_line(metric) or name)


def _first_line(target: Any) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0].rstrip(".")
