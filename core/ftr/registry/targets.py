"""Call the target of a component with its options, in each of the forms a target may have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.registry.registry import Registry, print_once
from ftr.registry.signature import parameters
from ftr.registry.specs import DEPRECATED, AnySpec, Deprecated, Kind, TaskSpec

if TYPE_CHECKING:
    from pydantic import BaseModel


def make(registry: Registry, kind: Kind, name: str, options: BaseModel | None) -> Any:
    """Return a head or a named model.

    A head that has a method under its former name gets the new one, and a notice is printed. Raises
    what `Registry.target` does.
    """
    entry = registry.find(kind, name)
    made = _called(entry.spec, registry.target(kind, name), options, options)
    if kind == "head":
        for deprecated in _rename_methods(made):
            print_once(f"{entry}: {deprecated.notice}")
    return made


def _rename_methods(head: Any) -> list[Deprecated]:
    """Give a head of ftr 0.1 the methods of this release; return what it has under former names."""
    used = [
        entry
        for entry in DEPRECATED
        if _precedes(
            head, entry.name.removeprefix("Head."), entry.instead.strip("`").removeprefix("Head.")
        )
    ]
    names = {entry.name for entry in used}
    if "Head.tune" in names:
        head.calibrate = lambda rows, records, labels: head.tune(rows, records)
    if "Head.untuned" in names:
        head.uncalibrated = head.untuned
    return used


def _precedes(head: Any, old: str, new: str) -> bool:
    """Whether a head has a method under its former name, and not under the new one unless that is
    inherited from farther up.
    """
    if not callable(getattr(head, old, None)):
        return False
    classes = type(head).__mro__
    first_old, first_new = (
        next((place for place, one in enumerate(classes) if name in vars(one)), len(classes))
        for name in (old, new)
    )
    return first_old < first_new or not hasattr(head, new)


def load_dataset(spec: AnySpec, target: Any, options: BaseModel | None) -> object:
    """Return what the target of a dataset gives: a mapping of splits, or rows of the training
    split.

    It is a class with `load`, or a function that returns rows.
    """
    made = _called(spec, target, options)
    load = getattr(made, "load", None)
    return load(options) if callable(load) else made


def make_metric(registry: Registry, name: str) -> Any:
    """Return the function of a metric, or its `evaluate` module."""
    target: Any = registry.target("metric", name)
    return target if is_metric_function(target) else target()


def is_metric_function(target: object) -> bool:
    """Whether a metric is a function of predictions and references, not one that returns a
    module.
    """
    return inspect.isfunction(target) and any(
        parameter.default is parameter.empty for parameter in parameters(target)
    )


def call_metric(
    function: Any, inputs: Mapping[str, Sequence[Any]], labels: Sequence[str]
) -> object:
    """Return what a metric function gives; its parameters are filled by their names.

    `inputs` are those of `Head.score_inputs`, `labels` the class names in id order. Raises
    `TypeError` for a parameter that neither has.
    """
    known = {**inputs, "labels": labels}
    given = {}
    for parameter in parameters(function):
        if parameter.name in known:
            given[parameter.name] = known[parameter.name]
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"its parameter `{parameter.name}` is none of "
                f"{', '.join(f'`{one}`' for one in known)}"
            )
    return function(**given)


def _called(spec: AnySpec, target: Any, options: BaseModel | None, *arguments: object) -> Any:
    """Call a target with its options as keywords where they are its parameters, else with
    `arguments`.
    """
    if options is not None and not isinstance(spec, TaskSpec) and spec.options_path == spec.path:
        return target(**{name: getattr(options, name) for name in type(options).model_fields})
    return target(*arguments)
