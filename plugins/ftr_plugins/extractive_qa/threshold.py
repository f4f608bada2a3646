"""Chooses from which no-answer score on a question gets no answer."""

from collections.abc import Sequence

import numpy as np

from ftr_plugins.extractive_qa.text import best_scores


def best_threshold(
    golds: Sequence[Sequence[str]], answers: Sequence[str], diffs: Sequence[float]
) -> float | None:
    """Return the threshold with the best F1 over the rows, exact match deciding ties, then the
    lower one.

    `answers` are the best spans and `diffs` their no-answer scores; a row is answered when its
    score is not above the threshold. The threshold lies midway between the scores of two rows, so
    that no row stands on it, or 1 beyond the outermost. None when there are no rows. Like
    `find_best_thresh` of the SQuAD v2.0 evaluation script, one pass over the sorted scores.
    """
    if not diffs:
        return None
    given = np.array(
        [best_scores(gold, answer) for gold, answer in zip(golds, answers, strict=True)],
        dtype=np.float64,
    )
    withheld = np.array([best_scores(gold, "") for gold in golds], dtype=np.float64)
    order = np.argsort(np.asarray(diffs, dtype=np.float64), kind="stable")
    scores = np.asarray(diffs, dtype=np.float64)[order]
    # gain[k]: what answering the k rows of lowest score adds over answering none. Columns: exact,
    # F1.
    gain = np.concatenate([np.zeros((1, 2)), np.cumsum((given - withheld)[order], axis=0)])
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(scores) > 0) + 1, [len(scores)]])
    # Sums of the same terms in another order differ in the last bits: without rounding those would
    # decide ties.
    exact, f1 = np.round(gain[cuts], 9).T
    return _between(scores, int(cuts[np.lexsort((cuts, -exact, -f1))[0]]))


def _between(scores: np.ndarray[tuple[int], np.dtype[np.float64]], cut: int) -> float:
    if cut == 0:
        return float(scores[0]) - 1.0
    if cut == len(scores):
        return float(scores[-1]) + 1.0
    return float(scores[cut - 1] + scores[cut]) / 2
