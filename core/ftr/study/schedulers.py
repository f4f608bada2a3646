"""Ray Tune's schedulers by the names of `scheduler=`, and population based training.

Jaderberg et al. 2017, "Population Based Training of Neural Networks", arXiv 1711.09846.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune import schedulers

from ftr.config.schema import SweepConfig
from ftr.config.space import Dimension
from ftr.study.trials import Trial

RESAMPLE = 0.25
FACTORS = (0.8, 1.2)
TRIES = 20
"""Draws of a new value before the donor's own is kept: a list of one value has no other."""
ADOPT = "adopt"
"""Key of a trial's config: whose checkpoint it resumes from."""


class Population(schedulers.PopulationBasedTraining):  # type: ignore[misc]  # ray is not checked
    """Ray's scheduler with our searchers, spaces and trial numbers.

    `adopted` is called for every adoption (trial, donor, values) and returns the spec of a run with
    these values.
    """

    adopted: Callable[[int, int, Mapping[str, object]], dict[str, Any]]

    def __init__(
        self, space: Mapping[str, Dimension], every: float, seed: int, common: Mapping[str, Any]
    ) -> None:
        """Perturb every `every` epochs."""
        super().__init__(
            **common,
            perturbation_interval=every,
            custom_explore_fn=lambda config: config,
            log_config=False,
        )
        self.space, self.rng = space, np.random.default_rng(seed)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial. Ray's own method refuses searchers, for they could propose what no
        perturbation leads to; ours cannot.
        """
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
        """Continue from the donor only where it is ahead: of equals none gains by the other's
        weights.
        """
        if self._trial_state[trial_to_clone].last_score > self._trial_state[trial].last_score:
            super()._exploit(tune_controller, trial, trial_to_clone)

    def _get_new_config(
        self, trial: Any, trial_to_clone: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        number, donor = trial.config["trial"], trial_to_clone.config["trial"]
        values = {
            key: self._explored(self.space[key], value)
            for key, value in trial_to_clone.config["values"].items()
        }
        adoption = {"donor": donor, "step": self._trial_state[trial_to_clone].last_result["step"]}
        return {"trial": number, ADOPT: adoption, **self.adopted(number, donor, values)}, {}

    def _explored(self, dimension: Dimension, value: Any) -> object:
        """Return a neighbour of `value`: another draw, the next choice, or a factor of 0.8 or 1.2
        within the bounds.

        It differs from `value` where the space has another: a copy of the donor's weights that
        trains with the donor's values and seed would do again what the donor does.
        """
        drawn = self.rng.random() < RESAMPLE
        for _ in range(TRIES):
            found = dimension.sample(self.rng) if drawn else self._neighbour(dimension, value)
            if found != value:
                return found
        return value

    def _neighbour(self, dimension: Dimension, value: Any) -> object:
        if dimension.values:
            position = dimension.values.index(value) + int(self.rng.choice([-1, 1]))
            return dimension.values[min(max(position, 0), len(dimension.values) - 1)]
        moved = float(value) * float(self.rng.choice(FACTORS))
        return min(max(moved, float(dimension.low)), float(dimension.high))


TIME = "epoch"
VALUE = "value"
NEEDS_CHECKPOINTS = ("hyperband", "pbt")
"""Schedulers that pause and continue trials: these leave a checkpoint at every evaluation."""


@dataclass(slots=True, eq=False)
class Known:
    """Stands for a trial of an earlier part of the sweep: all a scheduler reads of one."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict)
    status: str = "TERMINATED"


def make_scheduler(
    sweep: SweepConfig, space: Mapping[str, Dimension], epochs: float, mode: str, seed: int
) -> Any:
    """Return the scheduler `scheduler=` asks for; `epochs` is the longest training of the space.

    Time is counted in epochs trained: trials of different length share rungs, and each keeps its
    own schedule.
    """
    # A rung at `max_t` would stop a trial that has just finished.
    longest = max(round(epochs), sweep.grace_period) + 1
    common = {"time_attr": TIME, "metric": VALUE, "mode": mode}
    grace, factor = sweep.grace_period, sweep.reduction_factor
    match sweep.scheduler:
        case "asha":
            return schedulers.AsyncHyperBandScheduler(
                **common, max_t=longest, grace_period=grace, reduction_factor=factor
            )
        case "hyperband":
            return schedulers.HyperBandScheduler(**common, max_t=longest, reduction_factor=factor)
        case "median":
            # Of an endless slice no trial is ever paused to let others catch up.
            return schedulers.MedianStoppingRule(
                **common, grace_period=grace, min_samples_required=3, min_time_slice=math.inf
            )
        case "pbt":
            return Population(space, grace, seed, common)
    return schedulers.FIFOScheduler()


def tell_scheduler(scheduler: Any, name: str, trials: Iterable[Trial]) -> None:
    """Let a scheduler that compares trials know those of an earlier part of the sweep."""
    for trial in trials if name in ("asha", "median") else ():
        known = Known(f"earlier-{trial.number}")
        scheduler.on_trial_add(None, known)
        last: dict[str, Any] = {}
        for result in (result for result in trial.results if math.isfinite(result.value)):
            last = {TIME: result.epoch, VALUE: result.value, "training_iteration": result.epoch}
            scheduler.on_trial_result(None, known, last)
        if last:
            scheduler.on_trial_complete(None, known, last)
