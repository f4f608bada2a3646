"""Averages of the weights of several trainings of one architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftr.train.lora import settings_of

if TYPE_CHECKING:
    from torch import Tensor

    from ftr.train.scoring import Scorer

Weights = dict[str, "Tensor"]
PASSING = ("dropout", "pdrop", "dtype", "_name_or_path", "transformers_version", "cache")
"""Parts of the names of config entries that do not change what the weights mean."""


@dataclass(frozen=True, slots=True)
class Soup:
    """The mean of the weights that were `kept` (numbers in the order given), and the score `value` it has.

    `tried` has for each candidate the score of the mean with it.
    """

    weights: Weights
    kept: tuple[int, ...]
    value: float
    tried: tuple[float, ...] = ()


def greedy_soup(candidates: Iterable[Weights], score: Callable[[Weights], float], scorer: Scorer) -> Soup:
    """Average weights greedily: the first, then each that does not make the score of the mean worse.

    As in Wortsman et al. 2022, "Model soups", recipe 1. `candidates` come in falling order of their own scores, at least one, on
    the CPU and in fp32; `score` is called once for each.
    """
    soup: Soup | None = None
    total: Weights = {}
    values: list[float] = []
    for number, weights in enumerate(candidates):
        tried = added(total, weights) if total else weights
        kept = (*(soup.kept if soup else ()), number)
        mean = {name: tensor / len(kept) if tensor.is_floating_point() else tensor for name, tensor in tried.items()}
        value = score(mean)
        values.append(value)
        if soup is None or not (math.isnan(value) or scorer.better(soup.value, value)):
            soup, total = Soup(mean, kept, value), tried
    if soup is None:
        raise ValueError("a soup needs at least one model")
    return replace(soup, tried=tuple(values))


def added(total: Weights, more: Weights) -> Weights:
    """Return the sums of two sets of weights; counters and positions are those of the first."""
    return {name: tensor + more[name] if tensor.is_floating_point() else tensor for name, tensor in total.items()}


def copied(weights: Weights) -> Weights:
    """Return weights on the CPU that no model changes any more."""
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def unlike(one: Path, other: Path) -> str | None:
    """Return why the weights of two checkpoint folders cannot be averaged, or None: another value in `config.json`."""
    mine, theirs = (settings_of(folder) for folder in (one, other))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key) and not any(part in key for part in PASSING):
            return f"its `{key}` is {theirs.get(key)!r}, not {mine.get(key)!r}"
    return None
