"""Trying out the edges of a search space, so that no trial can draw a value that no run may have."""

from collections.abc import Iterator, Mapping
from itertools import combinations, islice, product
from math import prod

from ftr.config.dimension import Dimension
from ftr.config.overrides import COMPONENTS, Layer, Setting
from ftr.config.resolve import Resolved, resolve
from ftr.config.values import write_value
from ftr.errors import RequestError
from ftr.registry import Registry

ALL_COMBINATIONS = 256
"""Up to so many combinations of corners all are tried, of larger spaces the corners of every two keys."""
MOST_PAIRS = 1024


def check_space(fixed: Layer, space: Mapping[str, Dimension], origins: Mapping[str, str], registry: Registry) -> Resolved:
    """Return the configuration in the middle of the space, once its corners have been tried.

    `origins` are those of the searched keys. Raises what `ftr.config.resolve.resolve` does, about the fixed settings or the first
    corner that fails, with the values that make it.
    """
    middle = {key: dimension.middle() for key, dimension in space.items()}
    base = _tried(middle, fixed, space, origins, registry)
    for values in _trials(middle, space):
        _tried(values, fixed, space, origins, registry)
    return base


def _trials(middle: Mapping[str, object], space: Mapping[str, Dimension]) -> Iterator[dict[str, object]]:
    for key, dimension in space.items():
        yield from ({**middle, key: value} for value in dimension.probes())
    corners = {key: dimension.corners() for key, dimension in space.items()}
    if prod(map(len, corners.values())) <= ALL_COMBINATIONS:
        yield from (dict(zip(space, values, strict=True)) for values in product(*corners.values()))
    else:
        yield from islice(_pairs(middle, corners), MOST_PAIRS)


def _pairs(middle: Mapping[str, object], corners: Mapping[str, list[object]]) -> Iterator[dict[str, object]]:
    for first, second in combinations(corners, 2):
        for one, other in product(corners[first], corners[second]):
            yield {**middle, first: one, second: other}


def _tried(
    values: Mapping[str, object], fixed: Layer, space: Mapping[str, Dimension], origins: Mapping[str, str], registry: Registry
) -> Resolved:
    drawn = {key: Setting(value, f"{origins[key]}, from `{space[key].text}`") for key, value in values.items()}
    try:
        return resolve({**fixed, **drawn}, registry)
    except RequestError as error:
        text = str(error)
        named = [key for key, setting in drawn.items() if _names(text, key, setting)]
        if not named:
            raise
        pairs = " ".join(f"{key}={write_value(values[key])}" for key in named)
        raise type(error)(f"no trial can have `{pairs}`: {text}{_whole(text, named, space)}") from None


def _names(text: str, key: str, setting: Setting) -> bool:
    """Whether an error is about a key: it names the key, its origin, the option it lies in, or the component by its value."""
    option = ".".join(key.split(".")[:2])
    return f"`{key}`" in text or f"`{option}`" in text or setting.origin in text or (key in COMPONENTS and f"`{setting.value}`" in text)


def _whole(text: str, named: list[str], space: Mapping[str, Dimension]) -> str:
    if "valid integer" not in text or all(space[key].values for key in named):
        return ""
    return " Whole numbers are drawn by `randint`, `lograndint` and `choice`."
