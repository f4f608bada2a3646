"""The chosen threshold is the best of all there are."""

import random
from itertools import pairwise

import pytest

from ftr_plugins.extractive_qa.text import best_scores
from ftr_plugins.extractive_qa.threshold import best_threshold


def total(
    golds: list[list[str]], answers: list[str], diffs: list[float], threshold: float
) -> tuple[float, int]:
    """Sum F1 and exact over the rows at a threshold."""
    pairs = zip(golds, answers, diffs, strict=True)
    scores = [best_scores(gold, "" if diff > threshold else answer) for gold, answer, diff in pairs]
    return round(sum(f1 for _, f1 in scores), 9), sum(exact for exact, _ in scores)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_has_a_better_f1_or_the_same_with_more_exact(seed: int) -> None:
    draw = random.Random(seed)
    golds = [draw.choice([[], ["old mill"], ["river", "the river"]]) for _ in range(60)]
    answers = [draw.choice(["old mill", "mill", "river", "by the river", "the"]) for _ in golds]
    diffs = [draw.choice([draw.uniform(-5, 5), float(draw.randint(-2, 2))]) for _ in golds]
    chosen = best_threshold(golds, answers, diffs)
    assert chosen is not None and chosen not in diffs
    edges = sorted(set(diffs))
    others = [edges[0] - 1, edges[-1] + 1, *((a + b) / 2 for a, b in pairwise(edges))]
    assert total(golds, answers, diffs, chosen) == max(
        total(golds, answers, diffs, other) for other in others
    )


def test_the_threshold_lies_midway_between_two_rows() -> None:
    assert best_threshold([["mill"], []], ["mill", "mill"], [-3.0, 2.0]) == -0.5


def test_it_lies_beyond_the_rows_when_all_or_none_should_be_answered() -> None:
    assert best_threshold([["mill"], ["mill"]], ["mill", "mill"], [-3.0, 2.0]) == 3.0
    assert best_threshold([[], []], ["mill", "mill"], [-3.0, 2.0]) == -4.0


def test_rows_of_one_score_are_answered_together() -> None:
    assert best_threshold([["mill"], [], []], ["mill"] * 3, [1.0, 1.0, 1.0]) == 0.0


def test_no_rows_give_no_threshold() -> None:
    assert best_threshold([], [], []) is None
