"""The `regression` head: one number for a text or a pair of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftr.registry.schema import Column, RowSchema
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.columns import TEXT, TEXT_PAIR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import EncodeSettings, Feature, Model, Prediction, Row, State


class RegressionHead:
    """Builds, feeds and reads an `AutoModelForSequenceClassification` of one output.

    Implements `ftr.registry.protocols.Head`, `Combines` and `Baselines`.
    """

    schema = RowSchema(
        columns=(
            TEXT,
            TEXT_PAIR,
            Column(
                name="score",
                type="number",
                aliases=(
                    "label",
                    "similarity",
                    "similarity_score",
                    "relatedness_score",
                    "rating",
                    "stars",
                    "target",
                    "value",
                ),
            ),
        )
    )

    def __init__(self, options: None = None) -> None:
        """Take no options."""

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: it has no text."""
        return None if str(row.get("text") or "").strip() else "empty text"

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model with one output, whose weights follow from `seed`."""
        from transformers import AutoModelForSequenceClassification, set_seed

        if not getattr(model, "complete", False):
            set_seed(seed)
        return model.load(
            AutoModelForSequenceClassification, num_labels=1, problem_type="regression"
        )

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """One feature a row, as `sequence-classification` does; `labels` are the scores."""
        numbers = [float(score) for score in rows["score"]] if settings.targets else []
        return SequenceClassificationHead().encode({**rows, "label": numbers}, tokenizer, settings)

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest: `input_ids`, `attention_mask`, `token_type_ids` (batch, length),
        `labels` (batch,) as floats.
        """
        return SequenceClassificationHead().collate(features, tokenizer)

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean squared error: in fp32, and also for a batch of one row."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs["logits"].float().squeeze(-1), inputs["labels"].float())

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return the mean of the models' numbers."""
        import torch
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(
            logits=torch.stack([one["logits"].float() for one in outputs]).mean(dim=0)
        )

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[float]:
        """Return each row's number: its logit, (batch, 1)."""
        numbers: list[float] = outputs["logits"].float().squeeze(-1).tolist()
        return numbers

    def decode(
        self, row: Row, records: Sequence[float], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id` and `score`."""
        (score,) = records
        return {"id": row["id"], "score": score}

    def tune(self, rows: Sequence[Row], records: Sequence[Sequence[float]]) -> State:
        """Return nothing: a number needs no threshold."""
        return {}

    def untuned(self, rows: Sequence[Row]) -> None:
        """Return None: nothing is tuned."""
        return

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `mean`: the mean of the training rows for every row."""
        mean = sum(row["score"] for row in train) / len(train)
        return {
            "mean": {
                split: [{"id": row["id"], "score": mean} for row in rows]
                for split, rows in heldout.items()
            }
        }

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return the numbers, predicted and true."""
        return {
            "predictions": [one["score"] for one in predictions],
            "references": [row["score"] for row in rows],
        }
