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
    well. `metrics` are names of registered metrics, functions (see
    `ftr.registry.protocols.Metric`), and specs, for another name or `mode="min"`; the first one
    ranks. The summary is the first line of the docstring.

    Raises `TypeError` where dataset or metrics are missing.
    """

    def register(target: Target) -> Target:
        own = inspect.isclass(target)
        if not metrics or isinstance(metrics, str):
            raise TypeError(f'`@task({name!r})` needs a list of metrics, such as `["accuracy"]`')
        if own and dataset is None:
            raise TypeError(
                f"`@task({name!r})` above a head needs `dataset=`: a name or a function"
            )
        if (own and head is not None) or (not own and dataset is not None):
            what = "head" if own else "dataset"
            raise TypeError(
                f"`@task({name!r})`: the decorated object is the {what}, leave `{what}=` out"
            )
        about = summary or _first_line(target)
        found_head = target if own else head or HEAD
        found_dataset = dataset if own else target
        specs: list[AnySpec] = []
        if not isinstance(found_dataset, str):
            specs.append(_component(DatasetSpec, name, found_dataset, f"rows of `{name}`: {about}"))
        if not isinstance(found_head, str):
            specs.append(_component(HeadSpec, name, found_head, _first_line(found_head) or about))
        scores = [_metric(metric) for metric in metrics]
        specs += [metric for metric in scores if isinstance(metric, MetricSpec)]
        specs.append(
            TaskSpec(
                name=name,
                dataset=found_dataset if isinstance(found_dataset, str) else name,
                head=found_head if isinstance(found_head, str) else name,
                model=model,
                metrics=tuple(
                    metric if isinstance(metric, str) else metric.name for metric in scores
                ),
                summary=about,
                defaults=defaults or {},
                search_space=search_space or {},
            )
        )
        for spec in specs:
            if trouble := fault(spec):
                raise TypeError(f"`@task({name!r})`: the {_kind(spec)} {spec.name!r}: {trouble}")
        setattr(target, SPECS, (*vars(target).get(SPECS, ()), *specs))
        return target

    return register


def _kind(spec: AnySpec) -> str:
    return next(kind for kind, made in SPEC_TYPES.items() if type(spec) is made)


def _component(kind: Any, name: str, target: Any, summary: str) -> Any:
    return kind(
        name=name,
        target=target,
        summary=summary,
        options=target if takes_keywords(target) else None,
    )


def _metric(metric: Metric) -> str | MetricSpec:
    if isinstance(metric, str | MetricSpec):
        return metric
    name = getattr(metric, "__name__", "")
    return MetricSpec(name=name.lower(), target=metric, summary=_first_line(metric) or name)


def _first_line(target: Any) -> str:
    return (inspect.getdoc(target) or "").partition("\n")[0].rstrip(".")
