"""Scores by slices of the held-out rows: by length, label, script, question word, any column."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ftr.data.answers import settle_answers, texts_and_starts
from ftr.data.read import load_rows
from ftr.data.rows import blank_as_none
from ftr.data.store import Row
from ftr.errors import RequestError
from ftr.registry.schema import Column
from ftr.results.report.blocks import Note, Section, Table, one_line
from ftr.results.report.source import Source
from ftr.runs.record import recorded_registry
from ftr.runs.report import INTERVAL
from ftr.train.intervals import Contributions, Part, Units, all_right, intervals

FEW = 30
"""Rows; a slice with fewer is marked: its interval is wider than most differences."""
PARTS = 4
MOST = 12
"""Values of a column that are slices of their own; the others are one together."""
SCRIPT_LETTERS = 2000
JAPANESE = ("Hiragana", "Katakana")
QUESTION_WORDS = ("who", "whom", "whose", "what", "which", "when", "where", "why", "how")
EXTRA = "ftr_slice"
"""Canonical name of a column that only a report reads."""
OTHER, EMPTY = "other values", "(empty)"

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Ends = tuple[float, float, float]
"""A mean, and the ends of its interval."""


class ColumnError(RequestError):
    """A column to slice by that the data does not have."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is compared between slices: its name, a value for each row, whether more is better, and
    whether the values are 0 and 1.
    """

    name: str
    values: Floats
    higher: bool = True
    shares: bool = False


def slices(source: Source) -> Section:
    """Return the score of each slice, with its rows and its interval."""
    measure = _measure(source)
    units = Units.of(source.rows.rows, source.rows.head.schema)
    overall = interval(measure, units, np.arange(len(measure.values)))
    rows = [("all rows", "", f"{len(measure.values):,}", *_shown(overall), "")]
    skipped: list[str] = []
    for name, keys in _slicings(source).items():
        ordered = _order(keys)
        if len(ordered) < 2:
            skipped.append(f"{name} ({one_line(ordered[0], 60)})")
            continue
        for place, key in enumerate(ordered):
            first = name if place == 0 else ""
            rows.append((first, *_row(measure, units, keys, key, overall[0])))
    header = ("slices by", "", "rows", measure.name, INTERVAL, "")
    note = (
        f"Slices under {FEW} rows are marked: their scores say little. `below` or `above` marks an "
        "interval that leaves out the score of all rows; of twenty slices one does so by chance."
    )
    if skipped:
        note += f" All rows are alike by {', '.join(skipped)}."
    return Section(
        title="Scores by slices", blocks=[Table(header=header, rows=rows, names=2), Note(text=note)]
    )


def _measure(source: Source) -> Measure:
    outcomes = source.outcomes
    error = np.array([one.error for one in outcomes])
    if source.target == "number":
        return Measure("mean absolute error", error, higher=False)
    if source.target == "answers":
        return Measure("F1", 1 - error)
    if source.target == "labels":
        name = "mean of 1 - error"
        return Measure(name, 1 - error)
    return Measure("share right", (error == 0).astype(float), shares=True)


def _row(
    measure: Measure, units: Units, keys: Sequence[Hashable], key: Hashable, overall: float
) -> tuple[str, str, str, str, str]:
    rows = np.flatnonzero([one == key for one in keys])
    found = interval(measure, units, rows)
    mark = ""
    if len(rows) < FEW:
        mark = "few rows"
    elif found[2] < overall:
        mark = "below"
    elif found[1] > overall:
        mark = "above"
    return (one_line(key, 60), f"{len(rows):,}", *_shown(found), mark)


def _shown(found: Ends) -> tuple[str, str]:
    value, low, high = found
    return f"{value:.3f}", "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def interval(measure: Measure, units: Units, rows: Integers) -> Ends:
    """Return the mean of the measure over `rows`, and the ends of its interval; NaN where it has
    none: of one row or one group, or where nothing varies.
    """
    values = measure.values[rows]
    of_row = None if units.of_row is None else np.unique(units.of_row[rows], return_inverse=True)[1]
    count = len(rows) if of_row is None else int(of_row.max()) + 1
    mean = float(values.mean())
    if measure.shares and count > 1 and not values.any():
        # As of rows that are all right: what is wrong is their complement.
        return mean, 0.0, 1 - all_right(1.0, count)["low"]
    part = Part(
        lambda sums: {("mean",): sums[..., 0] / sums[..., 1]}, 1.0 if measure.higher else None
    )
    given = Contributions(np.stack([values, np.ones(len(rows))], axis=1), {"mean": part})
    found = intervals({"mean": mean}, given, {}, Units(units.name, count, of_row)).scores
    ends = found.get("mean", {"low": math.nan, "high": math.nan})
    return mean, ends["low"], ends["high"]


def _order(keys: Sequence[Hashable]) -> list[Any]:
    """Return the slices in their own order where they have one, else the largest first."""
    counts = Counter(keys)
    if ranked := [key for key in counts if isinstance(key, Ranked)]:
        return sorted(ranked, key=lambda key: key.place)
    return sorted(
        counts, key=lambda key: (str(key).startswith((OTHER, EMPTY)), -counts[key], str(key))
    )


@dataclass(frozen=True, slots=True)
class Ranked:
    """A slice of numbers, by its place among the others."""

    place: int
    text: str

    def __str__(self) -> str:
        return self.text


def _slicings(source: Source) -> dict[str, list[Any]]:
    """Return the slice of each row, by what it is sliced by."""
    found, held = dict[str, list[Any]](), source.rows
    rows, schema = held.rows, held.head.schema
    for name in source.slices:
        found[one_line(name, 60)] = by_value(column_cells(source, name))
    if source.target == "label":
        found["true class"] = [one.expected for one in source.outcomes]
    if source.target == "answers":
        name = next(column.name for column in schema.columns if column.type == "answers")
        answered = [bool(list(texts_and_starts(row.get(name)))) for row in rows]
        found["answerable"] = ["yes" if one else "no" for one in answered]
    texts = [
        column.name
        for column in schema.columns
        if column.type in ("text", "tokens") and not column.target and column.name != "title"
    ]
    for name in texts:
        cells = [_text(row.get(name)) for row in rows]
        if not any(cells):
            continue
        found[f"characters of {name}"] = by_quantile([len(text) for text in cells])
        found[f"script of {name}"] = [script(text) for text in cells]
        if name == "question":
            found["question word"] = [question_word(text) for text in cells]
    return found


def _text(cell: object) -> str:
    if isinstance(cell, list):
        return " ".join(map(str, cell))
    return "" if cell is None else str(cell)


def by_quantile(numbers: Sequence[float]) -> list[Ranked]:
    """Return for each number which quarter it is in; equal numbers are in the same one."""
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, PARTS + 1)[1:-1], method="lower"))
    places = np.searchsorted(edges, numbers)
    inside: dict[int, tuple[float, float]] = {}
    for place, number in zip(places.tolist(), numbers, strict=True):
        low, high = inside.get(place, (number, number))
        inside[place] = min(low, number), max(high, number)
    names = {
        place: Ranked(place, f"{low:,g} to {high:,g}" if low != high else f"{low:,g}")
        for place, (low, high) in inside.items()
    }
    return [names[place] for place in places.tolist()]


def by_value(cells: Sequence[object]) -> list[Any]:
    """Return the slice of each cell: a quarter for numbers with many values, else the value."""
    filled = [cell for cell in cells if cell not in (None, "")]
    numbers = [_number(cell) for cell in filled]
    if len(set(numbers)) > MOST and None not in numbers and len(filled) == len(cells):
        return list(by_quantile([number for number in numbers if number is not None]))
    names = [EMPTY if cell in (None, "") else one_line(cell, 60) for cell in cells]
    counts = Counter(names)
    kept = {name for name, _ in counts.most_common(MOST if len(counts) > MOST + 1 else MOST + 1)}
    other = f"{OTHER} ({len(counts) - len(kept)})"
    return [name if name in kept else other for name in names]


def _number(cell: object) -> float | None:
    try:
        found = float(str(cell))
    except ValueError:
        return None
    return found if np.isfinite(found) else None


@cache
def _script_of(letter: str) -> str:
    first = unicodedata.name(letter, "").partition(" ")[0].capitalize()
    return "Han" if first == "Cjk" else first


def script(text: str) -> str:
    """Return the script of most letters, by their Unicode names: a rough guess of the language."""
    counts = Counter(_script_of(letter) for letter in text[:SCRIPT_LETTERS] if letter.isalpha())
    if any(counts[name] for name in JAPANESE):
        return "Japanese"
    return counts.most_common(1)[0][0] if counts else "no letters"


def question_word(text: str) -> str:
    """Return the first English question word of a question."""
    words = re.findall(r"[a-z]+", text.casefold())
    place = next((place for place, word in enumerate(words) if word in QUESTION_WORDS), None)
    if place is None:
        return "none of these"
    if words[place] == "how" and words[place + 1 : place + 2] in (["many"], ["much"], ["long"]):
        return f"how {words[place + 1]}"
    found: str = words[place]
    return "who" if found in ("whom", "whose") else found


def column_cells(source: Source, name: str) -> list[object]:
    """Return the cell of each held-out row in any column of the data, those included that the task
    does not use.

    Raises `ColumnError` for a column that the data does not have.
    """
    held = source.rows
    canonical = {column.name for column in held.head.schema.columns} | {"id"}
    if name in canonical:
        return [row.get(name) for row in held.rows]
    schema = held.head.schema
    extra = Column(name=EXTRA, type="value", aliases=(name,), required=False)
    record = source.record["config"]["dataset"]
    wider = replace(schema, columns=(*schema.columns, extra))
    registry = recorded_registry(source.record)
    loaded = load_rows(record["name"], record["options"], registry, wider)
    known: dict[str, dict[str, object]] = {}
    for split, rows in loaded.splits.items():
        settled, _, _ = settle_answers(rows, schema)
        known[split] = {}
        for number, row in enumerate(settled.rows, start=1):
            if EXTRA in row:  # of rows with one id the first is used
                known[split].setdefault(_id(row, f"{split}-{number}"), row[EXTRA])
    if not any(known.values()):
        of_task = ", ".join(f"`{column}`" for column in sorted(canonical))
        renamed = next((own for own, other in loaded.columns.items() if other == name), None)
        hint = f" This column is `{renamed}` here: `--slice {renamed}`." if renamed else ""
        raise ColumnError(
            f"`--slice {name}`: the data has no such column besides those of the task "
            f"({of_task}).{hint}"
        )
    # A made split is of the training rows, though the data may have an unlabelled one of its name.
    origin = str(source.record["data"]["splits"].get(held.split, {}).get("from", ""))
    made = "of the training rows)" in origin or "(fold " in origin
    own = known.get("train" if made or held.split not in known else held.split)
    cells = own or {}
    return [cells.get(str(row["id"])) for row in held.rows]


def _id(row: Row, made: str) -> str:
    given = blank_as_none(row.get("id"))
    return made if given is None else str(given)
