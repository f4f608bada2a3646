"""The classification metrics; predictions and references are class ids from 0 up."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import additive

Score = Literal["precision", "recall", "f1"]
Averages = dict[str, float | list[float]]
Sums = Mapping[str, NDArray[Any]]


def counts(predictions: Sequence[int], references: Sequence[int]) -> dict[str, NDArray[np.bool_]]:
    """Return for each row and class whether the class is `true`, `predicted`, and both (`hit`)."""
    classes = np.arange(max(*predictions, *references) + 1)
    true, predicted = (np.asarray(ids)[:, None] == classes for ids in (references, predictions))
    return {"hit": true & predicted, "predicted": predicted, "true": true}


def _accuracy(sums: Sums) -> NDArray[np.float64]:
    share: NDArray[np.float64] = sums["hit"].sum(axis=-1) / sums["true"].sum(axis=-1)
    return share


def _averages(score: Score, sums: Sums) -> dict[str, NDArray[np.float64]]:
    return averages(score, sums["hit"], sums["predicted"], sums["true"])


@additive(counts, _accuracy, perfect=1.0)
def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return the share of predictions that equal their reference."""
    right = sum(predicted == true for predicted, true in zip(predictions, references, strict=True))
    return right / len(references)


@additive(counts, partial(_averages, "precision"), perfect=1.0)
def precision(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return, of what was predicted to be of a class, the share that is: see `averages`."""
    return _of_rows("precision", references, predictions)


@additive(counts, partial(_averages, "recall"), perfect=1.0)
def recall(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return, of what is of a class, the share that was predicted to be: see `averages`."""
    return _of_rows("recall", references, predictions)


@additive(counts, partial(_averages, "f1"), perfect=1.0)
def f1(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return the harmonic mean of precision and recall: see `averages`."""
    return _of_rows("f1", references, predictions)


@additive(counts, lambda sums: {"macro_recall": _averages("recall", sums)["recall"]}, perfect=1.0)
def macro_recall(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return the mean of the recall of each class, the score TweetEval ranks sentiment by."""
    return {"macro_recall": recall(predictions, references)["recall"]}


def confusion_matrix(
    predictions: Sequence[int], references: Sequence[int]
) -> dict[str, list[list[int]]]:
    """Return `confusion_matrix`: for each true class (row) how often each class was predicted, in
    the order of class ids.
    """
    return {"confusion_matrix": confusion(references, predictions).tolist()}


def confusion(references: Sequence[int], predictions: Sequence[int]) -> NDArray[np.int64]:
    """Return the square matrix of counts: row = true class id, column = predicted one, up to the
    highest id in use.
    """
    true, predicted = (
        np.asarray(references, dtype=np.int64),
        np.asarray(predictions, dtype=np.int64),
    )
    size = int(max(true.max(), predicted.max())) + 1
    return np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)


def _of_rows(score: Score, references: Sequence[int], predictions: Sequence[int]) -> Averages:
    matrix = confusion(references, predictions)
    found = averages(score, np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1))
    return {name: value.tolist() for name, value in found.items()}


def averages(
    score: Score, hit: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Return the score as `<score>` and `<score>_macro` (the same), `_micro`, `_weighted` and
    `_per_class`, of counts by class on the last axis.

    The macro mean is over the classes that occur among references or predictions, the weighted one
    by their share of the references, as in scikit-learn. `_per_class` is in the order of class ids.
    A score of 0/0 is 0.0.
    """
    each = _score(score, hit, predicted, true)
    occurs = predicted + true > 0
    macro = np.where(occurs, each, 0.0).sum(axis=-1) / occurs.sum(axis=-1)
    micro = _score(score, *(one.sum(axis=-1) for one in (hit, predicted, true)))
    return {
        score: macro,
        f"{score}_macro": macro,
        f"{score}_micro": micro,
        f"{score}_weighted": (each * true).sum(axis=-1) / true.sum(axis=-1),
        f"{score}_per_class": each,
    }


def _score(
    score: Score, hit: NDArray[Any], predicted: NDArray[Any], true: NDArray[Any]
) -> NDArray[np.float64]:
    if score == "precision":
        return ratio(hit, predicted)
    if score == "recall":
        return ratio(hit, true)
    return ratio(2 * hit, predicted + true)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return each `part` of its `whole`; 0/0 is 0.0."""
    shares = np.zeros(np.shape(whole))
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares
