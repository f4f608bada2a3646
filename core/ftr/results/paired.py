"""Two models on the same rows: the interval of a difference, and tests of no difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from ftr.train.intervals import (
    FEWEST_RESAMPLES,
    RESAMPLES,
    SECONDS,
    SEED,
    Contributions,
    Floats,
    Integers,
    Interval,
    Path,
    Sample,
    Units,
    bca,
    numbers,
)

PERMUTATIONS = 4999
CELLS = 2_000_000
Called = Callable[[Integers, NDArray[np.bool_] | None], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""Scores of both models on the rows with the given numbers, exchanged where the mask says."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of two models, the first minus the second with its interval, and the p-value of the
    `test`: the chance of as large a difference if the two were exchangeable.
    """

    first: float
    second: float
    interval: Interval | None
    p: float | None
    test: str
    exact: float | None = None
    """The p-value of the exact test, where `p` is its mid-p-value."""

    @property
    def value(self) -> float:
        """The first minus the second."""
        return self.first - self.second


def differences(
    first: Contributions, second: Contributions, units: Units
) -> dict[Path, Difference]:
    """Return the differences of all additive scores, from a paired bootstrap.

    The test is McNemar's (binomial, mid-p) for shares of rows that are right, where rows are drawn
    alone, and for other scores a permutation test: the predictions of each unit are exchanged
    between the models or not, and p = (1 + as large) / (1 + permutations). The tables of both have
    the same columns: see `ftr.train.intervals.contributions_of_several`. Raises `ValueError` for
    tables that were made apart.
    """
    if first.metrics is not second.metrics:
        raise ValueError("the tables may have other columns: use `contributions_of_several`")
    width = first.table.shape[1]
    table = np.concatenate([first.table, second.table], axis=1)
    sample = Sample.of(units.totals(table))
    generator = np.random.default_rng(SEED)

    def both(sums: Floats) -> tuple[dict[Path, Floats], dict[Path, Floats]]:
        return first.scores(sums[..., :width]), second.scores(sums[..., width:])

    whole = both(sample.total)
    drawn = both(sample.resampled(RESAMPLES, generator))
    left_out = both(sample.total - sample.distinct)
    exchanged = both(_exchanged(sample, width, generator))
    alone = both(table.astype(np.float64)) if units.of_row is None else None
    found: dict[Path, Difference] = {}
    for path in whole[0].keys() & whole[1].keys():
        one, other = (float(scores[path]) for scores in whole)
        moved, without, swapped = (a[path] - b[path] for a, b in (drawn, left_out, exchanged))
        ends = bca(one - other, moved, (one - other) - without, sample.counts)
        right = None if alone is None else _right(path, alone, (one, other), both, table)
        if right is not None:
            mid, exact = mcnemar(*right)
            found[path] = Difference(one, other, ends, mid, "McNemar", exact)
        else:
            p = permutation_p(one, other, swapped)
            found[path] = Difference(one, other, ends, p, "permutation")
    return found


