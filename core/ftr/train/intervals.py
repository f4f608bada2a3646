"""Intervals of scores: a bootstrap over rows, or over groups of rows that belong together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from ftr.data.rows import Rows
from ftr.data.splits import groups_of
from ftr.errors import in_one_line
from ftr.registry.additive import Additive, additive_rule
from ftr.registry.protocols import Row
from ftr.registry.schema import RowSchema
from ftr.registry.targets import call_metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Path = tuple[str, ...]
"""The name of a score; the name of the class follows where it has one number for each."""
Inputs = Mapping[str, Sequence[Any]]
Interval = dict[str, float]
Layout = dict[str, tuple[slice, bool]]
"""The columns of a table by name, and whether they are several."""
Losses = Floats
"""The loss of each row times its weight in the mean, and its weight: (rows, 2)."""

LEVEL, RESAMPLES, SEED = 0.95, 2000, 0
METHOD = "bootstrap (BCa)"
SECONDS = 5.0
"""The longest that a metric which is not additive is called for, per split."""
FEWEST_RESAMPLES = 200
"""Fewer give no ends of a 95 % interval: five resamples lie beyond each end."""
FEW_UNITS, FEW_OF_A_CLASS = 10, 10
CELLS = 1_000_000
"""Draws held at once: their counts stay in the cache of the processor."""


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn: `count` rows, or groups of rows; `of_row` is the group of each row."""

    name: str
    count: int
    of_row: Integers | None = None

    @classmethod
    def of(cls, rows: Sequence[Row], schema: RowSchema) -> Units:
        """Return the groups that a split keeps together, titles for instance, or else the rows."""
        groups, column = groups_of(Rows([dict(row) for row in rows]), schema)
        if groups is None:
            return cls("rows", len(rows))
        names, of_row = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
        return cls(column, len(names), of_row)

    def totals(self, table: NDArray[Any]) -> NDArray[Any]:
        """Return the sums of each unit, (units, columns), of a table (rows, columns)."""
        if self.of_row is None:
            return table
        order = np.argsort(self.of_row, kind="stable")
        starts = np.searchsorted(self.of_row[order], np.arange(self.count))
        totals: NDArray[Any] = np.add.reduceat(table[order].astype(np.float64), starts, axis=0)
        return totals

    def rows(self) -> list[Integers]:
        """Return the row numbers of each unit."""
        if self.of_row is None:
            return list(np.arange(self.count)[:, None])
        order = np.argsort(self.of_row, kind="stable")
        return np.split(order, np.searchsorted(self.of_row[order], np.arange(1, self.count)))

    @property
    def note(self) -> str | None:
        """What to know about intervals over so few units; None: they are many enough."""
        if self.count < 2:
            what = "there is 1 row" if self.name == "rows" else f"all rows have one `{self.name}`"
            return f"no intervals: {what}"
        if self.count < FEW_UNITS:
            what = "rows" if self.name == "rows" else f"different `{self.name}`"
            return f"intervals are not reliable: there are {self.count} {what} to resample"
        return None


@dataclass(frozen=True, slots=True)
class Sample:
    """Distinct rows of sums, (distinct, columns), and how many units have each."""

    distinct: Floats
    counts: Integers

    @classmethod
    def of(cls, totals: NDArray[Any]) -> Sample:
        """Find the distinct rows; they are far fewer where rows are counted in few ways."""
        packed = np.ascontiguousarray(totals)
        width = packed.dtype.itemsize * packed.shape[1]
        _, first, counts = np.unique(
            packed.view(np.dtype((np.void, width))).ravel(), return_index=True, return_counts=True
        )
        return cls(totals[first].astype(np.float64), counts)

    @property
    def total(self) -> Floats:
        """The sums of all units."""
        total: Floats = self.counts @ self.distinct
        return total

    def resampled(self, resamples: int, generator: np.random.Generator) -> Floats:
        """Return the sums of `resamples` samples with replacement, (resamples, columns)."""
        count = int(self.counts.sum())
        if 4 * len(self.counts) < count:
            drawn = generator.multinomial(count, self.counts / count, size=resamples)
            sums: Floats = drawn.astype(np.float64) @ self.distinct
            return sums
        kinds = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        parts = []
        for size in _chunks(resamples, count):
            picked = generator.integers(count, size=(size, count), dtype=np.int32)
            times = _times(kinds[picked] if len(self.counts) < count else picked, len(self.counts))
            parts.append(times @ self.distinct)
        return np.concatenate(parts)


