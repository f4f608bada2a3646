"""The `regression` head: one number for a text or a pair of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftr.plugin import Column, Head, Outcome, Prediction, Row, State
from ftr_plugins.columns import TEXT, TEXT_PAIR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers.utils import ModelOutput


class RegressionHead(Head):
    """A model of one output, trained by the squared error."""

    columns = (
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

    def reduce(self, outputs: ModelOutput, features: Sequence[Any]) -> list[float]:
        """Return each row's number: its logit, (batch, 1)."""
        numbers: list[float] = outputs["logits"].float().squeeze(-1).tolist()
        return numbers

    def predict(self, row: Row, output: float, labels: Sequence[str], state: State) -> Prediction:
        """Return `score`."""
        return {"score": output}

    def compare(self, row: Row, prediction: Prediction) -> tuple[float, float]:
        """Return the numbers, predicted and true."""
        return prediction["score"], row["score"]

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return the numbers with four digits, and their absolute difference; no confidence."""
        return [
            Outcome(
                predicted=f"{one['score']:.4g}",
                expected=f"{row['score']:.4g}",
                error=abs(one["score"] - row["score"]),
            )
            for row, one in zip(rows, predictions, strict=True)
        ]

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
