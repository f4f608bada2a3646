"""How often the 95 % intervals of scores hold the truth, and how often `ftr compare` finds a
difference where there is none: `python benchmarks/coverage.py`.

Draws samples of rows from known distributions, and prints the tables of docs/uncertainty.md.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.results.paired import differences
from ftr.train.intervals import Path, Units, contributions, intervals
from ftr_plugins.classification.metrics import accuracy, f1
from ftr_plugins.extractive_qa.metrics import squad

Inputs = Mapping[str, Any]
PRIOR = np.array([0.60, 0.35, 0.05])
ROWS_OF_A_TITLE = 10
ANSWERS = {
    "the red cat sat there": 100.0,
    "red cat": 200 / 3,
    "sat there again today": 50.0,
    "green dog": 0.0,
}
"""Predicted texts, and the F1 of each with `red cat sat there`."""


@dataclass(frozen=True)
class Case:
    """A score of rows from a known distribution: `draw` returns n rows, and the title of each
    where they are grouped.
    """

    name: str
    metric: Any
    path: Path
    truth: float
    draw: Callable[[np.random.Generator, int], tuple[Inputs, NDArray[np.int64] | None]]


def share(right: float) -> Case:
    """Return rows that are right with one probability."""

    def draw(generator: np.random.Generator, rows: int) -> tuple[Inputs, None]:
        found = (generator.random(rows) < right).astype(int)
        return {"predictions": found.tolist(), "references": [1] * rows}, None

    return Case(f"accuracy {right:.2f}", accuracy, ("accuracy",), right, draw)


def macro_f1(name: str, confusion: NDArray[np.float64]) -> Case:
    """Return rows of three classes, one of 5 %, with the shares of predictions of each."""
    joint = PRIOR[:, None] * confusion
    each = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))

    def draw(generator: np.random.Generator, rows: int) -> tuple[Inputs, None]:
        cells = generator.choice(9, size=rows, p=joint.ravel())
        return {"predictions": (cells % 3).tolist(), "references": (cells // 3).tolist()}, None

    return Case(name, f1, ("f1",), float(each.mean()), draw)


def answers(score: str) -> Case:
    """Return questions of which 60 % are answered exactly, 20 % in part and 20 % wrongly."""
    shares = np.array([0.6, 0.1, 0.1, 0.2])
    values = [
        float(value == 100) * 100 if score == "exact" else value for value in ANSWERS.values()
    ]

    def draw(generator: np.random.Generator, rows: int) -> tuple[Inputs, None]:
        texts = generator.choice(list(ANSWERS), size=rows, p=shares)
        golds = [{"answers": {"text": ["red cat sat there"]}}] * rows
        return {
            "predictions": [{"prediction_text": one} for one in texts],
            "references": golds,
        }, None

    name = "SQuAD exact match" if score == "exact" else "SQuAD F1"
    return Case(name, squad, (score,), float(shares @ values), draw)


def titles() -> Case:
    """Return rows of titles that differ: the share of right rows of a title is Beta(8, 2)."""

    def draw(generator: np.random.Generator, rows: int) -> tuple[Inputs, NDArray[np.int64]]:
        title = np.arange(rows) // ROWS_OF_A_TITLE
        right = generator.random(rows) < generator.beta(8, 2, size=title.max() + 1)[title]
        return {"predictions": right.astype(int).tolist(), "references": [1] * rows}, title

    name = f"accuracy, {ROWS_OF_A_TITLE} rows a title"
    return Case(name, accuracy, ("accuracy",), 0.8, draw)


CASES = (
    share(0.80),
    share(0.90),
    share(0.95),
    macro_f1(
        "macro F1, a class of 5 % (recall 0.60)",
        np.array([[0.92, 0.06, 0.02], [0.10, 0.87, 0.03], [0.20, 0.20, 0.60]]),
    ),
    macro_f1(
        "macro F1, a class of 5 % (recall 0.80)",
        np.array([[0.95, 0.04, 0.01], [0.07, 0.91, 0.02], [0.10, 0.10, 0.80]]),
    ),
    answers("exact"),
    answers("f1"),
    titles(),
)


def coverage(case: Case, rows: int, repetitions: int, seed: int) -> float:
    """Return the share of samples whose interval holds the truth."""
    generator, held = np.random.default_rng([seed, rows]), 0
    name = case.path[0]
    labels = ("0", "1", "2")
    for _ in range(repetitions):
        inputs, title = case.draw(generator, rows)
        given = contributions({name: case.metric}, {name: name}, inputs, labels, rows)
        scores = given.scores(given.table.sum(axis=0, dtype=np.float64))
        units = Units("rows", rows)
        if title is not None:
            units = Units("title", int(title.max()) + 1, title)
        value = {name: float(scores[case.path])}
        ends = intervals(value, given, {}, units).found.get(case.path)
        held += ends is not None and ends["low"] <= case.truth + 1e-9 <= ends["high"] + 2e-9
    return held / repetitions


def alarms(case: Case, rows: int, repetitions: int, seed: int) -> float:
    """Return the share of samples on which two models that are equally good differ at the 5 %
    level: both are drawn alike, and agree on half of the rows.
    """
    generator, found = np.random.default_rng([seed, rows, 1]), 0
    name, labels = case.path[0], ("0", "1", "2")
    for _ in range(repetitions):
        inputs, title = case.draw(generator, rows)
        others, _ = case.draw(generator, rows)
        # Rows with the same reference stand in for each other.
        order = [
            np.argsort([str(gold) for gold in one["references"]], kind="stable").tolist()
            for one in (inputs, others)
        ]
        second = list(inputs["predictions"])
        for place, twin in zip(*order, strict=True):
            same = inputs["references"][place] == others["references"][twin]
            if same and generator.random() < 0.5:
                second[place] = others["predictions"][twin]
        units = Units("rows", rows)
        if title is not None:
            units = Units("title", int(title.max()) + 1, title)
        first, other = (
            contributions({name: case.metric}, {name: name}, one, labels, rows)
            for one in (inputs, {**inputs, "predictions": second})
        )
        p = differences(first, other, units)[case.path].p
        found += p is not None and p < 0.05
    return found / repetitions


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=("coverage", "alarms"))
    args = parser.parse_args()
    began = time.perf_counter()
    for measure in [coverage, alarms] if args.measure is None else [globals()[args.measure]]:
        print(f"\n{measure.__name__}\n")
        print(f"| score | {' | '.join(f'{rows:,} rows' for rows in args.rows)} |")
        print("|---" * (len(args.rows) + 1) + "|")
        for case in CASES:
            found = [measure(case, rows, args.repetitions, args.seed) for rows in args.rows]
            cells = " | ".join(f"{one:.1%}".replace("%", " %") for one in found)
            print(f"| {case.name} | {cells} |", flush=True)
    print(f"\n{args.repetitions:,} repetitions, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
