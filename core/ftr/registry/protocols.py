"""Protocols: what the target of each spec must provide.

Imports nothing heavy: the types are for checkers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import evaluate
    from datasets import DatasetDict
    from pydantic import BaseModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from ftr.registry.schema import RowSchema


Row = Mapping[str, Any]
Feature = dict[str, Any]
Prediction = dict[str, Any]
State = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """How rows become features: lengths in tokens, and the names of the classes in id order (empty:
    none).

    `targets` is true where the rows are to be trained on: only then are the columns for the loss
    needed.
    """

    max_length: int
    stride: int
    labels: tuple[str, ...] = ()
    targets: bool = True


class Dataset(Protocol):
    """The target of a `DatasetSpec`, called without arguments, gives this."""

    def load(self, options: BaseModel | None) -> DatasetDict:
        """Return splits among `train`, `validation`, `test` with the columns the task's head reads.

        `options` is an instance of the spec's options model, or None when it has none. Raises
        `DataError`.
        """
        ...


class Model(Protocol):
    """The target of a `ModelSpec`, called with its options (or None), gives this."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer, with a pad token. Raises `ModelError`."""
        ...

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` with the pretrained weights and `config` values set.

        Raises `ModelError`.
        """
        ...

    def max_length(self) -> int | None:
        """Return the longest input in tokens that the model takes, or None when it has no limit."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return where the weights came from (path or hub id, revision, sha256) for the run
        record.
        """
        ...


class Head(Protocol):
    """The target of a `HeadSpec`, called with its options (or None), gives this.

    The life of a row: `check` -> `encode` (one or more features) -> `collate` (a batch) -> the
    model -> `loss`, or `reduce` (one small record per feature, at once, so that no logits are kept)
    -> `decode` (one prediction per row) -> `score_inputs` -> the metrics.
    """

    schema: RowSchema

    def check(self, row: Row) -> str | None:
        """Return why this row cannot be used, in a few words that do not vary with the row, or
        None.
        """
        ...

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model for the task; the new weights follow from `seed`.

        Saved as a plain checkpoint.
        """
        ...

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """Turn a batch of rows (columns of equal length) into columns of features.

        Must hold `input_ids` and `row`, the index into this batch of the row each feature came
        from. What the loss needs (`labels`, `start_positions`, ...) is there when
        `settings.targets`; what `reduce` needs, else. May hold `notes`: one string per feature
        (usually "") that is counted and shown, such as "question cut".
        """
        ...

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad features to the longest of the batch: exactly the keyword arguments of the model's
        forward.
        """
        ...

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Return the mean loss over a training batch, of what `collate` gave; None: the model's own
        is meant.

        It must not depend on padding: a batch may be cut into any parts and weighs the same. The
        own loss of question answering models does, for their softmax takes in the padding.
        """
        ...

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[Any]:
        """Turn the outputs for a batch into one small picklable record per feature, in order."""
        ...

    def decode(
        self, row: Row, records: Sequence[Any], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Turn the records of one row's features (in order of encoding) into its prediction, `id`
        included.
        """
        ...

    def tune(self, rows: Sequence[Row], records: Sequence[Sequence[Any]]) -> State:
        """Choose what is set on validation rows rather than learned (a threshold); `{}` when there
        is nothing.
        """
        ...

    def untuned(self, rows: Sequence[Row]) -> str | None:
        """Return what to tell a person who trains on `rows` without validation rows to tune on;
        None: nothing is tuned anyway.
        """
        ...

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return `{"predictions": [...], "references": [...]}` as the metrics take them; `labels`
        names the class ids of the rows.
        """
        ...


@runtime_checkable
class Combines(Protocol):
    """What a head may give besides: one output from those of several models.

    Only then can trials be joined by `ensemble=top3`.
    """

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Average what several models gave for one and the same batch; `reduce` reads the result as
        the output of one model.

        The outputs have equal shapes, for the models share tokenizer, labels and lengths.
        """
        ...


@runtime_checkable
class Votes(Protocol):
    """What a head may give besides: one output from the votes of several models.

    Only then can it be trained with `boosting`.
    """

    def vote(self, outputs: Sequence[ModelOutput], weights: Sequence[float]) -> ModelOutput:
        """Return what the models decide together, where each votes for its most probable class with
        its weight (above 0).

        `reduce` reads the result as the output of one model: its probabilities are the shares of
        the votes.
        """
        ...


@runtime_checkable
class RowLosses(Protocol):
    """What a head may give besides: the loss of each example.

    Only then can examples be weighted and targets be smoothed.
    """

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return the loss of each example, of shape (batch,), whose mean at `smoothing` 0 is the
        loss that is trained on.

        `smoothing` is the share of each target that is spread evenly over all classes, or over all
        tokens that are no padding.
        """
        ...


@runtime_checkable
class Baselines(Protocol):
    """What a head may give besides: predictions without a model, to set beside those of the
    model.
    """

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return, by the name of the baseline, the predictions for each of the `heldout` splits,
        learned from `train` alone.

        What it warns of (`warnings.warn`), such as a baseline that this data cannot give, becomes a
        note of the run.
        """
        ...


@runtime_checkable
class Places(Protocol):
    """What a head may give besides: the way back from places in a cleaned context, where its
    predictions hold places.
    """

    def as_given(
        self, prediction: Prediction, text: str, before: Callable[[int, int], tuple[int, int]]
    ) -> Prediction:
        """Return the prediction with its places in `text`, the `context` of its row as it was
        before `data.clean`.

        `before` says where the characters [start, end) of the cleaned context, one or more, stand
        in `text`.
        """
        ...


@runtime_checkable
class Remarks(Protocol):
    """What a head may give besides: remarks on rows that the metrics of a run do not fit."""

    def remarks(self, rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
        """Return a line for each thing to tell a person who scores `rows` by `metrics`, given by
        their names.
        """
        ...


class Metric(Protocol):
    """The target of a `MetricSpec`, called without arguments, gives an
    `evaluate.EvaluationModule`.
    """

    def __call__(self) -> evaluate.EvaluationModule:
        """Return the module; `compute(predictions=..., references=...)` gives a dict of scores."""
        ...
