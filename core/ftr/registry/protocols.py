"""Protocols: what the target of each spec must provide.

Imports nothing heavy: the types are for checkers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeGuard

if TYPE_CHECKING:
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
CALIBRATION = "calibration"
"""The part of a head's state that makes probabilities of its scores: without it, predictions are
the same and their confidences are those of the model.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """How rows become features: lengths in tokens, class names in id order (empty: none).

    `targets` is true where the rows are to be trained on: only then the loss needs its columns.
    """

    max_length: int
    stride: int
    labels: tuple[str, ...] = ()
    targets: bool = True


class Dataset(Protocol):
    """The target of a `DatasetSpec`, called without arguments, gives this.

    The target may be a function that returns rows instead: an iterable of mappings (the training
    split), or a mapping of such by split.
    """

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
        """Return where the weights came from (path or Hub id, revision, sha256), for the record."""
        ...


class Head(Protocol):
    """The target of a `HeadSpec`, called with its options (or None), gives this.

    The life of a row: `check` -> `encode` (one or more features) -> `collate` (a batch) -> the
    model -> `loss`, or `reduce` (one small record per feature, at once, so that no logits are kept)
    -> `decode` (one prediction per row) -> `score_inputs` -> the metrics.
    """

    @property
    def schema(self) -> RowSchema:
        """The columns of a row."""
        ...

    def check(self, row: Row) -> str | None:
        """Return why this row cannot be used, in a few words that are the same for such rows."""
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
        """Pad features to the longest of the batch: the arguments of the model's forward."""
        ...

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Return the mean loss over a training batch of `collate`; None: the model's own.

        It must not depend on padding: a batch may be cut into any parts and weighs the same. The
        own loss of question answering models does, because their softmax includes the padding.
        """
        ...

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[Any]:
        """Turn the outputs for a batch into one small picklable record per feature, in order."""
        ...

    def decode(
        self, row: Row, records: Sequence[Any], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Turn the records of one row's features, in order, into its prediction, `id` included."""
        ...

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], labels: Sequence[str]
    ) -> State:
        """Choose on validation rows what is not learned (a threshold); `{}` for nothing."""
        ...

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Return the warning for a training without validation rows, None if nothing is
        calibrated.
        """
        ...

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return `{"predictions": [...], "references": [...]}` as the metrics take them.

        `labels` names the class ids of the rows.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A prediction beside what is true, as a person reads both.

    `confidence` is the probability that the prediction is right, 0 to 1; None where the head has
    none. `error` is 0 for a right one: for a class 0 or 1, for an answer 1 - F1, for a number the
    absolute difference, for a set of labels the share of labels that are wrong.
    """

    predicted: str
    expected: str
    error: float
    confidence: float | None = None

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with the prediction."""
        return self.error == 0


Ability = Literal[
    "combine",
    "vote",
    "row_losses",
    "baselines",
    "as_given",
    "remarks",
    "confidence",
    "outcomes",
    "usage",
]


class Abilities(Head, Protocol):
    """What a head may have besides. `provides` tells whether it does."""

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Average what several models gave for one batch; `reduce` reads it as one output.

        The outputs have equal shapes, because the models share tokenizer, labels and lengths.
        `ensemble=top3` needs it.
        """
        ...

    def vote(self, outputs: Sequence[ModelOutput], weights: Sequence[float]) -> ModelOutput:
        """Return the decision of the models, each of which votes for its most probable class.

        Its weight is above 0. `reduce` reads the result as the output of one model, with the shares
        of the votes as its probabilities. `boosting` needs it.
        """
        ...

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return the loss of each example, of shape (batch,); at `smoothing` 0 the mean is `loss`.

        `smoothing` is the share of each target that is spread evenly over all classes, or over all
        tokens that are no padding. Weighted examples and smoothed targets need it.
        """
        ...

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return the predictions of each baseline, by name, for each of the `heldout` splits.

        They are learned from `train` alone. A warning (`warnings.warn`), such as on a baseline that
        this data cannot give, becomes a note of the run.
        """
        ...

    def as_given(
        self, prediction: Prediction, text: str, before: Callable[[int, int], tuple[int, int]]
    ) -> Prediction:
        """Return the prediction with its places in `text`, the `context` before `data.clean`.

        `before` returns where the characters [start, end) of the cleaned context, one or more, are
        in `text`.
        """
        ...

    def remarks(
        self, rows: Sequence[Row], metrics: Sequence[str], labels: Sequence[str]
    ) -> list[str]:
        """Return a line for each thing to know about scoring `rows` by the named `metrics`."""
        ...

    def confidence(self, prediction: Prediction) -> float | None:
        """Return the probability, 0 to 1, that a prediction is right; None: it has none.

        `ftr predict --abstain-below` needs it.
        """
        ...

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return each prediction beside what is true of its row.

        Reports and comparisons need it.
        """
        ...

    def usage(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """Return the text of `usage.py`, a program that answers with the checkpoint beside it by
        plain transformers, for models that have no pipeline; None: not with this tokenizer.

        It reads its settings from `ftr.json`, and may expect texts that need no `data.clean`.
        """
        ...


def provides(head: Head, ability: Ability) -> TypeGuard[Abilities]:
    """Whether a head has an ability: it defines the method, or inherits a default that fits it."""
    own = getattr(head, "provides", None)
    return bool(own(ability)) if callable(own) else callable(getattr(head, ability, None))


class Metric(Protocol):
    """The target of a `MetricSpec`: a function whose parameters are filled by their names.

    They may be what the head's `score_inputs` returns (`predictions`, `references`, and what else
    it gives), and `labels`, the class names in id order. A class or function that returns an
    `evaluate.EvaluationModule` when it is called without arguments is a metric as well.
    """

    def __call__(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> float | Mapping[str, Any]:
        """Return one score, which gets the name of the metric, or scores by name.

        A score with a value for each class is a list in id order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run, sweep, trial or member as a tracker sees it.

    `name` is the name of its directory; that of a trial or member begins with that of its `parent`
    (`20260301-101500-qa-1f3a-trial-0003`). `folder` is the directory of the run or sweep itself,
    `created` in seconds since 1970. `config` has all settings by dotted key, secrets masked.
    `known` is the tracker's `id` for this run where an earlier process opened it, and `parent_id`
    that for its parent.
    """

    name: str
    kind: Literal["run", "sweep", "trial", "member"]
    folder: Path
    created: float
    config: Mapping[str, object]
    tags: tuple[str, ...] = ()
    parent: str | None = None
    parent_id: str | None = None
    known: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Scores at an optimizer step, at a `time` in seconds since 1970."""

    step: int
    time: float
    scores: Mapping[str, float]


class Tracker(Protocol):
    """The target of a `TrackerSpec`, called with a `TrackedRun`, gives this: the run at the
    tracker, new or that with the id `known`.

    Trackers run in a process of their own, one call at a time, and may raise anything: the training
    goes on, and what was not sent is sent later. `id` finds the run again. With `resend` true a
    tracker that is opened again gets all points from the first on, for it keeps none twice.
    """

    id: str
    resend: bool

    def log(self, points: Sequence[Point]) -> None:
        """Store points in their order; return when they are safe."""
        ...

    def summarize(self, scores: Mapping[str, float], tags: Sequence[str]) -> None:
        """Store the final scores and all tags, in place of those stored before."""
        ...

    def attach(self, path: Path) -> None:
        """Store a file with the run, in place of one of that name."""
        ...

    def finish(self, status: str) -> None:
        """Close the run: `done`, `failed`, `interrupted` or `stopped`. It may be opened again."""
        ...
