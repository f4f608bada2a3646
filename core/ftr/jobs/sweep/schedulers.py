"""Ray Tune's schedulers by our names, and what a resumed one must be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftr.config.dimension import Dimension
    from ftr.config.sweep import SweepConfig
    from ftr.runs.trials import Trial

TIME = "epoch"
VALUE = "value"
NEEDS_CHECKPOINTS = ("hyperband", "pbt")
"""Schedulers that set a trial aside and take it up again: it leaves a checkpoint at every evaluation."""


@dataclass(slots=True, eq=False)
class Known:
    """Stands for a trial of an earlier part of the sweep: all a scheduler reads of one."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict)
    status: str = "TERMINATED"


def make_scheduler(sweep: SweepConfig, space: Mapping[str, Dimension], epochs: float, mode: str, seed: int) -> Any:
    """Return the scheduler `scheduler=` asks for; `epochs` is the longest training of the space.

    Time is counted in epochs trained: trials of different length share rungs, and each keeps its own schedule.
    """
    from ray.tune import schedulers

    # A rung at `max_t` would stop a trial that has just finished.
    longest = max(round(epochs), sweep.grace) + 1
    common = {"time_attr": TIME, "metric": VALUE, "mode": mode}
    if sweep.scheduler == "asha":
        return schedulers.AsyncHyperBandScheduler(**common, max_t=longest, grace_period=sweep.grace, reduction_factor=sweep.reduction)
    if sweep.scheduler == "median":
        # Of an endless slice no trial is ever set aside to let others catch up.
        return schedulers.MedianStoppingRule(**common, grace_period=sweep.grace, min_samples_required=3, min_time_slice=math.inf)
    if sweep.scheduler == "hyperband":
        return schedulers.HyperBandScheduler(**common, max_t=longest, reduction_factor=sweep.reduction)
    if sweep.scheduler == "pbt":
        from ftr.jobs.sweep.population import Population

        return Population(space, sweep.grace, seed, common)
    return schedulers.FIFOScheduler()


def tell_scheduler(scheduler: Any, name: str, trials: Iterable[Trial]) -> None:
    """Let a scheduler that compares trials know those of an earlier part of the sweep."""
    if name not in ("asha", "median"):
        return
    for trial in trials:
        known = Known(f"earlier-{trial.number}")
        scheduler.on_trial_add(None, known)
        last: dict[str, Any] = {}
        for result in (result for result in trial.results if math.isfinite(result.value)):
            last = {TIME: result.epoch, VALUE: result.value, "training_iteration": result.epoch}
            scheduler.on_trial_result(None, known, last)
        if last:
            scheduler.on_trial_complete(None, known, last)
