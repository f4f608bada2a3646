"""The `multi-label` head: a probability for each label, and a threshold for each that says from
where it applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ftr.registry.schema import Column, RowSchema
from ftr_toxic_labels.options import MultiLabelOptions
from ftr_toxic_labels.thresholds import UNTUNED, best_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import EncodeSettings, Feature, Model, Prediction, Row, State

THRESHOLDS = "thresholds"


class MultiLabelHead:
    """Builds, feeds and reads an `AutoModelForSequenceClassification` whose classes exclude
    nothing.

    Implements `ftr.registry.protocols.Head` and `Combines`.
    """

    schema = RowSchema(
        columns=(
            Column(name="text", aliases=("comment", "comment_text", "sentence", "content", "body")),
            Column(
                name="labels",
                type="labels",
                aliases=("label", "tags", "categories"),
                required=False,
            ),
        )
    )

    def __init__(self, options: MultiLabelOptions | None = None) -> None:
        """Take the head's options."""
        self.options = options or MultiLabelOptions()

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: it has no text."""
        return None if str(row.get("text") or "").strip() else "empty text"

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model with a logit for each label; the new weights follow from `seed`."""
        from transformers import AutoModelForSequenceClassification, set_seed

        set_seed(seed)
        return model.load(
            AutoModelForSequenceClassification,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            problem_type="multi_label_classification",
        )

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """One feature a row, cut at `max_length` (counted as `text cut`); `labels` is 1.0 for each
        label that applies, else 0.0.
        """
        encoded = tokenizer(
            rows["text"],
            truncation=True,
            max_length=settings.max_length,
            return_attention_mask=False,
        )
        columns: dict[str, list[Any]] = {
            "input_ids": encoded["input_ids"],
            "row": list(range(len(rows["text"]))),
        }
        if settings.targets:
            columns["labels"] = [
                [float(number in applying) for number in range(len(settings.labels))]
                for applying in map(set, rows["labels"])
            ]
        columns["notes"] = ["text cut" if part.overflowing else "" for part in encoded.encodings]
        return columns

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest: `input_ids` and `attention_mask` (batch, length), `labels` (batch,
        labels) as floats.
        """
        import torch

        from ftr.train.batches import pad

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> None:
        """Return None: the model's own binary cross entropy, which `problem_type` asks for."""
        return

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose sigmoid is the mean of the models' probabilities."""
        import torch
        from transformers.modeling_outputs import SequenceClassifierOutput

        mean = torch.stack([one["logits"].float().sigmoid() for one in outputs]).mean(dim=0)
        return SequenceClassifierOutput(logits=torch.logit(mean, eps=1e-6))

    def reduce(
        self, outputs: ModelOutput, features: Sequence[Feature]
    ) -> list[NDArray[np.float32]]:
        """Return each text's probability of every label: the sigmoid of its logits (batch,
        labels).
        """
        return list(outputs["logits"].float().sigmoid().cpu().numpy())

    def decode(
        self, row: Row, records: Sequence[NDArray[np.float32]], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id`, the `labels` that apply, their `label_ids`, and the `probabilities` of
        all.
        """
        (probabilities,) = records
        thresholds = state.get(THRESHOLDS) or [self.options.threshold or UNTUNED] * len(labels)
        applying = [number for number, one in enumerate(probabilities) if one >= thresholds[number]]
        return {
            "id": row["id"],
            "labels": [labels[number] for number in applying],
            "label_ids": applying,
            "probabilities": {
                label: float(one) for label, one in zip(labels, probabilities, strict=True)
            },
        }

    def calibrate(
        self,
        rows: Sequence[Row],
        records: Sequence[Sequence[NDArray[np.float32]]],
        labels: Sequence[str],
    ) -> State:
        """Return the threshold of each label, in id order, that has the best F1 on these rows; a
        given one stays.
        """
        if self.options.threshold is not None or not rows:
            return {}
        table = np.array([probabilities for (probabilities,) in records], dtype=np.float64)
        return {
            THRESHOLDS: [
                best_threshold(column, np.array([number in row["labels"] for row in rows]))
                for number, column in enumerate(table.T)
            ]
        }

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Say that every label applies from one half, where no threshold is given."""
        if self.options.threshold is not None:
            return None
        return (
            "no validation rows: no thresholds are tuned, and a label applies from a probability "
            "of 0.5. `head.threshold` sets another"
        )

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return lists of label ids, predicted and true."""
        return {
            "predictions": [one["label_ids"] for one in predictions],
            "references": [row["labels"] for row in rows],
        }
