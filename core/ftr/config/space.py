"""Search spaces: expressions such as `loguniform(1e-5,1e-4)` in the place of a value, and what is said about a wrong one."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

import yaml

from ftr.config.dimension import FUNCTIONS, LISTS, SPREAD, WHOLE, Dimension, grid_points, grid_size
from ftr.config.overrides import COMPONENTS, Layer, Setting
from ftr.config.validate import shown
from ftr.config.values import read_value, split_values, write_value
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean

__all__ = [
    "LISTS",
    "Dimension",
    "function_meant",
    "grid_points",
    "grid_size",
    "looks_like_expression",
    "read_dimension",
    "split_space",
]

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_UNCLOSED = re.compile(rf"\s*({'|'.join(FUNCTIONS)})\s*\([^)]*")


class _WrongError(ValueError):
    """What is wrong with an expression, as the end of a sentence that names the key."""


def read_dimension(key: str, value: object, origin: str) -> Dimension | None:
    """Return the dimension that `value` describes: an expression, or in YAML also `{choice: [8, 16]}`. None: it is neither.

    Raises `ConfigError` naming key, origin and mend.
    """
    if isinstance(value, Dimension):
        return value
    written = value.strip() if isinstance(value, str) else None
    try:
        if written is None:
            name, arguments = _mapping(value)
            written = f"{{{name}: {arguments}}}"
        else:
            name, arguments = _call(key, written)
        return None if name is None else _dimension(name, arguments, key)
    except _WrongError as wrong:
        raise ConfigError(f"`{key}` is `{written}` ({origin}): {wrong}.") from None


def split_space(settings: Layer) -> tuple[dict[str, Dimension], Layer]:
    """Return the dimensions by dotted key, those inside the mappings of options included, and the settings that remain.

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
    """Return `value` without the expressions in it, which go to `inside`; `inside` itself where nothing else is left."""
    dimension = read_dimension(key, value, origin)
    if dimension is not None:
        inside[key] = dimension
        return inside
    if not isinstance(value, Mapping) or not value:
        return value
    items = {name: _taken_out(f"{key}.{name}", item, origin, inside) for name, item in value.items()}
    return {name: item for name, item in items.items() if item is not inside} or inside


def function_meant(value: object) -> str:
    """Return a hint where text looks like a call of a function whose name is misspelled, else ""."""
    call = _CALL.fullmatch(value) if isinstance(value, str) else None
    if call is None or call[1] in FUNCTIONS:
        return ""
    return did_you_mean(call[1], FUNCTIONS) or f" The functions of a search space are {', '.join(f'`{name}`' for name in FUNCTIONS)}."


def looks_like_expression(value: object) -> bool:
    """Whether text is a call of a function of search spaces, right or wrong."""
    call = _CALL.fullmatch(value) if isinstance(value, str) else None
    return call is not None and call[1] in FUNCTIONS


def _call(key: str, text: str) -> tuple[str | None, list[object]]:
    if _UNCLOSED.fullmatch(text):
        raise _WrongError("its parenthesis is not closed; inside the braces or brackets of YAML an expression stands in quotes")
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
        raise _WrongError(f"write `{name}({','.join(wanted)})`, {len(wanted)} numbers instead of {len(arguments)}")
    numbers = [_number(argument) for argument in arguments]
    if name == "normal":
        return _normal(*numbers)
    low, high, *rest = numbers
    if low > high:
        swapped = ",".join(map(write_value, [high, low, *rest]))
        raise _WrongError(f"its range is reversed: write `{name}({swapped})`")
    if low == high:
        more = f"; `high` itself is not drawn, write `{name}({low},{high + 1})`" if name in WHOLE else f"; write `{key}={write_value(low)}`"
        raise _WrongError(f"its range is empty{more}")
    if "log" in name and low <= 0:
        raise _WrongError("`low` must be above 0, for there are endless orders of magnitude between 0 and anything")
    if name in WHOLE:
        return _whole(name, low, high)
    return _quantized(name, low, high, rest[0]) if rest else Dimension(kind=name, low=float(low), high=float(high))


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
    return Dimension(kind="normal", low=float(centre - away), high=float(centre + away), mean=float(mean), sd=float(sd))


def _whole(name: str, low: float, high: float) -> Dimension:
    if low != int(low) or high != int(high):
        raise _WrongError(f"`{name}` takes whole numbers; `uniform` takes others")
    return Dimension(kind=name, low=int(low), high=int(high) - 1, step=1)


def _quantized(name: str, low: float, high: float, step: float) -> Dimension:
    if step <= 0:
        raise _WrongError("`q`, the distance of neighbouring values, must be above 0")
    if max(abs(low), abs(high)) / step > 2**53:
        raise _WrongError(f"{write_value(step)} is so small that neighbouring values cannot be told apart")
    for bound in (low, high):
        if not math.isclose(bound / step, round(bound / step), abs_tol=1e-9):
            raise _WrongError(f"{write_value(bound)} is no multiple of {write_value(step)}, and all values are")
    if all(number == int(number) for number in (low, high, step)):
        return Dimension(kind=name, low=int(low), high=int(high), step=int(step))
    return Dimension(kind=name, low=float(low), high=float(high), step=float(step))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _WrongError(f"{shown(value)} is not a number")
    return value
