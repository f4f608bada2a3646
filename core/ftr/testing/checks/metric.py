"""Checks of a metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from ftr.registry.additive import additive_rule
from ftr.registry.targets import make_metric
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.offline import no_network
from ftr.testing.subjects import MetricSubject
from ftr.testing.subjects.metric import Examples

HUB_MODULES = ("evaluate_modules", "datasets_modules", "transformers_modules")
"""Where the libraries keep code that they fetched from the hub."""


class MetricChecks(Conformance):
    """What must hold of the metrics that a task is scored by."""

    def test_its_main_score_is_a_finite_number(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in _ranking(ftr_metrics):
            value = metric.value(metric.perfect)
            require(
                math.isfinite(value),
                f"the main score of {metric} is a finite number",
                f"`{metric.key}` is {value} for perfect predictions",
                f"let {metric.where} return a number, such as 0, where a part of it is not defined",
            )

    def test_it_agrees_with_its_mode(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in _ranking(ftr_metrics):
            good, bad = metric.value(metric.perfect), metric.value(metric.worse)
            given = metric.truly_perfect and metric.truly_worse
            if not given and math.isclose(good, bad):
                pytest.skip(f"{metric} scores an untrained model as it does a trained one")
            rising = good > bad
            require(
                metric.better(good, bad),
                f"{metric} has `mode={metric.mode!r}`: the "
                f"{'higher' if metric.mode == 'max' else 'lower'} of two scores is the better one",
                f"`{metric.key}` is {good:.4g} for perfect predictions and {bad:.4g} for worse "
                "ones",
                f'set `mode="{"max" if rising else "min"}"` in its spec'
                if good != bad
                else f"let {metric.where} tell the two apart, or set `worse` to worse ones",
            )

    def test_it_is_best_on_perfect_predictions(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in [one for one in _ranking(ftr_metrics) if one.truly_perfect]:
            best = metric.value(metric.perfect)
            for others, how in _spoiled(metric):
                value = metric.value(others)
                require(
                    not metric.better(value, best),
                    f"no predictions score better by {metric} than perfect ones",
                    f"`{metric.key}` is {best:.4g} for them and {value:.4g} for {how}",
                    f"look in {metric.where} at the order of `predictions` and `references`, and "
                    "at what is counted",
                )

    def test_it_scores_rows_of_one_class(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in ftr_metrics:
            for subset in _by_reference(metric.worse):
                reference = subset["references"][0]
                with must_work(
                    f"{metric} scores rows that lack a class, as a small split may",
                    f"let {metric.where} return a number, such as 0, where all references are "
                    f"{reference!r}",
                ):
                    metric.compute(metric.metric, subset)

    def test_the_order_of_the_rows_does_not_matter(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in _ranking(ftr_metrics):
            there = metric.value(metric.worse)
            back = metric.value(
                {name: list(reversed(values)) for name, values in metric.worse.items()}
            )
            require(
                math.isclose(there, back, rel_tol=1e-6, abs_tol=1e-9)
                or (math.isnan(there) and math.isnan(back)),
                f"{metric} scores the same predictions alike, in whatever order the rows come",
                f"`{metric.key}` is {there:.6g}, and {back:.6g} with the rows reversed",
                f"let {metric.where} weigh all rows alike",
            )

    def test_it_gives_the_same_each_time(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in ftr_metrics:
            first, _, again = (
                _plain(metric.scores(given))
                for given in (metric.worse, metric.perfect, metric.worse)
            )
            differs = next(
                (
                    key
                    for key in {**first, **again}
                    if first.get(key) != again.get(key) and not _both_nan(first, again, key)
                ),
                None,
            )
            require(
                differs is None,
                f"{metric} scores each evaluation by itself",
                f"`{differs}` is {first.get(differs or '')!r}, and {again.get(differs or '')!r} in "
                "a later call with the same predictions",
                f"let {metric.where} keep nothing from call to call, and draw no random numbers",
            )

    def test_its_sums_give_the_same_scores(self, ftr_metrics: list[MetricSubject]) -> None:
        """Checks a metric declared with `@additive` on subsets, each a resample of the rows."""
        import numpy as np

        from ftr.train.intervals import contributions

        for metric in [one for one in ftr_metrics if additive_rule(one.metric)]:
            promise = f"{metric} gives the scores of the sums that `@additive` declares"
            change = f"look at `per_row` and `from_sums` of `@additive` above {metric.where}"
            for examples in (metric.perfect, metric.worse):
                inputs = {name: list(values) for name, values in examples.items()}
                rows = len(inputs["references"])
                names = {"metric": metric.key}
                given = contributions({"metric": metric.metric}, names, inputs, metric.labels, rows)
                if given.problems:
                    broken(promise, given.problems["metric"], change)
                for picked in ([*range(rows)], [*range(1, rows), rows - 1, rows - 1], [0] * rows):
                    some = {name: [cells[one] for one in picked] for name, cells in inputs.items()}
                    sums = np.stack([given.table[picked].sum(axis=0, dtype=np.float64)] * 2)
                    scores = metric.scores(some)
                    for (name, *rest), values in given.scores(sums).items():
                        value = scores.get(name)
                        if rest or not isinstance(value, float) or not np.isfinite(values[0]):
                            continue
                        require(
                            math.isclose(value, values[0], rel_tol=1e-6, abs_tol=1e-9),
                            promise,
                            f"`{name}` is {value:.6g}, and of the sums {values[0]:.6g}, on rows "
                            f"{picked}",
                            change,
                        )

    def test_its_scores_can_be_written_down(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in ftr_metrics:
            try:
                json.dumps(_plain(metric.scores(metric.worse)))
            except (TypeError, ValueError) as error:
                broken(
                    f"the scores of {metric} are kept as JSON",
                    str(error),
                    f"let {metric.where} return numbers, lists, dicts or numpy arrays by name",
                )

    def test_it_needs_no_network(self, ftr_metrics: list[MetricSubject]) -> None:
        for metric in ftr_metrics:
            promise = f"{metric} works without a network: workers and clusters may have none"
            change = (
                "make it a function, or derive it from `evaluate.Metric`, rather than fetch it "
                "with `evaluate.load`"
            )
            with no_network() as asked:
                try:
                    made = make_metric(metric.registry, metric.entry.qualified)
                    metric.compute(made, metric.worse)
                except Exception as error:
                    what = (
                        f"asked for {asked[0]}"
                        if asked
                        else f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
                    )
                    broken(promise, f"without one it {what}", change)
            require(not asked, promise, f"it asked for {asked[0] if asked else ''}", change)
            place = type(made).__module__
            require(
                not place.startswith(HUB_MODULES),
                promise,
                f"its code was fetched from the hub (`{place}`)",
                change,
            )


def _ranking(metrics: list[MetricSubject]) -> list[MetricSubject]:
    """Return the metrics whose main score is to be one number: all that may rank trials.

    The first of a task ranks; the others may be there to be read only, such as a confusion matrix.
    """
    return [metric for number, metric in enumerate(metrics) if number == 0 or _has_number(metric)]


def _has_number(metric: MetricSubject) -> bool:
    value = _plain(metric.scores(metric.perfect)).get(metric.key)
    return isinstance(value, int | float)


def _by_reference(examples: Examples) -> list[Examples]:
    """Return the rows of each reference that is one value, a class or a number, by themselves."""
    references = list(examples["references"])
    values = [one for one in references if isinstance(one, int | float | str)]
    return [
        {
            name: [cell for cell, one in zip(cells, references, strict=True) if one == value]
            for name, cells in examples.items()
        }
        for value in dict.fromkeys(values)
    ]


def _spoiled(metric: MetricSubject) -> list[tuple[Examples, str]]:
    """Return predictions that are worse than perfect, and what they are."""
    predictions = list(metric.perfect["predictions"])
    turned = {**metric.perfect, "predictions": [*predictions[1:], *predictions[:1]]}
    alike = {**metric.perfect, "predictions": [predictions[0]] * len(predictions)}
    worse: list[tuple[Examples, str]] = [(metric.worse, "worse ones")]
    shapes = {len(one) if isinstance(one, list | tuple) else None for one in predictions}
    if isinstance(predictions[0], Mapping) or len(shapes) > 1:  # they are for a row, or its words
        return worse
    return [*worse, (turned, "those of the next row"), (alike, "one and the same for all rows")]


def _plain(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.tolist() if hasattr(value, "tolist") else value for key, value in scores.items()
    }


def _both_nan(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    pair = (one.get(key), other.get(key))
    return all(isinstance(value, float) and math.isnan(value) for value in pair)
