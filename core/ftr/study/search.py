"""Budgets of a sweep, searchers, and the resources of its trials."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftr.cluster.capacity import check_capacity
from ftr.config.schema import ComputeConfig, SweepConfig
from ftr.config.space import Dimension, grid_points
from ftr.errors import ConfigError, counted
from ftr.runs.launch import worker_resources
from ftr.study.analysis import expected_gain


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a sweep ends: a word for the journal, a sentence for people.

    `at_once`: running trials are stopped too.
    """

    reason: str
    detail: str
    at_once: bool = False


@dataclass(slots=True)
class Budget:
    """The limits of a sweep and what was used of them.

    `trials` limits the configurations (None: nothing does), `spent_before` are the seconds of
    earlier parts of a resumed sweep.
    """

    sweep: SweepConfig
    trials: int | None
    mode: str
    spent_before: float = 0.0
    epochs: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds the sweep has run, over all its parts."""
        return self.spent_before + time.monotonic() - self.began

    def count(self, trial: int, epoch: float) -> None:
        """Note the epochs that a trial trained so far."""
        self.epochs[trial] = max(epoch, self.epochs.get(trial, 0.0))

    def exhausted(self) -> Ending | None:
        """Return why everything must stop now, or None."""
        limit, most = self.sweep.time_budget, self.sweep.max_total_epochs
        if limit is not None and self.seconds >= limit:
            return Ending("time_budget", f"`time_budget={limit:g}` seconds are over", at_once=True)
        used = sum(self.epochs.values())
        if most is not None and used >= most:
            detail = f"{counted(used, 'epoch', 'g')} trained, `max_total_epochs={most:g}`"
            return Ending("max_total_epochs", detail, at_once=True)
        return None

    def sated(self, scores: Sequence[float], started: int) -> Ending | None:
        """Return why no further configuration starts, or None; `scores` are those of the ones that
        ended, `started` is their number so far.
        """
        if self.trials is not None and started >= self.trials:
            if self.sweep.searcher == "grid" and self.sweep.trials is None:
                return Ending("grid", "the whole grid was tried")
            return Ending("trials", f"all {self.trials} trials that were asked for are done")
        least = self.sweep.min_gain
        gain = None if least is None else expected_gain(scores, self.mode)
        if least is not None and gain is not None and gain < least:
            return Ending(
                "min_gain",
                f"twice as many trials are expected to gain less than {gain:.2g}, "
                f"`min_gain={least:g}`",
            )
        return None


Values = dict[str, object]
SCORE = "score"


class Proposer(ABC):
    """Proposes the values of configuration 0, 1, 2, ... and learns their scores.

    The same calls in the same order give the same values, so a resumed sweep repeats them.
    """

    __slots__ = ()

    @abstractmethod
    def propose(self, number: int) -> Values | None:
        """Return the values of configuration `number`; None: there are no more."""

    def tell(self, number: int, score: float | None) -> None:  # noqa: B027
        """Take the score of configuration `number` (None: it failed); learn nothing by default."""


@dataclass(frozen=True, slots=True)
class RandomProposer(Proposer):
    """Draws configuration n from a generator seeded with (seed, n): the order of calls does not
    matter.
    """

    space: Mapping[str, Dimension]
    seed: int

    def propose(self, number: int) -> Values | None:
        """Return the values of configuration `number`."""
        rng = np.random.default_rng([self.seed, number])
        return {key: dimension.sample(rng) for key, dimension in self.space.items()}


@dataclass(frozen=True, slots=True)
class GridProposer(Proposer):
    """Gives every combination once, the last key changing fastest."""

    points: tuple[Values, ...]

    def propose(self, number: int) -> Values | None:
        """Return point `number` of the grid."""
        return dict(self.points[number]) if number < len(self.points) else None


@dataclass(slots=True)
class TuneProposer(Proposer):
    """A searcher of Ray Tune.

    It searches positions in lists and quantiles in [0, 1], under the number of each key.
    """

    searcher: Any
    space: Mapping[str, Dimension]
    scored: set[int] = field(default_factory=set)

    def propose(self, number: int) -> Values | None:
        """Return the values the searcher suggests."""
        found = self.searcher.suggest(str(number))
        if not isinstance(found, Mapping):
            return None
        return {
            key: dimension.values[int(found[str(i)])]
            if dimension.values
            else dimension.at(min(max(float(found[str(i)]), 0.0), 1.0))
            for i, (key, dimension) in enumerate(self.space.items())
        }

    def tell(self, number: int, score: float | None) -> None:
        """Pass the score on, once."""
        if number not in self.scored:
            self.scored.add(number)
            usable = score is not None and math.isfinite(score)
            result = {SCORE: score, "training_iteration": 1} if usable else None
            self.searcher.on_trial_complete(str(number), result=result, error=not usable)


def make_proposer(name: str, space: Mapping[str, Dimension], mode: str, seed: int) -> Proposer:
    """Return the proposer `searcher=name` asks for.

    Raises `ConfigError` when its package is not installed.
    """
    if name == "random":
        return RandomProposer(space, seed)
    if name == "grid":
        return GridProposer(tuple(grid_points(space)))
    if importlib.util.find_spec(name) is None:
        extra = "ftr" if name == "optuna" else f"ftr[{name}]"
        raise ConfigError(
            f"`searcher={name}` needs the package `{name}`: install it with `pip install "
            f"'{extra}'`, or use `random`."
        )
    make = _optuna if name == "optuna" else _hyperopt
    return TuneProposer(
        make([len(dimension.values) for dimension in space.values()], mode, seed), space
    )


def _optuna(counts: Sequence[int], mode: str, seed: int) -> Any:
    """Return a searcher; `counts` has the number of values of each key, 0 for a range."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {
        str(i): CategoricalDistribution(range(count)) if count else FloatDistribution(0.0, 1.0)
        for i, count in enumerate(counts)
    }
    return OptunaSearch(space=space, metric=SCORE, mode=mode, seed=seed)


