"""Parameter importance, the expected best of k trials, and their plots."""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ftr import atomic
from ftr.config.space import LISTS, WHOLE, Dimension
from ftr.study.trials import SweepState, rank

FEWEST_TRIALS = 8
"""Of three keys, the one that alone decides came first in 40 % of made-up sweeps of 4 trials, 73 %
of 8, 92 % of 16 (30 seeds each).
"""
BETTER_SHARE = 0.5
"""The better half is compared with all.

With the best tenth, as optuna has it, a choice of three that alone decides came first in 23 % of
sweeps of 16 trials, with the half in 80 %; it was at least as good for every kind of key and every
number of trials tried (8 to 128).
"""


def importance(
    state: SweepState, space: Mapping[str, Dimension], mode: str
) -> dict[str, float] | None:
    """Return the share each swept key has in reaching the better half of scores; the shares sum to
    1, the largest comes first.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): how far the values of the better
    configurations are spread otherwise than those of all. Each configuration counts once, by the
    value it is ranked by; where the searcher drew some values more often than others is taken into
    account. None where it means nothing: fewer than 8 configurations with a score, fewer than
    two keys with more than one value, or the same score everywhere.
    """
    scored = [
        entry
        for entry in rank(state.trials.values(), mode)
        if entry.value is not None and space.keys() <= entry.values.keys()
    ]
    columns = {
        key: [
            _choice(entry.values[key]) if dimension.kind in LISTS else entry.values[key]
            for entry in scored
        ]
        for key, dimension in space.items()
    }
    varied = {key: column for key, column in columns.items() if len(set(column)) > 1}
    values = [entry.value for entry in scored if entry.value is not None]
    if len(values) < FEWEST_TRIALS or len(varied) < 2 or len(set(values)) < 2:
        return None
    scales = {key: _scale(space[key], column) for key, column in varied.items()}
    shares = _shares(varied, values, scales, mode)
    return {**shares, **{key: 0.0 for key in space if key not in varied}}


def _shares(
    columns: Mapping[str, Sequence[Any]],
    values: Sequence[float],
    scales: Mapping[str, Any],
    mode: str,
) -> dict[str, float]:
    import optuna

    trials = [
        optuna.trial.create_trial(
            params={key: column[row] for key, column in columns.items()},
            distributions=dict(scales),
            value=value,
        )
        for row, value in enumerate(values)
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # It calls itself experimental, and warns of few trials; docs/sweeps.md mentions both.
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
            study.add_trials(trials)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BETTER_SHARE)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {key: float(share) for key, share in found.items()}


def _choice(value: Any) -> str:
    """Return a choice as text: lists cannot be hashed, and 1 equals True."""
    return json.dumps(value, sort_keys=True, default=str)


