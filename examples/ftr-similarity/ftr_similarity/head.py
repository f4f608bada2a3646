"""The `pair-regression` head: one number for a text and another, read together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftr.registry.schema import Column, RowSchema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import EncodeSettings, Feature, Model, Prediction, Row, State


class PairRegressionHead:
    """Builds, feeds and reads an `AutoModelForSequenceClassification` of one output.

    Implements `ftr.registry.protocols.Head` and `Combines`.
    """

    schema = RowSchema(
        columns=(
            Column(name="text", aliases=("text_a", "sentence1", "sentence_1", "first", "premise")),
            Column(
                name="text_pair",
                aliases=("text_b", "sentence2", "sentence_2", "second", "hypothesis"),
            ),
            Column(
                name="score",
                type="number",
                aliases=("label", "similarity", "similarity_score", "relatedness_score"),
            ),
        )
    )

    def __init__(self, options: None = None) -> None:
        """Take no options."""

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: one of its texts is empty."""
        return next(
            (
                f"empty {name}"
                for name in ("text", "text_pair")
                if not str(row.get(name) or "").strip()
            ),
            None,
        )

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model with one output, whose weights follow from `seed`."""
        from transformers import AutoModelForSequenceClassification, set_seed

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
        """One feature a pair; of the longer text is cut until both fit (counted as `text cut`).

        `labels` are the scores.
        """
        encoded = tokenizer(
            rows["text"],
            rows["text_pair"],
            truncation="longest_first",
            max_length=settings.max_length,
            return_attention_mask=False,
        )
        columns: dict[str, list[Any]] = {
            key: encoded[key] for key in ("input_ids", "token_type_ids") if key in encoded
        }
        columns["row"] = list(range(len(rows["text"])))
        if settings.targets:
            columns["labels"] = [float(score) for score in rows["score"]]
        columns["notes"] = ["text cut" if part.overflowing else "" for part in encoded.encodings]
        return columns

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest: `input_ids`, `attention_mask`, `token_type_ids` (batch, length),
        `labels` (batch,) as floats.
        """
        import torch

        from ftr.train.batches import pad

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

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
        """Return each pair's number: its logit, (batch, 1)."""
        numbers: list[float] = outputs["logits"].float().squeeze(-1).tolist()
        return numbers

    def decode(
        self, row: Row, records: Sequence[float], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id` and `score`."""
        (score,) = records
        return {"id": row["id"], "score": score}

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[float]], labels: Sequence[str]
    ) -> State:
        """Return nothing: a number needs no threshold."""
        return {}

    def uncalibrated(self, rows: Sequence[Row]) -> None:
        """Return None: nothing is tuned."""
        return

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return the numbers, predicted and true."""
        return {
            "predictions": [one["score"] for one in predictions],
            "references": [row["score"] for row in rows],
        }