def _hyperopt(counts: Sequence[int], mode: str, seed: int) -> Any:
    from hyperopt import hp
    from ray.tune.search.hyperopt import HyperOptSearch

    # Domains of Tune itself are turned into these, with a warning for the user.
    space = {
        str(i): hp.choice(str(i), range(count)) if count else hp.uniform(str(i), 0.0, 1.0)
        for i, count in enumerate(counts)
    }
    return HyperOptSearch(
        space=space, metric=SCORE, mode=mode, random_state_seed=seed, n_initial_points=5
    )


TUNE_SETTINGS = {
    # The journal is the record: Tune's own loggers, pickles and interrupt handler are not wanted.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "60",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
    "RAY_AIR_NEW_OUTPUT": "0",
    "PL_DISABLE_FORK": "1",  # as Tune sets it for trials, see `tune_inherits`
    # Every trial trains in a new thread, and glibc gives threads heaps of their own, which
    # fragment: a trial process grew by 200 kB with every trial. With two heaps it stays as it is.
    "MALLOC_ARENA_MAX": "2",
}
"""Environment of Ray Tune in the driver and in trial processes, unless the user has set it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How trials run: their resources, how many at once at most (None: what fits), and restarts
    after a dead process.
    """

    resources: dict[str, float]
    at_once: int | None
    retries: int


def room(
    compute: ComputeConfig, most: int | None, word: str, say: Callable[[str], None]
) -> tuple[dict[str, float], int]:
    """Return the resources of one training, and how many trainings run at once: `most` or what the
    cluster has room for.

    Raises `ConfigError` for what no machine of the cluster has room for.
    """
    each = worker_resources(compute, 1.0)
    cpus, gpus = each["CPU"], each.get("GPU", 0.0)
    fits = check_capacity(compute.workers, cpus, gpus, compute.memory, compute.resources)
    several = min(fits, most or fits)
    shown = ", ".join(
        f"{amount / 1e9:g} GB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in each.items()
    )
    workers = f"{compute.workers} workers of " if compute.workers > 1 else ""
    say(f"{counted(several, word)} at a time, each with {workers}{shown}")
    return each, several


def credentials() -> dict[str, str]:
    """Return the environment variables of S3, for the processes on the nodes.

    To be sent as an argument: Ray shows a runtime environment in its dashboard, its job list and
    its logs.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
