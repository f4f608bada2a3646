"""The classification metrics; predictions and references are class ids from 0 up."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Score = Literal["precision", "recall", "f1"]
Averages = dict[str, float | list[float]]


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return the share of predictions that equal their reference."""
    right = sum(predicted == true for predicted, true in zip(predictions, references, strict=True))
    return right / len(references)


def precision(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return, of what was predicted to be of a class, the share that is: see `averages`."""
    return averages("precision", confusion(references, predictions))


def recall(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return, of what is of a class, the share that was predicted to be: see `averages`."""
    return averages("recall", confusion(references, predictions))


def f1(predictions: Sequence[int], references: Sequence[int]) -> Averages:
    """Return the harmonic mean of precision and recall: see `averages`."""
    return averages("f1", confusion(references, predictions))


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


def averages(score: Score, matrix: NDArray[np.int64]) -> Averages:
    """Return the score as `<score>` and `<score>_macro` (the same), `_micro`, `_weighted` and
    `_per_class`.

    The macro mean is over the classes that occur among references or predictions, the weighted one
    by their share of the references, as in scikit-learn. `_per_class` is in the order of class ids.
    A score of 0/0 is 0.0.
    """
    hit, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    each = _score(score, hit, predicted, true)
    macro = float(each[(predicted + true) > 0].mean())
    micro = float(
        _score(
            score, hit.sum(keepdims=True), predicted.sum(keepdims=True), true.sum(keepdims=True)
        )[0]
    )
    weighted = float((each * true).sum() / true.sum())
    return {
        score: macro,
        f"{score}_macro": macro,
        f"{score}_micro": micro,
        f"{score}_weighted": weighted,
        f"{score}_per_class": each.tolist(),
    }


def _score(
    score: Score, hit: NDArray[np.int64], predicted: NDArray[np.int64], true: NDArray[np.int64]
) -> NDArray[np.float64]:
    if score == "precision":
        return ratio(hit, predicted)
    if score == "recall":
        return ratio(hit, true)
    return ratio(2 * hit, predicted + true)


def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each `part` of its `whole`; 0/0 is 0.0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
