"""Metrics of predictions, flattened into one dict of scores."""

from __future__ import annotations

import atexit
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.data.rows import HELD_OUT
from ftr.errors import FtrError, PluginError, ScoreError, did_you_mean
from ftr.paths import writable
from ftr.registry.isolation import captured_prints
from ftr.registry.protocols import Head, Prediction, Row, provides
from ftr.registry.registry import Registry
from ftr.registry.specs import OTHER_AVERAGES
from ftr.registry.targets import call_metric, make_metric
from ftr.train.intervals import (
    Contributions,
    Inputs,
    Intervals,
    Losses,
    Units,
    contributions_of_several,
    intervals,
    numbers,
)

Scores = dict[str, Any]
Metric = Any
"""A function of predictions and references, or an `evaluate.EvaluationModule`."""
LOSS = "loss"
"""The score that every head has: the mean loss of the rows, without label smoothing and weights."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """The metrics of a task, and the score a training is compared by, `primary`, with its `mode`.

    `primary` is the main score of the first metric, unless it was `asked` for by name. With `loss`
    it is the mean loss, which no metric computes: `score` gets the losses of the rows. `owners`
    names the plugin of each metric.
    """

    modules: Mapping[str, Metric]
    owners: Mapping[str, str]
    primary: str
    mode: str
    asked: bool = False
    loss: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    """The name of the single number that a metric function gives, by metric."""
    modes: Mapping[str, str] = field(default_factory=dict)
    """Which way the scores of each metric are better: `max` or `min`."""

    @classmethod
    def of(
        cls, registry: Registry, names: Sequence[str], ranked: tuple[str, str] | None = None
    ) -> Scorer:
        """Load the metrics by name; `ranked` names another score, and its mode, than the main one
        of the first.

        Raises `UnknownComponentError` or `PluginError`.
        """
        first = registry.metric(names[0])
        for name in names:
            registry.target("metric", name)
        _metrics_cache()
        primary, mode = ranked or (first.key or first.name, first.mode)
        specs = {name: registry.metric(name) for name in names}
        main = {spec.key or spec.name for spec in specs.values()}
        return cls(
            modules={name: make_metric(registry, name) for name in names},
            keys={name: spec.key or spec.name for name, spec in specs.items()},
            modes={name: spec.mode for name, spec in specs.items()},
            owners={name: registry.find("metric", name).plugin.described for name in names},
            primary=primary,
            mode=mode,
            asked=primary != (first.key or first.name),
            loss=primary == LOSS and LOSS not in main,
        )

    def score(
        self,
        head: Head,
        rows: Sequence[Row],
        predictions: Sequence[Prediction],
        labels: Sequence[str],
        losses: Losses | None = None,
    ) -> Scores:
        """Return all scores of `predictions`, and the mean of `losses` where they are known; those
        a metric gives per class are keyed by label name.

        Raises `ScoreError` when the score that was asked for is not among them or no number,
        `PluginError` when a metric fails.
        """
        inputs = head.score_inputs(rows, predictions, labels)
        scores: Scores = {}
        for name in self.modules:
            for key, value in self.compute(name, inputs, labels).items():
                scores[key] = _named(value, labels)
        if losses is not None:
            total, weight = losses.sum(axis=0)
            scores[LOSS] = float(total / weight)
        numbers = [
            key
            for key, value in scores.items()
            if isinstance(value, int | float) or hasattr(value, "__float__")
        ]
        if self.asked and self.primary not in numbers:
            numbers = list(dict.fromkeys([*numbers, LOSS]))
            problem = (
                "is no single number" if self.primary in scores else "is no score of this task"
            )
            raise ScoreError(
                f"`metric={self.primary}` {problem}.{did_you_mean(self.primary, numbers)} Choose "
                f"from: {', '.join(numbers)}."
            )
        if self.primary not in scores:
            raise PluginError(
                f"metric `{next(iter(self.modules))}` gave no score `{self.primary}`, only: "
                f"{', '.join(scores) or 'none'}."
            )
        if self.primary not in numbers:
            raise PluginError(
                f"metric `{next(iter(self.modules))}` gave `{self.primary}` as a "
                f"`{type(scores[self.primary]).__name__}`: the score that ranks must be a number."
            )
        return scores

    def contributions(
        self,
        head: Head,
        rows: Sequence[Row],
        predictions: Sequence[Prediction],
        labels: Sequence[str],
    ) -> Contributions:
        """Return what rows add to the sums that the scores of additive metrics are functions of."""
        return self.contributions_of_several(head, rows, [predictions], labels)[0]

    def contributions_of_several(
        self,
        head: Head,
        rows: Sequence[Row],
        models: Sequence[Sequence[Prediction]],
        labels: Sequence[str],
    ) -> list[Contributions]:
        """Return the contributions of the predictions of several models, with the same columns."""
        inputs = [head.score_inputs(rows, predictions, labels) for predictions in models]
        return self._contributions(inputs, labels, len(rows))

    def _contributions(
        self, inputs: Sequence[Mapping[str, Sequence[Any]]], labels: Sequence[str], rows: int
    ) -> list[Contributions]:
        with captured_prints("stdout"):
            return contributions_of_several(self.modules, self.keys, inputs, labels, rows)

    def intervals(
        self,
        head: Head,
        rows: Sequence[Row],
        predictions: Sequence[Prediction],
        labels: Sequence[str],
        scores: Scores,
        losses: Losses | None = None,
        *,
        quick: bool = False,
    ) -> Intervals:
        """Return the intervals of the `scores` of `predictions`: see `ftr.train.intervals`.

        `losses` are those whose mean is the loss among the scores. A metric that fails on a
        resample, or takes too long, is a note. With `quick` only the primary score has one, and
        only if it is a sum over rows.
        """
        inputs = head.score_inputs(rows, predictions, labels)
        (given,) = self._contributions([inputs], labels, len(rows))
        if losses is not None:
            given = given.with_mean(LOSS, losses)

        def on(name: str) -> Callable[[NDArray[np.int64]], Scores]:
            def call(places: NDArray[np.int64]) -> Scores:
                taken = {
                    key: [values[place] for place in places.tolist()]
                    for key, values in inputs.items()
                }
                found = self.compute(name, taken, labels)
                return {key: _named(value, labels) for key, value in found.items()}

            return call

        others = {
            name: on(name)
            for name in self.modules
            if not quick and name not in given.metrics and self.gives_numbers(name, inputs, labels)
        }
        if quick:
            scores = {self.primary: scores[self.primary]}
        return intervals(scores, given, others, Units.of(rows, head.schema))

    def gives_numbers(self, name: str, inputs: Inputs, labels: Sequence[str]) -> bool:
        """Whether a metric gives numbers, alone or for each class, and not only tables."""
        found = self.compute(name, inputs, labels)
        return bool(numbers({key: _named(value, labels) for key, value in found.items()}))

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` beats `old` in the direction of the primary metric; anything beats None,
        nothing beats with NaN.
        """
        if math.isnan(new):
            return False
        return old is None or (new > old if self.mode == "max" else new < old)

    def compute(self, name: str, inputs: Inputs, labels: Sequence[str]) -> Scores:
        """Return the scores of one metric, by the names it gives them.

        `inputs` are those of `Head.score_inputs`. Raises `PluginError` when it fails.
        """
        try:
            with captured_prints("stdout"):
                return compute(self.keys[name], self.modules[name], inputs, labels)
        except FtrError:
            raise
        except Exception as error:
            raise PluginError(
                f"metric `{name}` ({self.owners[name]}) failed: {type(error).__name__}: {error}"
            ) from error


def compute(
    name: str, metric: Metric, inputs: Mapping[str, Sequence[Any]], labels: Sequence[str]
) -> Scores:
    """Return the scores that a function or an `evaluate` module gives; a single number is `name`,
    the metric's `key` or else its name.

    Raises `TypeError` for anything but numbers and named scores.
    """
    if isinstance(metric, FunctionType):
        found = call_metric(metric, inputs, labels)
    else:
        found = metric.compute(**_taken(metric, inputs)) or {}
    if isinstance(found, Mapping):
        return {str(key): value for key, value in found.items()}
    number = found.item() if hasattr(found, "item") else found
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(
            f"it returned a `{type(found).__name__}`: return a number, or scores by their names"
        )
    return {name: float(number)}


def _taken(module: Any, inputs: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Return the inputs that an `evaluate` module takes; it refuses others."""
    features = getattr(module, "features", None)
    if features is None:
        return dict(inputs)
    groups = features if isinstance(features, list) else [features]
    known = {name for group in groups for name in group} | {*signature(module._compute).parameters}
    return {name: values for name, values in inputs.items() if name in known}


def _metrics_cache() -> None:
    """Let `evaluate` use a temporary folder where its own (`HF_METRICS_CACHE`) cannot be written:
    every metric makes one there.
    """
    config: Any = sys.modules.get("evaluate.config")
    if config is not None and not writable(config.HF_METRICS_CACHE):
        config.HF_METRICS_CACHE = Path(tempfile.mkdtemp(prefix="ftr-metrics-"))
        atexit.register(shutil.rmtree, config.HF_METRICS_CACHE, ignore_errors=True)


def remarks(
    head: Head, splits: Mapping[str, Sequence[Row]], metrics: Sequence[str], labels: Sequence[str]
) -> list[str]:
    """Return what the head remarks on rows that are scored: see
    `ftr.registry.protocols.Abilities`.
    """
    if not provides(head, "remarks"):
        return []
    return [
        f"{name}: {line}"
        for name in HELD_OUT
        if name in splits
        for line in head.remarks(splits[name], metrics, labels)
    ]


def headline(scores: Scores, primary: str) -> dict[str, float]:
    """Return the scores that are single numbers and few enough to read in one line; other averages
    of a score are left out, unless one is the `primary` score.
    """
    numbers = {
        key: value
        for key, value in scores.items()
        if isinstance(value, float) and (key == primary or not key.endswith(OTHER_AVERAGES))
    }
    return dict(list(numbers.items())[:4])


def _named(value: Any, labels: Sequence[str]) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and 0 < len(value) <= len(labels):
        # Metrics see class ids only: the last classes are missing where neither rows nor
        # predictions hold them.
        return {label: _named(item, labels) for label, item in zip(labels, value, strict=False)}
    return value
