"""Which swept parameter mattered: PED-ANOVA over the trials of a sweep."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ftr.config.dimension import LISTS, WHOLE, Dimension
from ftr.runs.leaderboard import rank
from ftr.runs.trials import SweepState

FEWEST = 8
"""Of three keys, the one that alone decides came first in 40 % of made-up sweeps of 4 trials, 73 % of 8, 92 % of 16 (30 seeds each)."""
BETTER_SHARE = 0.5
"""The better half is compared with all. With the best tenth, as optuna has it, a choice of three that alone decides came first in 23 % of
sweeps of 16 trials, with the half in 80 %; it was at least as good for every kind of key and every number of trials tried (8 to 128)."""


def importance(state: SweepState, space: Mapping[str, Dimension], mode: str) -> dict[str, float] | None:
    """Return the share each swept key has in reaching the better half of scores; the shares sum to 1, the largest comes first.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): how far the values of the better configurations are spread otherwise than
    those of all. Each configuration counts once, by the value it is ranked by; where the searcher drew some values more often
    than others is taken into account. None where it would say nothing: fewer than 8 configurations with a score, fewer than two
    keys with more than one value, or the same score everywhere.
    """
    scored = [(entry.values, entry.value) for entry in rank(state.trials.values(), mode) if entry.value is not None]
    scored = [(values, value) for values, value in scored if space.keys() <= values.keys()]
    columns = {key: [_choice(values[key]) if space[key].kind in LISTS else values[key] for values, _ in scored] for key in space}
    varied = [key for key, column in columns.items() if len(set(column)) > 1]
    if len(scored) < FEWEST or len(varied) < 2 or len({value for _, value in scored}) < 2:
        return None
    rows = [{key: columns[key][row] for key in varied} for row in range(len(scored))]
    scales = {key: _scale(space[key], columns[key]) for key in varied}
    shares = _shares(rows, [value for _, value in scored], scales, mode)
    return {**shares, **{key: 0.0 for key in space if key not in shares}}


def _shares(rows: Sequence[Mapping[str, Any]], values: Sequence[float], scales: Mapping[str, Any], mode: str) -> dict[str, float]:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # It calls itself experimental, and warns of few trials; both are said in the guide.
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
            for row, value in zip(rows, values, strict=True):
                study.add_trial(optuna.trial.create_trial(params=dict(row), distributions=dict(scales), value=value))
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BETTER_SHARE)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {key: float(share) for key, share in found.items()}


def _choice(value: Any) -> str:
    """Return a choice as text: lists cannot be told apart otherwise, and 1 and True not at all."""
    return json.dumps(value, sort_keys=True, default=str)


def _scale(dimension: Dimension, column: Sequence[Any]) -> Any:
    """Return the distribution of optuna a column lies on, wide enough for every value that was tried."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind in LISTS:
        return CategoricalDistribution(tuple(dict.fromkeys([*(_choice(value) for value in dimension.values), *column])))
    # A resumed or population based sweep may hold values from beyond the space.
    low, high = min([dimension.low, *column]), max([dimension.high, *column])
    log = "log" in dimension.kind
    return IntDistribution(low, high, log=log) if dimension.kind in WHOLE else FloatDistribution(low, high, log=log)
