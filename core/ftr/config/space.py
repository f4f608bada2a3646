"""Search spaces: expressions such as `loguniform(1e-5,1e-4)` instead of a value."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from statistics import NormalDist
from typing import TYPE_CHECKING

import yaml

from ftr.config.parse import COMPONENTS, Layer, Setting, shown
from ftr.config.values import read_value, split_values, write_value
from ftr.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from numpy.random import Generator


FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "choice": (("a", "b", "…"), "One of the values: numbers, words, lists or mappings."),
    "grid": (("a", "b", "…"), "Each of the values in turn; needs `searcher=grid`."),
    "uniform": (("low", "high"), "A number between the two."),
    "loguniform": (
        ("low", "high"),
        "A number between the two, every order of magnitude equally likely.",
    ),
    "quniform": (("low", "high", "q"), "A multiple of `q` from `low` to `high`, both included."),
    "qloguniform": (("low", "high", "q"), "The same, every order of magnitude equally likely."),
    "randint": (("low", "high"), "A whole number from `low` up to, but not including, `high`."),
    "lograndint": (("low", "high"), "The same, every order of magnitude equally likely."),
    "normal": (
        ("mean", "sd"),
        "A number from a normal distribution, at most three `sd` from `mean`.",
    ),
}
"""Each function: its arguments, and what it draws."""

LISTS = ("choice", "grid")
WHOLE = ("randint", "lograndint")
SPREAD = 3
"""Standard deviations from the mean that a `normal` may draw, so that its ends can be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """The values that one key may take.

    `values` are those of `choice` and `grid`. For the others, `low` and `high` are the smallest and
    the largest possible value: 1 and 3 for `randint(1,4)`, three `sd` on either side of `mean`
    for `normal`. Values are `step` apart; 0: they are continuous.
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
        """The number of values; None: infinite."""
        if self.kind in LISTS:
            return len(self.values)
        return self._steps(self.high) - self._steps(self.low) + 1 if self.step else None

    @property
    def text(self) -> str:
        """The expression; `read_dimension` makes an equal dimension of it."""
        if self.kind in LISTS:
            return f"{self.kind}({','.join(map(write_value, self.values))})"
        if self.kind == "normal":
            return f"normal({_short(self.mean)},{_short(self.sd)})"
        last = self.high + 1 if self.kind in WHOLE else self.high
        step = f",{_short(self.step)}" if self.step and self.kind not in WHOLE else ""
        return f"{self.kind}({_short(self.low)},{_short(last)}{step})"

    def at(self, share: float) -> object:
        """Return the quantile of `share`: with `share` uniform in [0, 1) it is a random draw."""
        if self.kind in LISTS:
            return self.values[_index(share, len(self.values))]
        if self.kind == "normal":
            beyond = NormalDist().cdf(-SPREAD)
            return self._clipped(
                self.mean + self.sd * NormalDist().inv_cdf(beyond + share * (1 - 2 * beyond))
            )
        log = "log" in self.kind
        if not self.step:
            return self._clipped(_between(self.low, self.high, share, log))
        first, last = self._steps(self.low), self._steps(self.high)
        if log:
            # Each value gets the part of the logarithmic scale from itself to the next one.
            return self._multiple(min(int(_between(first, last + 1, share, log)), last))
        return self._multiple(first + _index(share, last - first + 1))

    def sample(self, rng: "Generator") -> object:
        """Draw a value."""
        return self.at(float(rng.random()))

    def middle(self) -> object:
        """Return a typical value: the first of a list, the median of a range."""
        return self.values[0] if self.kind in LISTS else self.at(0.5)

    def corners(self) -> list[object]:
        """Return the ends of a range, with the mean of `normal`, or all values of a list."""
        if self.kind in LISTS:
            return list(self.values)
        ends: list[object] = [self.low] if self.low == self.high else [self.low, self.high]
        return [self.mean, *ends] if self.kind == "normal" else ends

    def probes(self) -> list[object]:
        """Return the corners and, for a range, a value that is not round: a key of whole numbers
        takes the ends of `uniform(8,32)`, but no other value.
        """
        if self.kind in LISTS or self.low == self.high:
            return self.corners()
        inner = self._multiple(self._steps(self.low) + 1) if self.step else self.at(0.618)
        return [*self.corners(), inner]

    def points(self) -> Iterator[object]:
        """Yield every value, in order. Raises `ValueError` where the number is infinite."""
        if self.kind in LISTS:
            yield from self.values
        elif self.step:
            yield from map(self._multiple, range(self._steps(self.low), self._steps(self.high) + 1))
        else:
            raise ValueError(f"`{self.text}` has infinitely many values")

    def _steps(self, value: float) -> int:
        return round(value / self.step)

    def _multiple(self, number: int) -> float:
        """Return `number` steps in decimal arithmetic: 3 times 0.1 is 0.3."""
        if isinstance(self.step, int):
            return number * self.step
        return float(number * Decimal(repr(self.step)))

    def _clipped(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def grid_size(space: Mapping[str, Dimension]) -> int | None:
    """Return the number of combinations; None: infinite."""
    total = 1
    for dimension in space.values():
        if dimension.size is None:
            return None
        total *= dimension.size
    return total


def grid_points(space: Mapping[str, Dimension]) -> Iterator[dict[str, object]]:
    """Yield every combination of values, the last key changing fastest.

    Raises `ValueError` where the number is infinite.
    """
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


_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_UNCLOSED = re.compile(rf"\s*({'|'.join(FUNCTIONS)})\s*\([^)]*")


class _WrongError(ValueError):
    """What is wrong with an expression, as a clause after the key."""


def read_dimension(key: str, value: object, origin: str) -> Dimension | None:
    """Return the dimension of an expression such as `choice(8,16)` or, in YAML, `{choice: [8,
    16]}`; None: `value` is neither.

    Raises `ConfigError` naming key, origin and fix.
    """
    if isinstance(value, Dimension):
        return value
    written = value.strip() if isinstance(value, str) else value
    try:
        name, arguments = _call(key, written) if isinstance(written, str) else _mapping(written)
        return None if name is None else _dimension(name, arguments, key)
    except _WrongError as wrong:
        raise ConfigError(f"`{key}` is `{written}` ({origin}): {wrong}.", keys=[key]) from None


def split_space(settings: Layer) -> tuple[dict[str, Dimension], Layer]:
    """Return the dimensions by dotted key, also those within mappings of options, and the other
    settings.

    Raises `ConfigError` for a wrong expression.
    """
    space: dict[str, Dimension] = {}
    fixed: Layer = {}
    for key, setting in settings.items():
        inside: dict[str, Dimension] = {}
        value = _taken_out(key, setting.value, setting.origin, inside)
        if not inside:
            fixed[key] = setting
        elif value is not inside:
            fixed[key] = Setting(value, setting.origin)
        space |= inside
    return space, fixed


def _taken_out(key: str, value: object, origin: str, inside: dict[str, Dimension]) -> object:
    """Move the expressions in `value` to `inside`; return the rest, or `inside` if none is left."""
    dimension = read_dimension(key, value, origin)
    if dimension is not None:
        inside[key] = dimension
        return inside
    if not isinstance(value, Mapping) or not value:
        return value
    items = {
        name: _taken_out(f"{key}.{name}", item, origin, inside) for name, item in value.items()
    }
    return {name: item for name, item in items.items() if item is not inside} or inside


def function_meant(value: object) -> str:
    """Return a hint where text looks like a call with a misspelled function name, else ""."""
    call = _CALL.fullmatch(value) if isinstance(value, str) else None
    if call is None or call[1] in FUNCTIONS:
        return ""
    return (
        did_you_mean(call[1], FUNCTIONS)
        or f" The functions of a search space are {', '.join(f'`{name}`' for name in FUNCTIONS)}."
    )


def looks_like_expression(value: object) -> bool:
    """Whether text is a call of a function of search spaces, right or wrong."""
    call = _CALL.fullmatch(value) if isinstance(value, str) else None
    return call is not None and call[1] in FUNCTIONS


def _call(key: str, text: str) -> tuple[str | None, list[object]]:
    if _UNCLOSED.fullmatch(text):
        raise _WrongError(
            "its parenthesis is not closed; inside the braces or brackets of YAML, quote an "
            "expression"
        )
    call = _CALL.fullmatch(text)
    if call is None or call[1] not in FUNCTIONS:
        return None, []
    try:
        return call[1], [_argument(key, part) for part in split_values(call[2])]
    except yaml.YAMLError:
        raise _WrongError("one of its values is not a YAML list, mapping or string") from None
    except ValueError as error:
        raise _WrongError(str(error)) from None


def _argument(key: str, part: str) -> object:
    value = read_value(part)
    # A file or a model may be called 2024.
    return part if key in COMPONENTS and isinstance(value, int | float) else value


def _mapping(value: object) -> tuple[str | None, list[object]]:
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, arguments),) = value.items()
        if name in FUNCTIONS and isinstance(arguments, list | tuple):
            return str(name), list(arguments)
    return None, []


def _dimension(name: str, arguments: Sequence[object], key: str) -> Dimension:
    if name in LISTS:
        return _of_list(name, arguments)
    wanted = FUNCTIONS[name][0]
    if len(arguments) != len(wanted):
        raise _WrongError(
            f"write `{name}({','.join(wanted)})`, {len(wanted)} numbers instead of {len(arguments)}"
        )
    numbers = [_number(argument) for argument in arguments]
    if name == "normal":
        return _normal(*numbers)
    low, high, *rest = numbers
    if low > high:
        swapped = ",".join(map(write_value, [high, low, *rest]))
        raise _WrongError(f"its range is reversed: write `{name}({swapped})`")
    if low == high:
        fix = f"write `{key}={write_value(low)}`"
        if name in WHOLE:
            fix = f"`high` itself is not drawn, write `{name}({low},{high + 1})`"
        raise _WrongError(f"its range is empty; {fix}")
    if "log" in name and low <= 0:
        raise _WrongError("`low` must be above 0 on a logarithmic scale")
    if rest:
        return _quantized(name, low, high, rest[0])
    if name not in WHOLE:
        return Dimension(kind=name, low=float(low), high=float(high))
    if low != int(low) or high != int(high):
        raise _WrongError(f"`{name}` takes whole numbers; `uniform` takes others")
    return Dimension(kind=name, low=int(low), high=int(high) - 1, step=1)


def _of_list(name: str, values: Sequence[object]) -> Dimension:
    if not values:
        raise _WrongError(f"it holds no value: write for example `{name}(8,16,32)`")
    try:
        texts = [write_value(value) for value in values]
    except TypeError as error:
        raise _WrongError(str(error)) from None
    twice = next((text for at, text in enumerate(texts) if text in texts[:at]), None)
    if twice is not None:
        raise _WrongError(f"it holds `{twice}` twice: keep one")
    return Dimension(kind=name, values=tuple(values))


def _normal(mean: float, sd: float) -> Dimension:
    if sd <= 0:
        raise _WrongError("`sd`, the standard deviation, must be above 0")
    centre, away = Decimal(repr(mean)), SPREAD * Decimal(repr(sd))
    return Dimension(
        kind="normal",
        low=float(centre - away),
        high=float(centre + away),
        mean=float(mean),
        sd=float(sd),
    )


def _quantized(name: str, low: float, high: float, step: float) -> Dimension:
    if step <= 0:
        raise _WrongError("`q`, the distance between values, must be above 0")
    if max(abs(low), abs(high)) / step > 2**53:
        raise _WrongError(
            f"{write_value(step)} is too small to distinguish the values of this range"
        )
    for bound in (low, high):
        if not math.isclose(bound / step, round(bound / step), abs_tol=1e-9):
            raise _WrongError(
                f"{write_value(bound)} is not a multiple of {write_value(step)}, as all values are"
            )
    number = int if all(value == int(value) for value in (low, high, step)) else float
    return Dimension(kind=name, low=number(low), high=number(high), step=number(step))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _WrongError(f"{shown(value)} is not a number")
    return value
