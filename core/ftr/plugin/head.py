"""The base class of heads: every method has a default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ftr.registry.protocols import Outcome
from ftr.registry.schema import Column, RowSchema

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from ftr.registry import protocols
    from ftr.registry.protocols import Ability, EncodeSettings, Feature, Prediction, Row, State

NEEDS: Mapping[str, tuple[str, ...]] = {
    "combine": ("reduce",),
    "vote": ("reduce", "decode", "predict"),
    "row_losses": ("loss",),
    "confidence": ("predict",),
    "outcomes": ("predict", "compare"),
    "baselines": (),
    "as_given": (),
    "remarks": (),
    "usage": (),
}
"""The optional abilities, with the methods whose defaults their own defaults go with."""
DEFAULTS = ("combine", "vote", "row_losses", "confidence", "outcomes")
PROBLEMS = {
    "label": "single_label_classification",
    "labels": "multi_label_classification",
    "number": "regression",
}
"""Type of the target column -> what transformers calls the problem, which sets the model's loss."""


class Head:
    """What a task adds to a pretrained model. `ftr.registry.protocols.Head` in full.

    Set `columns`, and override the methods whose default does not fit. A number for a pair of
    texts:

        class Similarity(Head):
            columns = (
                Column(name="text"),
                Column(name="text_pair"),
                Column(name="score", type="number"),
            )

            def reduce(self, outputs, features):
                return outputs["logits"].float().squeeze(-1).tolist()

            def predict(self, row, output, labels, state):
                return {"score": output}

            def compare(self, row, prediction):
                return prediction["score"], row["score"]

    By default, one text column or two are tokenized together and cut at `data.max_length`. The
    model is the `auto_class` of transformers, with the loss that it has for the type of the target
    column; the prediction is the class with the highest softmax. Keyword parameters of `__init__`
    are the keys `head.*`.
    """

    columns: ClassVar[Sequence[Column]] = ()
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"

    def __init__(self, options: BaseModel | None = None) -> None:
        """Take the options of the spec, if it has any."""
        self.options: Any = options

    @cached_property
    def schema(self) -> RowSchema:
        """The columns of a row; made splits keep the shares of the classes."""
        if not self.columns:
            raise TypeError(
                f"the class `{type(self).__qualname__}` has no columns: set "
                '`columns = (Column(name="text"), …)`'
            )
        label = next((column.name for column in self.columns if column.type == "label"), None)
        return RowSchema(columns=tuple(self.columns), stratify=label)

    @cached_property
    def target(self) -> Column | None:
        """The first column that is learned."""
        return next((column for column in self.schema.columns if column.target), None)

    @cached_property
    def texts(self) -> list[Column]:
        """The columns of texts, in order."""
        return [column for column in self.schema.columns if column.type == "text"]

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used, in words that are the same for such rows; None: it can.

        The default refuses a row with an empty text.
        """
        for column in self.texts:
            if column.required and not str(row.get(column.name) or "").strip():
                return f"empty {column.name}"
        return None

    def build(self, model: protocols.Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the `auto_class` on the pretrained weights; new weights follow from `seed`."""
        import transformers

        if not getattr(model, "complete", False):
            # A trained model has all its weights, and others draw random numbers too.
            transformers.set_seed(seed)
        built: PreTrainedModel = model.load(
            getattr(transformers, self.auto_class), **self.model_config(labels)
        )
        return built

    def model_config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return what the model's config gets: names and number of the classes, and the problem.

        Without classes the model has one output.
        """
        config: dict[str, Any] = {"num_labels": len(labels) or 1}
        if labels:
            config["id2label"] = dict(enumerate(labels))
            config["label2id"] = {label: number for number, label in enumerate(labels)}
        if self.target and self.auto_class == Head.auto_class:
            config["problem_type"] = PROBLEMS.get(self.target.type)
        return config

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """Turn a batch of rows (columns of equal length) into columns of features.

        One feature a row, cut at `settings.max_length` (counted as `text cut`). A row with a second
        text is a pair, also among rows without one. With `settings.targets` there are `labels`.
        """
        names = [column.name for column in self.texts]
        if len(names) not in (1, 2):
            raise TypeError(
                f"the head `{type(self).__qualname__}` has {len(names)} columns of texts: the "
                "default `encode` takes one or two: override it"
            )
        first, *second = names
        seconds = rows.get(second[0]) if second else None
        columns = tokenized(rows[first], seconds, tokenizer, settings)
        columns["row"] = list(range(len(rows[first])))
        if settings.targets and self.target:
            cells = rows.get(self.target.name) or [None] * len(rows[first])
            columns["labels"] = self.encode_targets(cells, settings.labels)
        return columns

    def encode_targets(self, cells: Sequence[Any], labels: Sequence[str]) -> list[Any]:
        """Return what the loss compares with: a class id, a number, or 0.0 and 1.0 for each label.

        `cells` are those of the target column, one for each row, classes by their ids.
        """
        if self.target and self.target.type == "labels":
            return [
                [float(number in (cell or ())) for number in range(len(labels))] for cell in cells
            ]
        if self.target and self.target.type == "number":
            return [float(cell) for cell in cells]
        return list(cells)

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Return the arguments of the model's forward: `input_ids`, `attention_mask`,
        `token_type_ids` (batch, longest), and `labels` (batch,) or (batch, classes).
        """
        import torch

        from ftr.train.batches import pad

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Return the mean loss over a batch; None: the model's own."""
        return None

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return each example's cross entropy, of shape (batch,), with the share `smoothing` of its
        target spread over all classes (Szegedy et al. 2016).
        """
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs["logits"].float(), inputs["labels"], reduction="none", label_smoothing=smoothing
        )

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[Any]:
        """Return one small record for each feature: here the softmax of its logits, in fp32."""
        return list(outputs["logits"].float().softmax(dim=-1).cpu().numpy())

    def decode(
        self, row: Row, records: Sequence[Any], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return the prediction of a row from the records of its features: its `id`, and what
        `predict` makes of the only one.
        """
        if len(records) != 1:
            raise TypeError(
                f"the head `{type(self).__qualname__}` gives {len(records)} features to a row: the "
                "default `decode` takes one: override it"
            )
        return {"id": row["id"], **self.predict(row, records[0], labels, state)}

    def predict(self, row: Row, output: Any, labels: Sequence[str], state: State) -> Prediction:
        """Return the prediction for what `reduce` kept of a row: plain values that JSON has.

        The default gives the most probable `label`, its `label_id` and `score`, and the
        `probabilities` of all.
        """
        if self.target is None or self.target.type != "label":
            raise NotImplementedError(
                f"the head `{type(self).__qualname__}` has no column of one class for each row: "
                "override `reduce` and `predict(row, output, labels, state)`"
            )
        best = int(output.argmax())
        return {
            "label": labels[best],
            "label_id": best,
            "score": float(output[best]),
            "probabilities": {
                label: float(value) for label, value in zip(labels, output, strict=True)
            },
        }

    def compare(self, row: Row, prediction: Prediction) -> tuple[Any, Any]:
        """Return what the metrics get of a row as its prediction, and as its reference.

        The default gives class ids.
        """
        label = self.schema.label
        if label is None or self.target is None or self.target.type != "label":
            raise NotImplementedError(
                f"the head `{type(self).__qualname__}` has no column of classes: override "
                "`compare(row, prediction)`"
            )
        return prediction["label_id"], row[label]

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return `predictions` and `references`, one of each for every row, as `compare` gives
        them.
        """
        pairs = [self.compare(*pair) for pair in zip(rows, predictions, strict=True)]
        return {
            "predictions": [predicted for predicted, _ in pairs],
            "references": [true for _, true in pairs],
        }

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], labels: Sequence[str]
    ) -> State:
        """Choose on validation rows what is not learned, such as a threshold; `predict` and
        `decode` get it as `state`. The default chooses nothing.
        """
        return {}

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Return the warning for a training without validation rows, None for none."""
        return None

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose softmax is the mean of the models' probabilities."""
        import torch

        each = torch.stack([one["logits"].float().log_softmax(dim=-1) for one in outputs])
        return _output(each.logsumexp(dim=0) - math.log(len(outputs)))

    def vote(self, outputs: Sequence[ModelOutput], weights: Sequence[float]) -> ModelOutput:
        """Return logits whose softmax is each class's share of the votes: a class that nobody votes
        for has probability 0.
        """
        import torch

        logits = [one["logits"].float() for one in outputs]
        votes = [
            torch.zeros_like(one).scatter_(-1, one.argmax(-1, keepdim=True), weight)
            for one, weight in zip(logits, weights, strict=True)
        ]
        return _output(torch.log(torch.stack(votes).sum(dim=0) / sum(weights)))

    def confidence(self, prediction: Prediction) -> float | None:
        """Return the `score` of the predicted class."""
        return prediction.get("score")

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return the predicted and the true class of each row by name."""
        found = []
        for row, prediction in zip(rows, predictions, strict=True):
            predicted, true = self.compare(row, prediction)
            found.append(
                Outcome(
                    predicted=labels[predicted],
                    expected=labels[true],
                    error=float(predicted != true),
                    confidence=self.confidence(prediction),
                )
            )
        return found

    def provides(self, ability: Ability) -> bool:
        """Whether the head has an optional ability: it overrides the method, or the default fits.

        A default fits where the methods it goes with are defaults too, and rows have one class.
        """
        if _overridden(self, ability):
            return True
        classes = self.schema.classes
        return (
            ability in DEFAULTS
            and classes is not None
            and classes.type == "label"
            and not any(_overridden(self, method) for method in NEEDS[ability])
        )


def tokenized(
    texts: Sequence[str],
    seconds: Sequence[str | None] | None,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
) -> dict[str, list[Any]]:
    """Return `input_ids`, `token_type_ids` where the tokenizer has them, and `notes`, one of each
    for every text; texts with a second one are encoded as pairs.
    """
    count = len(texts)
    others = seconds or [None] * count
    columns: dict[str, list[Any]] = {}
    for pairs in (False, True):
        chosen = [number for number in range(count) if bool(others[number]) is pairs]
        if not chosen:
            continue
        encoded = tokenizer(
            [texts[number] for number in chosen],
            [others[number] for number in chosen] if pairs else None,
            truncation=True,
            max_length=settings.max_length,
        )
        found = {key: encoded[key] for key in ("input_ids", "token_type_ids") if key in encoded}
        found["notes"] = ["text cut" if part.overflowing else "" for part in encoded.encodings]
        for key, values in found.items():
            for number, value in zip(chosen, values, strict=True):
                columns.setdefault(key, [None] * count)[number] = value
    return columns


def _output(logits: Tensor) -> ModelOutput:
    from transformers.modeling_outputs import SequenceClassifierOutput

    return SequenceClassifierOutput(logits=logits)


def _overridden(head: Head, method: str) -> bool:
    return getattr(type(head), method, None) is not getattr(Head, method, None)