def _scale(dimension: Dimension, column: Sequence[Any]) -> Any:
    """Return the distribution of optuna a column lies on, wide enough for every value that was
    tried.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind in LISTS:
        return CategoricalDistribution(
            tuple(dict.fromkeys([*map(_choice, dimension.values), *column]))
        )
    # A resumed or population based sweep may hold values from beyond the space.
    low, high = min([dimension.low, *column]), max([dimension.high, *column])
    distribution = IntDistribution if dimension.kind in WHOLE else FloatDistribution
    return distribution(low, high, log="log" in dimension.kind)


def expected_best(values: Sequence[float], mode: str) -> list[float]:
    """Return the expected best of k of the n `values`, for k = 1..n; the first is their mean, the
    last their best.

    This is the unbiased estimator: the mean of the best over all subsets of k values,
    ``E[max_k] = sum_i x_(i) C(i-1, k-1) / C(n, k)`` with x_(1) <= ... <= x_(n) (Tang et al. 2020,
    "Showing Your Work Doesn't Always Work", ACL). The one of Dodge et al. 2019 ("Show Your Work",
    EMNLP) draws with replacement, which is biased towards worse values. `mode` is `max` or `min`;
    values that are not finite are left out.

    The estimate holds for trials drawn alike, as random search does; where a searcher learns, or a
    scheduler stops the weak ones early, it describes what was tried rather than what k fresh trials
    would give.
    """
    ordered = _ordered(values, mode)
    sign = 1.0 if mode == "max" else -1.0
    return [sign * _expected_max(ordered, k) for k in range(1, len(ordered) + 1)]


def expected_gain(values: Sequence[float], mode: str) -> float | None:
    """Return by how much the second half of the n `values` is expected to have raised the best:
    E[max_n] - E[max_ceil(n/2)].

    It is the gain of doubling a search of half the size, and it bounds what n/2 more trials would
    bring: the best of a random subset is submodular in the subset, so E[max_k] is concave in k, and
    every further step gains no more than the one before. (In expectation, for trials drawn alike: a
    searcher that has just found a good region may gain more.) Never negative; None with fewer
    than 8 finite values.
    """
    ordered = _ordered(values, mode)
    if len(ordered) < FEWEST_TRIALS:
        return None
    return max(float(ordered[0]) - _expected_max(ordered, math.ceil(len(ordered) / 2)), 0.0)


def _ordered(values: Sequence[float], mode: str) -> npt.NDArray[np.float64]:
    """Return the finite values, the best first, turned so that more is better."""
    found = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    return np.sort(found if mode == "max" else -found)[::-1]


def _expected_max(ordered: npt.NDArray[np.float64], k: int) -> float:
    """Return the mean maximum over subsets of size k.

    The chance that the j-th best (j = 0, 1, ...) is the maximum is k/n for the first, and from one
    to the next it is multiplied by (n - j - k) / (n - j - 1): factors of at most 1, so nothing
    overflows, and what underflows weighs nothing.
    """
    n = len(ordered)
    positions = np.arange(1, n - k + 1, dtype=np.float64)
    chances = np.cumprod(np.concatenate(([k / n], (n - positions - k + 1) / (n - positions))))
    # As distance from the best, so that equal values give exactly that value.
    return float(ordered[0] - chances @ (ordered[0] - ordered[: len(chances)]))


INK, BLUE, GREY = "#222222", "#1f6fb2", "#8a8f98"
LONGEST = 34
"""Letters of a name in a picture; the numbers beside it have it whole."""
MOST_BARS = 15


def write_importance(folder: Path, shares: Mapping[str, float], primary: str) -> None:
    """Write `importance.json` and `importance.png` into `folder`: the share of each swept key, the
    largest first.

    Raises `RunError` naming the file when the disk refuses.
    """
    atomic.write_json(folder / "importance.json", {"primary": primary, "importance": dict(shares)})
    shown = sorted(shares.items(), key=lambda pair: pair[1])[-MOST_BARS:]
    figure, axes = _canvas()
    bars = axes.barh(
        range(len(shown)),
        [share for _, share in shown],
        height=min(0.6, 0.13 * len(shown)),
        color=BLUE,
    )
    axes.bar_label(bars, [f"{share:.0%}" for _, share in shown], padding=5, color=INK, fontsize=11)
    axes.set_yticks(
        range(len(shown)), [_short(key) for key, _ in shown], fontsize=11, parse_math=False
    )
    axes.set(
        ylim=(-0.6, len(shown) - 0.4), xlim=(0, max([1e-9, *shares.values()]) * 1.12), xticks=[]
    )
    axes.tick_params(axis="both", length=0)
    axes.spines["bottom"].set_visible(False)
    subtitle = "share of each parameter in reaching the better half of scores"
    _save(figure, axes, f"What decided {_short(primary)}", subtitle, folder / "importance.png")


def write_expected(folder: Path, values: Sequence[float], primary: str, mode: str) -> None:
    """Write `expected.json` and `expected.png` into `folder`: the best score to expect of 1, 2, ...
    n configurations.

    `values` are the scores in the order the configurations were tried; each is a point. Those that
    are not finite are left out, and with fewer than two nothing is written.

    Raises `RunError` naming the file when the disk refuses.
    """
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return
    curve = expected_best(values, mode)
    atomic.write_json(
        folder / "expected.json",
        {"primary": primary, "mode": mode, "values": values, "expected_best": curve},
    )
    figure, axes = _canvas()
    tried, best = range(1, len(values) + 1), max if mode == "max" else min
    dots = {"alpha": 0.55, "markersize": 6 if len(values) <= 100 else 3, "mew": 0}
    axes.plot(tried, values, "o", color=GREY, label="each configuration", **dots)
    so_far = list(itertools.accumulate(values, best))
    steps = {"drawstyle": "steps-post", "linewidth": 1.2}
    axes.plot(tried, so_far, color=GREY, label="best so far", **steps)
    axes.plot(tried, curve, color=BLUE, label="expected best (any order)", linewidth=2.6)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.yaxis.get_major_formatter().set_useOffset(False)
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(y=0.08)
    space = max(0.5, 0.03 * len(values))
    axes.set_xlim(1 - space, len(values) + space)
    axes.set_xlabel("configurations tried", fontsize=11, color=INK)
    axes.set_ylabel(_short(primary), fontsize=11, color=INK, parse_math=False)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1),
        ncols=3,
        fontsize=10.5,
        frameon=False,
        borderaxespad=0,
        columnspacing=1.6,
    )
    title = "Best score to expect from so many configurations"
    _save(figure, axes, title, "", folder / "expected.png")


def _canvas() -> tuple[Any, Any]:
    """Return a figure of 800 x 500 pixels and its axes, outside of pyplot's global state."""
    # Of a home folder that cannot be written, which does no harm.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(8, 5),
        dpi=100,
        layout=ConstrainedLayoutEngine(w_pad=0.16, h_pad=0.16),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    return figure, axes


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


def _save(figure: Any, axes: Any, title: str, subtitle: str, path: Path) -> None:
    axes.set_title(title, loc="left", fontsize=14, color=INK, pad=26, parse_math=False)
    style = {"fontsize": 10.5, "color": "#5b6168", "parse_math": False}
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, **style)
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A letter the font lacks becomes a box; the JSON file beside the picture has it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(drawn, format="png")
    atomic.write_bytes(path, drawn.getvalue())
