"""One dimension of a search space: the values a key may take, drawing from them, and the values that must be tried out."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from statistics import NormalDist
from typing import TYPE_CHECKING

from ftr.config.values import write_value

if TYPE_CHECKING:
    from numpy.random import Generator

FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "choice": (("a", "b", "…"), "One of the values: numbers, words, lists or mappings."),
    "grid": (("a", "b", "…"), "Each of the values in turn; needs `searcher=grid`."),
    "uniform": (("low", "high"), "A number between the two."),
    "loguniform": (("low", "high"), "A number between the two, every order of magnitude equally likely."),
    "quniform": (("low", "high", "q"), "A multiple of `q` from `low` to `high`, both included."),
    "qloguniform": (("low", "high", "q"), "The same, every order of magnitude equally likely."),
    "randint": (("low", "high"), "A whole number from `low` on and below `high`."),
    "lograndint": (("low", "high"), "The same, every order of magnitude equally likely."),
    "normal": (("mean", "sd"), "A number of the normal distribution, at most three `sd` from `mean`."),
}
"""Each function: its arguments, and what it draws."""

LISTS = ("choice", "grid")
WHOLE = ("randint", "lograndint")
SPREAD = 3
"""How many standard deviations from the mean a `normal` may draw: what lies beyond would never have been checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """The values that one key may take.

    `values` are those of `choice` and `grid`. Of all others `low` and `high` are the smallest and the largest value that occur: 1 and 3
    for `randint(1,4)`, three `sd` on either side of `mean` for `normal`. Neighbours are `step` apart; 0: there are none.
    """

    kind: str
    values: tuple[object, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0
    mean: float = 0.0
    sd: float = 0.0

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than can be counted."""
        if self.kind in LISTS:
            return len(self.values)
        return self._steps(self.high) - self._steps(self.low) + 1 if self.step else None

    @property
    def text(self) -> str:
        """The expression; read again it gives an equal dimension."""
        if self.kind in LISTS:
            return f"{self.kind}({','.join(map(write_value, self.values))})"
        if self.kind == "normal":
            return f"normal({_short(self.mean)},{_short(self.sd)})"
        last = self.high + 1 if self.kind in WHOLE else self.high
        step = f",{_short(self.step)}" if self.step and self.kind not in WHOLE else ""
        return f"{self.kind}({_short(self.low)},{_short(last)}{step})"

    def at(self, share: float) -> object:
        """Return the value that `share` of all draws do not exceed: a `share` drawn evenly from [0, 1) gives a draw of this dimension."""
        if self.kind in LISTS:
            return self.values[_index(share, len(self.values))]
        if self.kind == "normal":
            beyond = NormalDist().cdf(-SPREAD)
            return self._clipped(self.mean + self.sd * NormalDist().inv_cdf(beyond + share * (1 - 2 * beyond)))
        log = "log" in self.kind
        if not self.step:
            return self._clipped(_between(self.low, self.high, share, log))
        if log:
            # Each value gets the part of the logarithmic line from itself to its neighbour.
            first, last = self._steps(self.low), self._steps(self.high)
            return self._multiple(min(int(_between(first, last + 1, share, log)), last))
        return self._multiple(self._steps(self.low) + _index(share, self._steps(self.high) - self._steps(self.low) + 1))

    def sample(self, rng: "Generator") -> object:
        """Draw a value."""
        return self.at(float(rng.random()))

    def middle(self) -> object:
        """Return a value that stands for all: the first of a list, the median of a range."""
        return self.values[0] if self.kind in LISTS else self.at(0.5)

    def corners(self) -> list[object]:
        """Return the values at the ends, the mean besides for `normal`; of `choice` and `grid` all values."""
        if self.kind in LISTS:
            return list(self.values)
        ends: list[object] = [self.low] if self.low == self.high else [self.low, self.high]
        return [self.mean, *ends] if self.kind == "normal" else ends

    def probes(self) -> list[object]:
        """Return the corners, and for ranges a value between them: a key of whole numbers takes the ends of `uniform(8,32)`."""
        if self.kind in LISTS or self.low == self.high:
            return self.corners()
        golden = 0.618  # no round number
        return [*self.corners(), self._multiple(self._steps(self.low) + 1) if self.step else self.at(golden)]

    def points(self) -> Iterator[object]:
        """Yield every value, in order. Raises `ValueError` where they cannot be counted."""
        if self.kind in LISTS:
            yield from self.values
        elif self.step:
            yield from map(self._multiple, range(self._steps(self.low), self._steps(self.high) + 1))
        else:
            raise ValueError(f"`{self.text}` has more values than can be counted")

    def _steps(self, value: float) -> int:
        return round(value / self.step)

    def _multiple(self, number: int) -> float:
        """Return `number` steps as people write it: 3 times 0.1 is 0.3."""
        return number * self.step if isinstance(self.step, int) else float(number * Decimal(repr(self.step)))

    def _clipped(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def grid_size(space: Mapping[str, Dimension]) -> int | None:
    """Return the number of combinations; None: more than can be counted."""
    sizes = [dimension.size for dimension in space.values()]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def grid_points(space: Mapping[str, Dimension]) -> Iterator[dict[str, object]]:
    """Yield every combination of values, the last key changing fastest. Raises `ValueError` where they cannot be counted."""
    for values in product(*(list(dimension.points()) for dimension in space.values())):
        yield dict(zip(space, values, strict=True))


def _between(low: float, high: float, share: float, log: bool) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def _index(share: float, count: int) -> int:
    return min(int(share * count), count - 1)


def _short(number: float) -> str:
    return write_value(int(number) if number == int(number) and abs(number) < 1e6 else number)