def _exchanged(sample: Sample, width: int, generator: np.random.Generator) -> Floats:
    """Return the sums of both models with units exchanged at random, (permutations, columns)."""
    turned = np.concatenate([sample.distinct[:, width:], sample.distinct[:, :width]], axis=1)
    change, counts = turned - sample.distinct, sample.counts
    most = max(1, CELLS // len(counts))
    parts = []
    for start in range(0, PERMUTATIONS, most):
        size = (min(most, PERMUTATIONS - start), len(counts))
        times = (
            generator.integers(2, size=size, dtype=np.int8)
            if (counts == 1).all()
            else generator.binomial(counts, 0.5, size=size)
        )
        parts.append(sample.total + times.astype(np.float64) @ change)
    return np.concatenate(parts)


def _right(
    path: Path,
    alone: tuple[Mapping[Path, Floats], ...],
    values: tuple[float, ...],
    both: Callable[[Floats], tuple[Mapping[Path, Floats], ...]],
    table: NDArray[Any],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return the rows that each model has right, where the score is the share of such rows; else
    None.
    """
    rows = [scores[path] for scores in alone]
    best = max(float(np.nanmax(one)) if np.isfinite(one).any() else 0.0 for one in rows)
    if best <= 0 or any(not np.isin(one, (0.0, best)).all() for one in rows):
        return None
    # A score such as the macro recall is that share for some rows only.
    half = np.random.default_rng(SEED).permutation(len(table))[: len(table) // 2 + 1]
    part = both(table[half].sum(axis=0, dtype=np.float64))
    for one, value, scores in zip(rows, values, part, strict=True):
        if not (np.isclose(one.mean(), value) and np.isclose(one[half].mean(), scores[path])):
            return None
    return rows[0] == best, rows[1] == best


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mid-p-value and the exact p-value of McNemar's test (two-sided): of the rows that
    one model alone has right, each is the first's with probability 1/2.

    The exact test finds far fewer than 5 % of equal models different at the 5 % level where few
    rows differ; the mid-p-value counts the given outcome half, and comes closer (Fagerland,
    Lydersen and Laake 2013).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    changed = only_first + only_second
    if not changed:
        return 1.0, 1.0
    fewer = min(only_first, only_second)
    exact = 2 * float(bdtr(fewer, changed, 0.5))
    mid = exact - (exact / 2 - (float(bdtr(fewer - 1, changed, 0.5)) if fewer else 0.0))
    return min(1.0, mid), min(1.0, exact)


def permutation_p(first: float, second: float, exchanged: Floats) -> float | None:
    """Return the share of permutations with at least as large a difference of the scores `first`
    and `second`, the given one among them; None where it is not defined.
    """
    known, value = exchanged[np.isfinite(exchanged)], abs(first - second)
    if not np.isfinite(value) or len(known) < FEWEST_RESAMPLES:
        return None
    # Sums in another order differ in their last digits.
    least = value - 1e-12 - 1e-9 * max(abs(first), abs(second))
    return float(1 + (np.abs(known) >= least).sum()) / (1 + len(known))


def called_differences(
    called: Called, units: Units, seconds: float = SECONDS
) -> tuple[dict[Path, Difference], str]:
    """Return the differences of scores of a metric that is not additive, which is called on
    resampled and on exchanged rows for half of the `seconds` each, and how often that was.
    """
    groups, every = units.rows(), np.concatenate(units.rows())
    whole = tuple(map(numbers, called(every, None)))
    generator = np.random.default_rng(SEED)

    def resample() -> tuple[Integers, NDArray[np.bool_] | None]:
        picked = generator.integers(units.count, size=units.count)
        return np.concatenate([groups[one] for one in picked.tolist()]), None

    def exchange() -> tuple[Integers, NDArray[np.bool_] | None]:
        swap = generator.integers(2, size=units.count).astype(bool)
        return every, np.repeat(swap, [len(group) for group in groups])

    drawn, resamples = _repeated(called, resample, RESAMPLES, seconds / 2)
    swapped, permutations = _repeated(called, exchange, PERMUTATIONS, seconds / 2)
    found: dict[Path, Difference] = {}
    for path in whole[0].keys() & whole[1].keys():
        one, other = (scores[path] for scores in whole)
        ends = bca(one - other, np.asarray(drawn.get(path, [])), None, np.ones(units.count))
        many = np.asarray(swapped.get(path, []))
        p = permutation_p(one, other, many)
        found[path] = Difference(one, other, ends, p, "permutation")
    reached = f"{resamples:,} resamples and {permutations:,} permutations"
    return found, reached


def _repeated(
    called: Called,
    draw: Callable[[], tuple[Integers, NDArray[np.bool_] | None]],
    times: int,
    seconds: float,
) -> tuple[dict[Path, list[float]], int]:
    """Return the differences of the scores of so many draws, or as many as the time allows."""
    found: dict[Path, list[float]] = {}
    began = time.monotonic()
    for done in range(times):
        if time.monotonic() - began > seconds:
            return found, done
        try:
            one, other = map(numbers, called(*draw()))
        except Exception:  # noqa: S112 - not defined on this draw, as for intervals
            continue
        for path in one.keys() & other.keys():
            found.setdefault(path, []).append(one[path] - other[path])
    return found, times


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number (Holm 1979); None stays."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted
