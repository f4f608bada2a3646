"""A metric with predictions to score."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftr.registry.specs import MetricSpec
from ftr.testing.contract import broken, must_work
from ftr.testing.subjects.component import Component

if TYPE_CHECKING:
    from ftr.registry.registry import Registry

Examples = Mapping[str, Sequence[Any]]
"""`predictions` and `references` of equal length."""


class MetricSubject(Component):
    """A metric, predictions that cannot be better, and worse ones."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        perfect: Examples,
        worse: Examples,
        *,
        labels: Sequence[str] = (),
        truly_perfect: bool = True,
        truly_worse: bool = True,
    ) -> None:
        """`labels` names the classes. `truly_perfect` is false where `perfect` is only what a model
        learned, so that others may score as well; `truly_worse` where `worse` is what an untrained
        model answers.
        """
        super().__init__(registry, "metric", name)
        self.labels = labels
        self.perfect, self.worse = perfect, worse
        self.truly_perfect, self.truly_worse = truly_perfect, truly_worse

    @property
    def metric_spec(self) -> MetricSpec:
        """Its spec."""
        spec = self.spec
        if not isinstance(spec, MetricSpec):
            raise TypeError(f"`{self.name}` is registered with a `{type(spec).__name__}`")
        return spec

    @property
    def mode(self) -> str:
        """Which way is better."""
        return self.metric_spec.mode

    @property
    def key(self) -> str:
        """The name of its main score."""
        return self.metric_spec.key or self.metric_spec.name

    @property
    def where(self) -> str:
        """The function, or the class, by its name."""
        return f"`{getattr(self.target, '__qualname__', self.name)}`"

    @cached_property
    def metric(self) -> Any:
        """The function, or the evaluation module."""
        return self.make()

    def scores(self, examples: Examples) -> dict[str, Any]:
        """Return all scores of some predictions."""
        with must_work(
            f"{self} scores the predictions and references that the head gives, and returns a "
            "number or scores by name",
            f"in {self.where}: its parameters are filled by name, and it returns a number or a "
            "dict of scores",
        ):
            return self.compute(self.metric, examples)

    def compute(self, metric: Any, examples: Examples) -> dict[str, Any]:
        """Return what `metric` gives for some predictions."""
        from ftr.train.scoring import compute

        given = {key: list(values) for key, values in examples.items()}
        with contextlib.redirect_stdout(io.StringIO()):
            return compute(self.key, metric, given, self.labels)

    def value(self, examples: Examples) -> float:
        """Return the main score of some predictions."""
        scores = self.scores(examples)
        found: Any = scores.get(self.key)
        found = found.item() if hasattr(found, "item") else found
        if not isinstance(found, int | float) or isinstance(found, bool):
            listed = ", ".join(f"`{name}`" for name in scores) or "none"
            broken(
                f"{self} gives its main score as the number `{self.key}`",
                f"it gave {listed}"
                if found is None
                else f"`{self.key}` is a `{type(found).__name__}`",
                f"let {self.where} return a number, or `{{'{self.key}': ...}}`, or name the main "
                "score with `key=` in the `MetricSpec`",
            )
        return float(found)

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other` by more than rounding."""
        difference = one - other if self.mode == "max" else other - one
        return difference > 1e-9 * max(1.0, abs(one), abs(other)) and not math.isnan(one)
