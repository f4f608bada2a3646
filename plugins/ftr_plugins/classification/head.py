"""One label for a text, or for a pair of texts: a linear classifier on the model's summary of the
sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.registry.schema import Column, RowSchema
from ftr_plugins.classification.options import SequenceClassificationOptions
from ftr_plugins.columns import TEXT, TEXT_PAIR

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import EncodeSettings, Feature, Model, Prediction, Row, State

CLASSIFIER_DROPOUT = {
    "roberta": "classifier_dropout",
    "bert": "classifier_dropout",
    "distilbert": "seq_classif_dropout",
}


class SequenceClassificationHead:
    """Single-label classification.

    Implements `ftr.registry.protocols.Head`, `Combines` and `Votes`.
    """

    schema = RowSchema(
        columns=(
            TEXT,
            TEXT_PAIR,
            Column(
                name="label",
                type="label",
                aliases=(
                    "labels",
                    "sentiment",
                    "class",
                    "category",
                    "target",
                    "polarity",
                    "stars",
                    "rating",
                    "cats",
                ),
            ),
        ),
        stratify="label",
    )

    def __init__(self, options: SequenceClassificationOptions | None = None) -> None:
        """Take the head's options."""
        self.options = options or SequenceClassificationOptions()

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: it has no text."""
        return None if str(row.get("text") or "").strip() else "empty text"

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return an `AutoModelForSequenceClassification` with the label names in its config."""
        from transformers import AutoModelForSequenceClassification, set_seed

        if not getattr(
            model, "complete", False
        ):  # a trained model has all its weights, and others draw random numbers too
            set_seed(seed)
        built = model.load(
            AutoModelForSequenceClassification,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            problem_type="single_label_classification",
        )
        self._set_dropout(built)
        return built

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """One feature a row, cut at `max_length` (counted as `text cut`); `labels` are class ids.

        A row with a `text_pair` is a pair, also among rows without one, and the other way round.
        """
        texts, count = rows["text"], len(rows["text"])
        seconds = rows.get("text_pair") or [None] * count
        columns: dict[str, list[Any]] = {}
        for pairs in (False, True):
            chosen = [number for number in range(count) if bool(seconds[number]) is pairs]
            if chosen:
                second = [seconds[number] for number in chosen] if pairs else None
                encoded = tokenizer(
                    [texts[number] for number in chosen],
                    second,
                    truncation=True,
                    max_length=settings.max_length,
                )
                notes = ["text cut" if part.overflowing else "" for part in encoded.encodings or []]
                for key, values in {**_kept(encoded), "notes": notes}.items():
                    for number, value in zip(chosen, values, strict=True):
                        columns.setdefault(key, [None] * count)[number] = value
        columns["row"] = list(range(count))
        if settings.targets:
            columns["labels"] = list(rows["label"])
        return columns

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest; `input_ids`, `attention_mask`, `token_type_ids`: (batch, length),
        `labels`: (batch,).
        """
        import torch

        from ftr.train.batches import pad

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> None:
        """Return None: the model's own cross entropy."""
        return

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return each example's cross entropy, with the share `smoothing` of its target spread over
        all classes (Szegedy et al. 2016).
        """
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs["logits"].float(), inputs["labels"], reduction="none", label_smoothing=smoothing
        )

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose softmax is the mean of the models' class probabilities."""
        import torch
        from transformers.modeling_outputs import SequenceClassifierOutput

        each = torch.stack([one["logits"].float().log_softmax(dim=-1) for one in outputs])
        return SequenceClassifierOutput(logits=each.logsumexp(dim=0) - math.log(len(outputs)))

    def vote(self, outputs: Sequence[ModelOutput], weights: Sequence[float]) -> ModelOutput:
        """Return logits whose softmax is each class's share of the votes: a class that nobody votes
        for has probability 0.
        """
        import torch
        from transformers.modeling_outputs import SequenceClassifierOutput

        logits = [one["logits"].float() for one in outputs]
        votes = [
            torch.zeros_like(one).scatter_(-1, one.argmax(-1, keepdim=True), w)
            for one, w in zip(logits, weights, strict=True)
        ]
        return SequenceClassifierOutput(
            logits=torch.log(torch.stack(votes).sum(dim=0) / sum(weights))
        )

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[Any]:
        """Return each feature's class probabilities: the softmax of its logits (batch, classes), in
        fp32.
        """
        probabilities = outputs["logits"].float().softmax(dim=-1)
        return list(probabilities.cpu().numpy())

    def decode(
        self, row: Row, records: Sequence[Any], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id`, the most probable `label`, its `score`, and the `probabilities` of all
        labels.
        """
        (probabilities,) = records
        best = int(probabilities.argmax())
        return {
            "id": row["id"],
            "label": labels[best],
            "label_id": best,
            "score": float(probabilities[best]),
            "probabilities": {
                label: float(value) for label, value in zip(labels, probabilities, strict=True)
            },
        }

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], labels: Sequence[str]
    ) -> State:
        """Return nothing: the most probable class needs no threshold."""
        return {}

    def uncalibrated(self, rows: Sequence[Row]) -> None:
        """Return None: nothing is tuned."""
        return

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `majority`, the most frequent class, and of `tf-idf`, with logistic
        regression.
        """
        from ftr_plugins.classification.baselines import baselines

        return baselines(train, heldout, labels)

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return class ids, predicted and true."""
        return {
            "predictions": [prediction["label_id"] for prediction in predictions],
            "references": [row["label"] for row in rows],
        }

    def _set_dropout(self, model: PreTrainedModel) -> None:
        from torch import nn

        if self.options.dropout is None:
            return
        key = CLASSIFIER_DROPOUT.get(model.config.model_type)
        if key is not None:
            setattr(model.config, key, self.options.dropout)
        for name, module in model.named_modules():
            if isinstance(module, nn.Dropout) and name in ("dropout", "classifier.dropout"):
                module.p = self.options.dropout


def _kept(encoded: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what of a tokenizer's answer is kept; the mask follows from the lengths."""
    return {key: encoded[key] for key in ("input_ids", "token_type_ids") if key in encoded}
