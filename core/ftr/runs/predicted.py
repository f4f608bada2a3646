"""What `Predictor.predict` takes and gives: rows of any form, and predictions as typed records."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ftr.errors import DataError, RequestError
from ftr.registry.protocols import Prediction

SLICE = 2048
"""Rows of a `DataFrame` that are converted at a time, which bounds memory."""
PROBABILITIES = "probabilities"


class PredictionRecord(dict[str, Any]):
    """A prediction: a dict, as `ftr predict` writes it, with its keys as attributes.

    Which keys it has depends on the head; another attribute raises `AttributeError`, which names
    those that there are. What is predicted is None where the model abstains.
    """

    __slots__ = ()

    id: str
    """That of the row, else its number from 0."""
    label: str
    """The most probable class; `label_id` is its number."""
    label_id: int
    score: float
    """Of a class, an answer or a sentence its probability; of a regression the number itself."""
    probabilities: dict[str, float]
    """Of every class or label by name; of the `top_k` most probable ones, in falling order."""
    labels: list[str]
    """The labels that apply; `label_ids` are their numbers."""
    label_ids: list[int]
    tags: list[str]
    """The tag of each token."""
    entities: list[dict[str, Any]]
    """Each with `type`, `start`, `end` (tokens, the end excluded), `text` and `score`."""
    answer: str
    """The answer, empty if the model finds none in the passage."""
    start: int | None
    """First character of the answer in the passage; None without an answer."""
    end: int | None
    """Character behind the answer."""
    best_answer: str
    """The best answer, also where none is better."""
    no_answer_score: float | None
    """Score of no answer less that of the best one; None where the passage has no span."""
    confidence: float
    """The probability that the prediction is right: with `abstain_below`, or calibrated."""
    best_guess: dict[str, Any]
    """What an abstained prediction would be."""

    @property
    def error(self) -> str | None:
        """Why the row cannot be used (`errors="record"`), or None."""
        return self.get("error")

    @property
    def abstained(self) -> bool:
        """Whether the model abstains, see `abstain_below`."""
        return bool(self.get("abstained"))

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(
            f"this prediction has no `{name}`: it has {', '.join(f'`{key}`' for key in self)}"
        )


class Unusable(dict[str, Any]):
    """The record of a row that cannot be used: its `id` and the `error`."""

    __slots__ = ()


def rows_in(given: object) -> Iterable[Any]:
    """Return the rows of a list, an iterator, a `DataFrame` or `Series` of pandas, a
    `datasets.Dataset` or a `pyarrow.Table`, each a text, a mapping, or None for a missing one.

    Raises `RequestError` for a single row or several splits, and `DataError` for a frame with two
    columns of one name.
    """
    if isinstance(given, Mapping) and any(
        hasattr(split, "column_names") for split in given.values()
    ):
        splits = ", ".join(f"`{name}`" for name in given)
        raise RequestError(f"`predict` got the splits {splits}: give the rows of one.")
    if isinstance(given, str | bytes | Mapping):
        what = "mapping" if isinstance(given, Mapping) else "text"
        raise RequestError(
            f"`predict` takes a list of rows, and got a single {what}: put it into a list, "
            "`predict([row])[0]`."
        )
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(given, pandas.DataFrame | pandas.Series):
        return _of_pandas(given)
    rows: Any = given.to_pylist() if hasattr(given, "to_pylist") else given
    if isinstance(rows, Iterable):
        return rows
    raise RequestError(f"`predict` takes a list of rows, and got a `{type(given).__name__}`.")


def _of_pandas(given: Any) -> Iterator[Any]:
    names = [str(name) for name in getattr(given, "columns", ())]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"the `DataFrame` has two columns `{twice}`: rename or drop one.")
    return _in_slices(given)


def _in_slices(given: Any) -> Iterator[Any]:
    for start in range(0, len(given), SLICE):
        part = given.iloc[start : start + SLICE].astype(object)
        part = part.where(part.notna(), None)
        yield from part.to_dict("records") if hasattr(part, "columns") else part.tolist()


def plain_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with arrays and tensors as lists and numbers, and the missing values of pandas
    as None: their `str` would be taken for a text.
    """
    return {str(name): _plain(cell) for name, cell in row.items()}


def _plain(cell: Any) -> Any:
    if hasattr(cell, "tolist"):
        return cell.tolist()
    return None if type(cell).__name__ in ("NAType", "NaTType") else cell


def check_top_k(top_k: int | None, head: str, labels: Iterable[str]) -> None:
    """Raise `RequestError` for a number below 1, and for a head without classes."""
    if top_k is None:
        return
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise RequestError(f"`top_k` (`--top-k`) is {top_k}: give a whole number of 1 or more.")
    if not list(labels):
        raise RequestError(_no_classes(head))


def most_probable(prediction: Prediction, top_k: int, head: str) -> Prediction:
    """Return a prediction with only the `top_k` most probable of its `probabilities`, in falling
    order.

    Raises `RequestError` for a head that gives none.
    """
    shares = prediction.get(PROBABILITIES)
    if not isinstance(shares, Mapping):
        raise RequestError(_no_classes(head))
    kept = sorted(shares.items(), key=lambda item: -item[1])[:top_k]
    return {**prediction, PROBABILITIES: dict(kept)}


def _no_classes(head: str) -> str:
    return f"head `{head}` gives no probabilities of classes: leave `top_k` (`--top-k`) out."
