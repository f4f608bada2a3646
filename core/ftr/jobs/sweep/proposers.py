"""Which values a trial gets: random, grid, and Tune's own searchers behind one small interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ftr.config.dimension import LISTS, grid_points
from ftr.errors import ConfigError

if TYPE_CHECKING:
    from ftr.config.dimension import Dimension

Values = dict[str, object]
SCORE = "score"


class Proposer(Protocol):
    """Gives the values of configuration 0, 1, 2, ... and is told what they scored.

    The same calls in the same order give the same values: that is how a resumed sweep comes back to where it was.
    """

    def propose(self, number: int) -> Values | None:
        """Return the values of configuration `number`; None: there are no more."""
        ...

    def tell(self, number: int, score: float | None) -> None:
        """Take the score of configuration `number`; None: it has none, for it failed."""
        ...


@dataclass(frozen=True, slots=True)
class RandomProposer:
    """Draws configuration n from a generator seeded with (seed, n): the order of calls does not matter."""

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
    """A searcher of Ray Tune. It sees places in the unit cube and in lists; `_decoded` turns those into values."""

    searcher: Any
    space: Mapping[str, Dimension]
    told: set[int] = field(default_factory=set)

    def propose(self, number: int) -> Values | None:
        """Return the values the searcher suggests."""
        found = self.searcher.suggest(str(number))
        if not isinstance(found, Mapping):
            return None
        return {key: _decoded(dimension, found[str(i)]) for i, (key, dimension) in enumerate(self.space.items())}

    def tell(self, number: int, score: float | None) -> None:
        """Hand the score on, once."""
        if number not in self.told:
            self.told.add(number)
            usable = score is not None and math.isfinite(score)
            result = {SCORE: score, "training_iteration": 1} if usable else None
            self.searcher.on_trial_complete(str(number), result=result, error=not usable)


def make_proposer(name: str, space: Mapping[str, Dimension], mode: str, seed: int) -> Proposer:
    """Return the proposer `searcher=name` asks for. Raises `ConfigError` when its package is not installed."""
    if name == "random":
        return RandomProposer(space, seed)
    if name == "grid":
        return GridProposer.of(space)
    return TuneProposer(_optuna(space, mode, seed) if name == "optuna" else _hyperopt(space, mode, seed), space)


def _optuna(space: Mapping[str, Dimension], mode: str, seed: int) -> Any:
    _need("optuna", "ftr")
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions: dict[str, Any] = {}
    for i, dimension in enumerate(space.values()):
        count = _count(dimension)
        distributions[str(i)] = (
            optuna.distributions.CategoricalDistribution(range(count)) if count else optuna.distributions.FloatDistribution(0.0, 1.0)
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
    return HyperOptSearch(space=domains, metric=SCORE, mode=mode, random_state_seed=seed, n_initial_points=5)


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigError(f"`searcher={package}` needs the package `{package}`: install it with `pip install '{extra}'`, or use `random`.")


def _count(dimension: Dimension) -> int:
    """Return the number of values a searcher chooses among, 0 for one that lies on a scale."""
    return len(dimension.values) if dimension.kind in LISTS else 0


def _decoded(dimension: Dimension, place: Any) -> object:
    """Return the value at `place`: a position in the list of choices, or a quantile in [0, 1]."""
    if dimension.kind in LISTS:
        return dimension.values[int(place)]
    return dimension.at(min(max(float(place), 0.0), 1.0))
