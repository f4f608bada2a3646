"""Budgets of a sweep, searchers, and connecting to Ray."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ftr.cluster.capacity import check_capacity
from ftr.cluster.connect import connect
from ftr.config.space import LISTS, grid_points
from ftr.errors import ConfigError
from ftr.runs.launch import RAY_SETTINGS, signals_kept, worker_resources
from ftr.study.analysis import expected_gain

if TYPE_CHECKING:
    from ftr.config.schema import ComputeConfig, SweepConfig
    from ftr.config.space import Dimension
    from ftr.registry.registry import Registry


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
        """Note how far a trial has come."""
        self.epochs[trial] = max(epoch, self.epochs.get(trial, 0.0))

    def exhausted(self) -> Ending | None:
        """Return why everything must stop now, or None."""
        if self.sweep.time_budget is not None and self.seconds >= self.sweep.time_budget:
            return Ending(
                "time_budget",
                f"`time_budget={self.sweep.time_budget:g}` seconds are over",
                at_once=True,
            )
        used = sum(self.epochs.values())
        if self.sweep.max_total_epochs is not None and used >= self.sweep.max_total_epochs:
            return Ending(
                "max_total_epochs",
                f"{used:g} epochs were trained, `max_total_epochs={self.sweep.max_total_epochs:g}`",
                at_once=True,
            )
        return None

    def sated(self, scores: Sequence[float], started: int) -> Ending | None:
        """Return why no further configuration is begun, or None: `scores` of those finished,
        `started` so far.
        """
        if self.trials is not None and started >= self.trials:
            if self.sweep.searcher == "grid" and self.sweep.trials is None:
                return Ending("grid", "the whole grid was tried")
            return Ending("trials", f"all {self.trials} configurations were tried")
        gain = None if self.sweep.min_gain is None else expected_gain(scores, self.mode)
        if gain is not None and self.sweep.min_gain is not None and gain < self.sweep.min_gain:
            return Ending(
                "min_gain",
                f"twice as many trials are expected to gain less than {gain:.2g}, "
                f"`min_gain={self.sweep.min_gain:g}`",
            )
        return None


Values = dict[str, object]
SCORE = "score"


class Proposer(Protocol):
    """Gives the values of configuration 0, 1, 2, ... and is told what they scored.

    The same calls in the same order give the same values: that is how a resumed sweep comes back to
    where it was.
    """

    def propose(self, number: int) -> Values | None:
        """Return the values of configuration `number`; None: there are no more."""
        ...

    def tell(self, number: int, score: float | None) -> None:
        """Take the score of configuration `number`; None: it has none, for it failed."""
        ...


@dataclass(frozen=True, slots=True)
class RandomProposer:
    """Draws configuration n from a generator seeded with (seed, n): the order of calls does not
    matter.
    """

    space: Mapping[str, Dimension]
    seed: int

    def propose(self, number: int) -> Values | None:
        """Return the values of configuration `number`."""
        rng = np.random.default_rng([self.seed, number])
        return {key: dimension.sample(rng) for key, dimension in self.space.items()}

    def tell(self, number: int, score: float | None) -> None:
        """Learn nothing."""


@dataclass(frozen=True, slots=True)
class GridProposer:
    """Every combination once, the last key changing fastest."""

    points: tuple[Values, ...]

    @classmethod
    def of(cls, space: Mapping[str, Dimension]) -> GridProposer:
        """Make the grid of a space whose dimensions are all finite."""
        return cls(tuple(grid_points(space)))

    def propose(self, number: int) -> Values | None:
        """Return point `number` of the grid."""
        return dict(self.points[number]) if number < len(self.points) else None

    def tell(self, number: int, score: float | None) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class TuneProposer:
    """A searcher of Ray Tune.

    It sees places in the unit cube and in lists; `_decoded` turns those into values.
    """

    searcher: Any
    space: Mapping[str, Dimension]
    told: set[int] = field(default_factory=set)

    def propose(self, number: int) -> Values | None:
        """Return the values the searcher suggests."""
        found = self.searcher.suggest(str(number))
        if not isinstance(found, Mapping):
            return None
        return {
            key: _decoded(dimension, found[str(i)])
            for i, (key, dimension) in enumerate(self.space.items())
        }

    def tell(self, number: int, score: float | None) -> None:
        """Hand the score on, once."""
        if number not in self.told:
            self.told.add(number)
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
        return GridProposer.of(space)
    return TuneProposer(
        _optuna(space, mode, seed) if name == "optuna" else _hyperopt(space, mode, seed), space
    )


def _optuna(space: Mapping[str, Dimension], mode: str, seed: int) -> Any:
    _need("optuna", "ftr")
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions: dict[str, Any] = {}
    for i, dimension in enumerate(space.values()):
        count = _count(dimension)
        distributions[str(i)] = (
            optuna.distributions.CategoricalDistribution(range(count))
            if count
            else optuna.distributions.FloatDistribution(0.0, 1.0)
        )
    return OptunaSearch(space=distributions, metric=SCORE, mode=mode, seed=seed)


def _hyperopt(space: Mapping[str, Dimension], mode: str, seed: int) -> Any:
    _need("hyperopt", "ftr[hyperopt]")
    from hyperopt import hp
    from ray.tune.search.hyperopt import HyperOptSearch

    # Domains of Tune itself are turned into these, with a warning for the user.
    domains: dict[str, Any] = {}
    for i, dimension in enumerate(space.values()):
        count = _count(dimension)
        domains[str(i)] = hp.choice(str(i), range(count)) if count else hp.uniform(str(i), 0.0, 1.0)
    return HyperOptSearch(
        space=domains, metric=SCORE, mode=mode, random_state_seed=seed, n_initial_points=5
    )


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigError(
            f"`searcher={package}` needs the package `{package}`: install it with `pip install "
            f"'{extra}'`, or use `random`."
        )


def _count(dimension: Dimension) -> int:
    """Return the number of values a searcher chooses among, 0 for one that lies on a scale."""
    return len(dimension.values) if dimension.kind in LISTS else 0


def _decoded(dimension: Dimension, place: Any) -> object:
    """Return the value at `place`: a position in the list of choices, or a quantile in [0, 1]."""
    if dimension.kind in LISTS:
        return dimension.values[int(place)]
    return dimension.at(min(max(float(place), 0.0), 1.0))


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
    # Every trial trains in a new thread, and glibc gives threads heaps of their own, which
    # fragment: a trial process grew by 200 kB with every trial. With two heaps it stays as it is.
    "MALLOC_ARENA_MAX": "2",
}
"""Environment of Ray Tune in the driver and in trial processes, unless the user has set it."""


NAMES = {"memory": "GB of memory"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How trials run: their resources, how many at once at most (None: what fits), and restarts
    after a dead process.
    """

    resources: dict[str, float]
    at_once: int | None
    retries: int


@contextlib.contextmanager
def connected(
    compute: ComputeConfig,
    registry: Registry,
    say: Callable[[str], None],
    settings: Mapping[str, str] = TUNE_SETTINGS,
) -> Iterator[None]:
    """Connect to the cluster, or start Ray here, for as long as the context lasts; use what is
    connected already.
    """
    settings = {**RAY_SETTINGS, **settings}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    import ray

    owned = not ray.is_initialized()
    with signals_kept() as restore:
        try:
            if owned:
                connect(compute, registry, say, settings)
                restore()
            yield
        finally:
            if owned:
                ray.shutdown()


def room(
    compute: ComputeConfig, most: int | None, word: str, say: Callable[[str], None]
) -> tuple[dict[str, float], int]:
    """Return the resources of one training, and how many trainings run at once: `most` or what the
    cluster has room for.

    Raises `ConfigError` for what no machine of the cluster has room for.
    """
    resources = worker_resources(compute, 1.0)
    fits = check_capacity(
        compute.workers,
        resources["CPU"],
        resources.get("GPU", 0.0),
        compute.memory,
        compute.resources,
    )
    several = min(fits, most or fits)
    amounts = ", ".join(
        f"{amount / 1e9 if name == 'memory' else amount:g} {NAMES.get(name, name)}"
        for name, amount in resources.items()
    )
    each = f"{compute.workers} workers of {amounts}" if compute.workers > 1 else amounts
    say(f"{several} {word}{'' if several == 1 else 's'} at a time, each with {each}")
    return resources, several


def credentials() -> dict[str, str]:
    """Return what the environment says of S3, for the processes on the nodes.

    To be sent as an argument: Ray shows a runtime environment in its dashboard, its job list and
    its logs.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