def _times(picked: NDArray[np.int32], width: int) -> Floats:
    """Return how often each of `width` things was picked in each resample (row)."""
    size = len(picked)
    picked += (np.arange(size, dtype=np.int32) * width)[:, None]
    # BLAS multiplies floats: integers would be many times slower.
    found = np.bincount(picked.ravel(), minlength=size * width).astype(np.float64)
    return found.reshape(size, width)


def _chunks(total: int, width: int) -> Iterator[int]:
    most = max(1, CELLS // max(width, 1))
    for start in range(0, total, most):
        yield min(most, total - start)


@dataclass(frozen=True, slots=True)
class Part:
    """A metric: what gives its scores of sums (..., columns), each an array (...,), and the score
    of rows that are all right.
    """

    scores: Callable[[Floats], dict[Path, Floats]]
    perfect: float | None = None


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each row adds to the sums that scores are functions of: `table` is (rows, columns).

    `metrics` are the additive ones by name; `problems` says why a declared one is not among them.
    """

    table: NDArray[Any]
    metrics: Mapping[str, Part]
    problems: Mapping[str, str] = field(default_factory=dict)

    def scores(self, sums: Floats) -> dict[Path, Floats]:
        """Return the scores of sums (..., columns), each an array (...,)."""
        found: dict[Path, Floats] = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for part in self.metrics.values():
                found |= part.scores(sums)
        return found

    def perfect(self) -> dict[Path, float]:
        """Return the score of rows that are all right, of each score that has one."""
        ones = np.ones(self.table.shape[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                path: part.perfect
                for part in self.metrics.values()
                if part.perfect is not None
                for path in part.scores(ones)
            }

    def with_mean(self, name: str, terms: Losses) -> Contributions:
        """Return these with a score that is the sum of column 0 of `terms` over that of column
        1.
        """
        width = self.table.shape[1]

        def mean(sums: Floats) -> dict[Path, Floats]:
            return {(name,): sums[..., width] / sums[..., width + 1]}

        table = np.concatenate([self.table, terms], axis=1)
        return Contributions(table, {**self.metrics, name: Part(mean)}, self.problems)


def contributions(
    metrics: Mapping[str, Any],
    keys: Mapping[str, str],
    inputs: Inputs,
    labels: Sequence[str],
    rows: int,
) -> Contributions:
    """Return what rows add to the sums of all additive `metrics`.

    `keys` names the single number that a metric gives.
    """
    return contributions_of_several(metrics, keys, [inputs], labels, rows)[0]


def contributions_of_several(
    metrics: Mapping[str, Any],
    keys: Mapping[str, str],
    inputs: Sequence[Inputs],
    labels: Sequence[str],
    rows: int,
) -> list[Contributions]:
    """Return the contributions of several models on the same rows; a column is the same sum in all
    tables, 0 for a model without it, such as one that never predicts a class.
    """
    tables: list[list[NDArray[Any]]] = [[np.zeros((rows, 0), dtype=np.bool_)] for _ in inputs]
    layouts: dict[Any, Layout] = {}
    parts, problems = dict[str, Part](), dict[str, str]()
    for name, metric in metrics.items():
        rule = additive_rule(metric)
        if rule is None:
            continue
        if rule.per_row not in layouts:
            try:
                each = _united([_columns(rule, one, labels, rows) for one in inputs])
            except Exception as error:
                problems[name] = in_one_line(error)
                continue
            layouts[rule.per_row] = layout = {}
            for key, column in each[0].items():
                start = sum(table.shape[1] for table in tables[0])
                for own, columns in zip(tables, each, strict=True):
                    own.append(columns[key].reshape(rows, -1))
                layout[key] = (slice(start, start + tables[0][-1].shape[1]), column.ndim > 1)
        parts[name] = Part(
            _scores_of(rule, layouts[rule.per_row], keys[name], labels), rule.perfect
        )
    joined = [np.concatenate(own, axis=1) for own in tables]
    twice = np.stack([joined[0].sum(axis=0, dtype=np.float64)] * 2)
    for name, part in list(parts.items()):
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                part.scores(twice)
        except Exception as error:
            problems[name] = in_one_line(error)
            del parts[name]
    return [Contributions(table, parts, problems) for table in joined]


def _united(each: Sequence[dict[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
    """Return the columns of several models with the same names and widths, zeros where a model has
    none. Raises `ValueError` for a column that is (rows,) for one and (rows, n) for another.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for columns in each:
        for key, column in columns.items():
            known = shapes.setdefault(key, column.shape)
            if len(known) != column.ndim:
                raise ValueError(f"`{key}` has the shapes {known} and {column.shape}")
            shapes[key] = max(known, column.shape)

    def padded(column: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[Any]:
        if column is None:
            return np.zeros(shape)
        return np.pad(column, [(0, n - own) for n, own in zip(shape, column.shape, strict=True)])

    return [{key: padded(one.get(key), shape) for key, shape in shapes.items()} for one in each]


def _columns(
    rule: Additive, inputs: Inputs, labels: Sequence[str], rows: int
) -> dict[str, NDArray[Any]]:
    given: Any = call_metric(rule.per_row, inputs, labels)
    columns = {str(key): np.asarray(value) for key, value in given.items()}
    for key, column in columns.items():
        if column.ndim not in (1, 2) or len(column) != rows:
            raise ValueError(f"`{key}` has the shape {column.shape} for {rows} rows")
    return columns


def _scores_of(
    rule: Additive, layout: Layout, key: str, labels: Sequence[str]
) -> Callable[[Floats], dict[Path, Floats]]:
    def scores(sums: Floats) -> dict[Path, Floats]:
        given = {
            name: sums[..., place] if wide else sums[..., place.start]
            for name, (place, wide) in layout.items()
        }
        found = rule.from_sums(given)
        named = found if isinstance(found, Mapping) else {key: found}
        return dict(_flat(named, labels, sums.ndim - 1))

    return scores


def _flat(
    scores: Mapping[str, Any], labels: Sequence[str], axes: int
) -> Iterator[tuple[Path, Floats]]:
    """Yield the numbers among scores, those of classes by name; each has `axes` leading axes."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from (((name, *path), one) for path, one in _flat(value, labels, axes))
            continue
        array = np.asarray(value, dtype=np.float64)
        if array.ndim == axes:
            yield (name,), array
        elif array.ndim == axes + 1 and array.shape[-1] <= len(labels):
            # As in `Scorer.score`: the last classes may be missing.
            for place in range(array.shape[-1]):
                yield (name, labels[place]), array[..., place]


def numbers(scores: Mapping[str, Any]) -> dict[Path, float]:
    """Return the scores that are floats by path; counts have no interval."""
    found: dict[Path, float] = {}
    for name, value in scores.items():
        if isinstance(value, Mapping):
            found |= {(name, *path): one for path, one in numbers(value).items()}
        elif isinstance(value, float):
            found[(name,)] = value
    return found


@dataclass(slots=True)
class Intervals:
    """The intervals of the scores of one split by path, and how they were found."""

    units: Units
    found: dict[Path, Interval] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    """Scores that are the same in all resamples."""
    seconds: float = 0.0

    def add(self, path: Path, ends: Interval | None) -> None:
        """Add an interval; None: there is none, because resamples do not differ."""
        if ends is not None:
            self.found[path] = ends
        elif len(path) == 1:
            self.alike.append(path[0])

    @property
    def all_notes(self) -> list[str]:
        """The notes, and which scores have no interval because no resample differs."""
        what = ", ".join(self.alike)
        return [*self.notes, *([f"no interval of {what}: resamples do not differ"] if what else [])]

    @property
    def scores(self) -> dict[str, Any]:
        """The intervals by name; those of a score of each class are a mapping of their own."""
        nested: dict[str, Any] = {}
        for path, interval in self.found.items():
            place = nested
            for name in path[:-1]:
                place = place.setdefault(name, {})
            place[path[-1]] = interval
        return nested


def interval_facts(splits: Mapping[str, Intervals]) -> dict[str, Any]:
    """Return what a record says of its intervals: `intervals` by split, and in `interval` how they
    were found.
    """
    names = dict.fromkeys(one.units.name for one in splits.values())
    return {
        "intervals": {split: one.scores for split, one in splits.items()},
        "interval": {
            "level": LEVEL,
            "method": METHOD,
            "resamples": RESAMPLES,
            "unit": " or ".join(names),
            "units": {split: one.units.count for split, one in splits.items()},
            "seed": SEED,
            "seconds": sum(one.seconds for one in splits.values()),
            "notes": [
                f"{split}: {note}" for split, one in splits.items() for note in one.all_notes
            ],
        },
    }


def intervals(
    scores: Mapping[str, Any],
    given: Contributions,
    others: Mapping[str, Callable[[Integers], Mapping[str, Any]]],
    units: Units,
    *,
    resamples: int = RESAMPLES,
    seconds: float = SECONDS,
) -> Intervals:
    """Return the intervals of the `scores` of all rows.

    `others` are the metrics that are not additive: each returns its scores of the rows with the
    given numbers. Nothing is raised for a metric that fails on a resample: a note says so.
    """
    began = time.monotonic()
    values, result = numbers(scores), Intervals(units)
    if units.note:
        result.notes.append(units.note)
    for name, problem in given.problems.items():
        result.notes.append(f"`@additive` of metric `{name}` fails, so it is called: {problem}")
    if units.count > 1:
        _add_sums(result, values, given, resamples)
        for name, metric in others.items():
            _add_calls(result, values, name, metric, resamples, seconds)
    result.seconds = time.monotonic() - began
    return result


def _add_sums(
    result: Intervals, values: Mapping[Path, float], given: Contributions, resamples: int
) -> None:
    if not given.metrics:
        return
    sample = Sample.of(result.units.totals(given.table))
    drawn = given.scores(sample.resampled(resamples, np.random.default_rng(SEED)))
    whole, perfect = given.scores(sample.total), given.perfect()
    left_out = given.scores(sample.total - sample.distinct)
    alone = given.scores(sample.distinct)
    disagree, support = [], dict[str, int]()
    for path, value in values.items():
        if path not in drawn:
            continue
        if np.isfinite(whole[path]) and not np.isclose(whole[path], value, rtol=1e-6, atol=1e-9):
            disagree.append(f"`{'.'.join(path)}` {float(whole[path]):.6g}, not {value:.6g}")
            continue
        influence = float(whole[path]) - left_out[path]
        if value == perfect.get(path) and not influence[np.isfinite(influence)].any():
            right = int(sample.counts[np.isclose(alone[path], value)].sum())
            ends = all_right(value, right) if right else None
        else:
            ends = bca(value, drawn[path], influence, sample.counts)
        result.add(path, ends)
        if len(path) > 1:
            matters = (np.nan_to_num(influence) != 0) | (alone[path] > 0)
            support[path[1]] = max(support.get(path[1], 0), int(sample.counts[matters].sum()))
    few = {name: count for name, count in support.items() if 0 < count < FEW_OF_A_CLASS}
    if few and given.metrics:
        shown = ", ".join(f"`{name}` ({count})" for name, count in list(few.items())[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        result.notes.append(
            f"few {result.units.name} decide the scores of {shown}{more}: their intervals, and "
            "those of means over classes, may be too narrow"
        )
    if disagree:
        result.notes.append(f"no intervals: the sums over rows give {', '.join(sorted(disagree))}")


def _add_calls(
    result: Intervals,
    values: Mapping[Path, float],
    name: str,
    metric: Callable[[Integers], Mapping[str, Any]],
    resamples: int,
    seconds: float,
) -> None:
    """Call a metric on resampled rows for at most so many seconds."""
    generator, rows = np.random.default_rng(SEED), result.units.rows()
    drawn: dict[Path, list[float]] = {}
    began, done, failed = time.monotonic(), 0, ""
    while done < resamples and time.monotonic() - began < seconds:
        picked = generator.integers(result.units.count, size=result.units.count)
        try:
            found = numbers(metric(np.concatenate([rows[one] for one in picked.tolist()])))
        except Exception as error:
            failed = failed or in_one_line(error)
            found = {}
        done += 1
        for path, value in found.items():
            drawn.setdefault(path, []).append(value)
        if not found and done == FEWEST_RESAMPLES and not drawn:
            break
    if failed:
        result.notes.append(f"metric `{name}` fails on some resamples: {failed}")
    if done < resamples and not (failed and not drawn):
        short = "too few for an interval" if done < FEWEST_RESAMPLES else "the interval is rougher"
        result.notes.append(
            f"metric `{name}` was resampled {done} of {resamples} times in {seconds:g} s: {short}"
        )
    for path, many in drawn.items():
        if path in values and len(many) >= FEWEST_RESAMPLES:
            ends = bca(values[path], np.asarray(many), None, np.ones(result.units.count))
            result.add(path, ends)


def mean_intervals(
    means: Mapping[str, Any],
    members: Sequence[tuple[Mapping[str, Any], Contributions]],
    units: Sequence[Units],
    *,
    same_rows: bool,
    resamples: int = RESAMPLES,
) -> Intervals:
    """Return the intervals of the mean scores of several models, which are what they are: only the
    rows are drawn.

    `members` has the scores and contributions of each model on its rows, `units` what is drawn of
    them. With `same_rows` each resample has the same rows for all.
    """
    began, values = time.monotonic(), numbers(means)
    result = Intervals(Units(units[0].name, sum(one.count for one in units)))
    if same_rows:
        result.units = units[0]
        parts = [(members, units[0])]
    else:
        parts = [([member], one) for member, one in zip(members, units, strict=True)]
    if result.units.note:
        result.notes.append(result.units.note)
    drawn: dict[Path, list[Floats]] = {}
    influence: dict[Path, list[Floats]] = {}
    counts = list[NDArray[Any]]()
    generator = np.random.default_rng(SEED)
    for several, one in parts:
        table = np.concatenate([given.table for _, given in several], axis=1)
        sample = Sample.of(one.totals(table))
        sums, left_out = sample.resampled(resamples, generator), sample.total - sample.distinct
        counts.append(sample.counts)
        start = 0
        for scores, given in several:
            columns = slice(start, start := start + given.table.shape[1])
            whole, known = given.scores(sample.total[columns]), numbers(scores)
            moved, without = given.scores(sums[:, columns]), given.scores(left_out[:, columns])
            for path in moved.keys() & known.keys() & values.keys():
                if np.isclose(whole[path], known[path], rtol=1e-6, atol=1e-9):
                    drawn.setdefault(path, []).append(moved[path])
                    influence.setdefault(path, []).append(float(whole[path]) - without[path])
    for path in values:
        many = drawn.get(path, [])
        if len(many) == len(members) and result.units.count > 1:
            per = influence[path]
            of_units = np.sum(per, axis=0) if same_rows else np.concatenate(per)
            ends = bca(values[path], np.mean(many, axis=0), of_units, np.concatenate(counts))
            result.add(path, ends)
    if result.units.count > 1 and (missing := values.keys() - drawn.keys()):
        names = ", ".join(sorted({path[0] for path in missing}))
        result.notes.append(f"no intervals of the means of {names}: not a sum over rows")
    result.seconds = time.monotonic() - began
    return result


def bca(
    value: float,
    drawn: Floats,
    influence: Floats | None,
    counts: NDArray[Any],
    level: float = LEVEL,
) -> Interval | None:
    """Return the bias-corrected and accelerated interval (Efron 1987) of a score.

    `drawn` are the scores of the resamples, `influence` how much the score falls without each
    distinct unit, and `counts` how many units are like it; without `influence` the acceleration is
    a sixth of the skewness of `drawn`. In place of the normal quantile stands that of Student's t
    times sqrt(n / (n - 1)), as in the expanded percentile interval of Hesterberg (2015): resamples
    of n units vary less than samples do. None where nothing varies, or too few resamples have the
    score.
    """
    found, size = drawn[np.isfinite(drawn)], float(np.sum(counts))
    if len(found) < FEWEST_RESAMPLES or not np.isfinite(value) or np.ptp(found) == 0:
        return None
    under = float(np.mean(found < value) + np.mean(found <= value)) / 2
    bias = float(ndtri(np.clip(under, 1 / len(found), 1 - 1 / len(found))))
    curve = _acceleration(found, influence, counts)
    reach = float(stdtrit(size - 1, (1 + level) / 2)) * np.sqrt(size / (size - 1))
    shares = [
        ndtr(bias + z / (1 - curve * z) if curve * z < 1 else np.inf * z)
        for z in (bias - reach, bias + reach)
    ]
    # Of many equal scores, as those that count rows are, half lie below and half above.
    values, times = np.unique(found, return_counts=True)
    below = (np.cumsum(times) - times / 2) / len(found)
    low, high = np.interp(shares, below, values)
    return {"low": float(min(low, value)), "high": float(max(high, value))}


def _acceleration(drawn: Floats, influence: Floats | None, counts: NDArray[Any]) -> float:
    if influence is None:
        moved, weights = drawn, np.ones(len(drawn))
        factor = np.sqrt(len(drawn)) / 6
    else:
        known = np.isfinite(influence)
        moved, weights, factor = influence[known], counts[known].astype(np.float64), 1 / 6
    moved = moved - weights @ moved / weights.sum()
    squares = moved * moved
    second = float(weights @ squares)
    return float(factor * (weights @ (squares * moved)) / second**1.5) if second > 0 else 0.0


def all_right(value: float, rows: int, level: float = LEVEL) -> Interval:
    """Return the interval of a score of which all `rows` are right (Clopper and Pearson 1934)."""
    return {"low": float(value * ((1 - level) / 2) ** (1 / rows)), "high": float(value)}
