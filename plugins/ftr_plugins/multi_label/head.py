"""The `multi-label-classification` head: a probability for each label, and for each a threshold
from which it applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ftr.registry.schema import Column, RowSchema
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.columns import TEXT, TEXT_PAIR
from ftr_plugins.multi_label.options import MultiLabelOptions
from ftr_plugins.multi_label.thresholds import DEFAULT, applying, best_threshold, prediction

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

    Implements `ftr.registry.protocols.Head`, `Combines`, `RowLosses` and `Baselines`.
    """

    schema = RowSchema(
        columns=(
            TEXT,
            TEXT_PAIR,
            Column(
                name="labels",
                type="labels",
                aliases=("label", "tags", "topics", "categories", "genres"),
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

        if not getattr(model, "complete", False):
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
        """One feature a row, as `sequence-classification` does; `labels` is 1.0 for each label that
        applies, else 0.0.
        """
        ids = rows.get("labels") or [[] for _ in rows["text"]]
        table = [
            [float(number in applying) for number in range(len(settings.labels))]
            for applying in map(set, ids)
        ]
        return SequenceClassificationHead().encode({**rows, "label": table}, tokenizer, settings)

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest: `input_ids` and `attention_mask` (batch, length), `labels` (batch,
        labels) as floats.
        """
        return SequenceClassificationHead().collate(features, tokenizer)

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> None:
        """Return None: the model's own binary cross entropy, which `problem_type` asks for."""
        return

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return each example's binary cross entropy, the mean over the labels.

        The share `smoothing` of each target is spread over its two outcomes: t becomes
        (1 - smoothing) t + smoothing / 2.
        """
        from torch.nn.functional import binary_cross_entropy_with_logits

        targets = inputs["labels"].float() * (1.0 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(
            outputs["logits"].float(), targets, reduction="none"
        ).mean(dim=-1)

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose sigmoid is the mean of the models' probabilities."""
        import torch
        from transformers.modeling_outputs import SequenceClassifierOutput

        mean = torch.stack([one["logits"].double().sigmoid() for one in outputs]).mean(dim=0)
        return SequenceClassifierOutput(logits=torch.logit(mean, eps=1e-12))

    def reduce(
        self, outputs: ModelOutput, features: Sequence[Feature]
    ) -> list[NDArray[np.float32]]:
        """Return each text's probability of every label: the sigmoid of its logits (batch,
        labels), in fp32.
        """
        return list(outputs["logits"].float().sigmoid().cpu().numpy())

    def decode(
        self, row: Row, records: Sequence[NDArray[np.float32]], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id`, the `labels` that apply, their `label_ids`, and the `probabilities` of
        all.
        """
        (probabilities,) = records
        fixed = self.options.threshold
        thresholds = state.get(THRESHOLDS) if fixed is None else None
        used = thresholds or [DEFAULT if fixed is None else fixed] * len(labels)
        return prediction(row, applying(probabilities, used), probabilities, labels)

    def tune(self, rows: Sequence[Row], records: Sequence[Sequence[NDArray[np.float32]]]) -> State:
        """Return the threshold of each label, in id order, that has the best F1 on these rows; `{}`
        where `head.threshold` fixes one.
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

    def untuned(self, rows: Sequence[Row]) -> str | None:
        """Say that every label applies from one half, where no threshold is given."""
        if self.options.threshold is not None:
            return None
        return (
            "no validation rows: no thresholds are calibrated, and a label applies from a "
            "probability of 0.5. `head.threshold` sets another"
        )

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `majority`, the most frequent set, and of `tf-idf`, with a logistic
        regression for each label.
        """
        from ftr_plugins.multi_label.baselines import baselines

        return baselines(train, heldout, labels)

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return tables (rows, labels): `predictions` and `references` of 0 and 1, and the
        `probabilities`.
        """
        numbers = range(len(labels))
        return {
            "predictions": [[int(n in one["label_ids"]) for n in numbers] for one in predictions],
            "references": [[int(n in (row.get("labels") or ())) for n in numbers] for row in rows],
            "probabilities": [list(one["probabilities"].values()) for one in predictions],
        }
