"""How often the 95 % intervals of scores hold the truth, and how often `ftr compare` finds a
difference where there is none: `python benchmarks/coverage.py`.

Draws samples of rows from known distributions, and prints the tables of docs/uncertainty.md.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.results.paired import differences
from ftr.train.intervals import Contributions, Units, contributions, intervals
from ftr_plugins.classification.metrics import accuracy, f1
from ftr_plugins.extractive_qa.metrics import squad

Integers = NDArray[np.int64]
LABELS = ("0", "1", "2")
PRIOR = np.array([0.60, 0.35, 0.05])
ROWS_OF_A_TITLE = 10
ANSWERS = ("red cat sat there", "red cat", "sat there again today", "green dog")
"""Predicted texts, which score F1 100, 66.7, 50 and 0 against the first."""


@dataclass(frozen=True)
class Case:
    """A score of rows that are drawn from pairs of a prediction and a reference, with the
    probability of each pair; with `titles` the first pair has another probability in each title.
    """

    name: str
    metric: Any
    score: str
    predictions: Sequence[Any]
    references: Sequence[Any]
    chances: NDArray[np.float64]
    titles: bool = False

    @property
    def pairs(self) -> Contributions:
        """What each pair adds to the sums of the metric."""
        inputs = {"predictions": self.predictions, "references": self.references}
        name = self.metric.__name__
        return contributions({name: self.metric}, {name: name}, inputs, LABELS, len(self.chances))

    def draw(self, generator: np.random.Generator, rows: int) -> Integers:
        """Return the pair of each row."""
        if not self.titles:
            return generator.choice(len(self.chances), size=rows, p=self.chances)
        title = np.arange(rows) // ROWS_OF_A_TITLE
        right = 10 * self.chances[0], 10 * self.chances[1]
        shares = generator.beta(*right, size=int(title.max()) + 1)
        return (generator.random(rows) >= shares[title]).astype(np.int64)

    def units(self, rows: int) -> Units:
        """Return what is drawn: rows, or titles."""
        if not self.titles:
            return Units("rows", rows)
        title = np.arange(rows) // ROWS_OF_A_TITLE
        return Units("title", int(title.max()) + 1, title)


def share(right: float, *, titles: bool = False) -> Case:
    """Return rows that are right with one probability, or with that of their title."""
    name = f"accuracy {right:.2f}{f', {ROWS_OF_A_TITLE} rows a title' if titles else ''}"
    chances = np.array([right, 1 - right])
    return Case(name, accuracy, "accuracy", [1, 0], [1, 1], chances, titles)


def macro_f1(confusion: Sequence[Sequence[float]]) -> Case:
    """Return rows of three classes, one of 5 %, with the shares of predictions of each."""
    joint = PRIOR[:, None] * np.array(confusion)
    name = f"macro F1, a class of 5 % with recall {confusion[2][2]:.2f}"
    cells = np.arange(9)
    return Case(name, f1, "f1", (cells % 3).tolist(), (cells // 3).tolist(), joint.ravel())


def answers(score: str, name: str) -> Case:
    """Return questions of which 60 % are answered exactly, 20 % in part and 20 % wrongly."""
    golds = [{"answers": {"text": [ANSWERS[0]]}}] * len(ANSWERS)
    texts = [{"prediction_text": text} for text in ANSWERS]
    return Case(name, squad, score, texts, golds, np.array([0.6, 0.1, 0.1, 0.2]))


CASES = (
    share(0.80),
    share(0.90),
    share(0.95),
    macro_f1([[0.92, 0.06, 0.02], [0.10, 0.87, 0.03], [0.20, 0.20, 0.60]]),
    macro_f1([[0.95, 0.04, 0.01], [0.07, 0.91, 0.02], [0.10, 0.10, 0.80]]),
    answers("exact", "SQuAD exact match"),
    answers("f1", "SQuAD F1"),
    share(0.80, titles=True),
)


def coverage(case: Case, rows: int, repetitions: int, seed: int) -> float:
    """Return the share of samples whose interval holds the truth."""
    generator, held = np.random.default_rng([seed, rows]), 0
    pairs, units, path = case.pairs, case.units(rows), (case.score,)
    truth = float(pairs.scores(case.chances @ pairs.table)[path])
    for _ in range(repetitions):
        given = replace(pairs, table=pairs.table[case.draw(generator, rows)])
        value = float(given.scores(given.table.sum(axis=0, dtype=np.float64))[path])
        ends = intervals({case.score: value}, given, {}, units).found.get(path)
        held += ends is not None and ends["low"] - 1e-9 <= truth <= ends["high"] + 1e-9
    return held / repetitions


def alarms(case: Case, rows: int, repetitions: int, seed: int) -> float:
    """Return the share of samples on which two models that are equally good differ at the 5 %
    level: both are drawn alike, and agree on half of the rows.
    """
    generator, found = np.random.default_rng([seed, rows, 1]), 0
    pairs, units = case.pairs, case.units(rows)
    kinds = np.array([str(one) for one in case.references])
    for _ in range(repetitions):
        first = case.draw(generator, rows)
        second = first.copy()
        for kind in dict.fromkeys(kinds):
            # Another prediction of a row with this reference.
            (places,) = np.nonzero(kinds[first] == kind)
            chances = case.chances * (kinds == kind)
            drawn = generator.choice(len(chances), size=len(places), p=chances / chances.sum())
            if case.titles:
                drawn = case.draw(generator, rows)[places]
            change = generator.random(len(places)) < 0.5
            second[places[change]] = drawn[change]
        one, other = (replace(pairs, table=pairs.table[side]) for side in (first, second))
        p = differences(one, other, units)[case.score,].p
        found += p is not None and p < 0.05
    return found / repetitions


MEASURES = {"coverage": coverage, "alarms": alarms}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=MEASURES, nargs="+", default=list(MEASURES))
    parser.add_argument(
        "--scores", default="", metavar="TEXT", help="only those with it in their name"
    )
    args = parser.parse_args()
    began = time.perf_counter()
    for name in args.measure:
        print(f"\n{name}\n\n| score | {' | '.join(f'{rows:,} rows' for rows in args.rows)} |")
        print("|---" * (len(args.rows) + 1) + "|")
        for case in (case for case in CASES if args.scores in case.name):
            found = [MEASURES[name](case, rows, args.repetitions, args.seed) for rows in args.rows]
            cells = " | ".join(f"{one:.1%}".replace("%", " %") for one in found)
            print(f"| {case.name} | {cells} |", flush=True)
    print(f"\n{args.repetitions:,} repetitions, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
