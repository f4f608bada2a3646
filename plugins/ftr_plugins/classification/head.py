"""One label for a text, or for a pair of texts: a linear classifier on the model's summary of the
sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.plugin import Column, EncodeSettings, Head, ModelError, Prediction, Row, State
from ftr.registry.protocols import CALIBRATION
from ftr_plugins.classification.options import SequenceClassificationOptions
from ftr_plugins.columns import TEXT, TEXT_PAIR
from ftr_plugins.temperature import NO_ROWS, TEMPERATURE, fit_temperature, scaled

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import Model

CLASSIFIER_DROPOUT = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "modernbert"), "classifier_dropout"),
    "distilbert": "seq_classif_dropout",
    "deberta-v2": "cls_dropout",
}
"""By the kind of model: the key of its config for the dropout before its classifier."""
BEFORE_CLASSIFIER = ("dropout", "drop", "classifier.dropout")
"""Names of the module that does it. Decoders such as GPT-2 have none."""
CUT = "text cut (`head.windows=true` reads it whole)"


class SequenceClassificationHead(Head):
    """Single-label classification; long texts are cut, or read in windows with `head.windows`."""

    columns = (
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
    )

    def __init__(self, options: SequenceClassificationOptions | None = None) -> None:
        """Take the head's options."""
        super().__init__(options or SequenceClassificationOptions())

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model with the dropout of the options before its classifier."""
        from torch import nn

        built = super().build(model, labels, seed)
        if self.options.dropout is not None:
            key = CLASSIFIER_DROPOUT.get(built.config.model_type)
            if key is not None:
                setattr(built.config, key, self.options.dropout)
            found = [
                module
                for name, module in built.named_modules()
                if name in BEFORE_CLASSIFIER and isinstance(module, nn.Dropout)
            ]
            if not found:
                raise ModelError(
                    f"`head.dropout`: a `{built.config.model_type}` model has no dropout before "
                    "its classifier. Leave the key out."
                )
            for module in found:
                module.p = self.options.dropout
        return built

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """One feature a row, cut at `max_length` and counted, or several with `head.windows`: see
        `ftr_plugins.classification.windows`.
        """
        from ftr_plugins.classification.windows import in_windows

        columns = super().encode(rows, tokenizer, settings)
        if self.options.windows:
            return in_windows(columns, rows, tokenizer, settings)
        columns["notes"] = [note and CUT for note in columns["notes"]]
        return columns

    def decode(
        self, row: Row, records: Sequence[Any], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id`, the most probable `label`, its `label_id` and `score`, and the
        `probabilities` of all; several windows are averaged, then scaled by the temperature of
        `head.calibrate`.
        """
        from ftr_plugins.classification.windows import averaged

        return super().decode(row, [scaled(averaged(records), state)], state, labels)

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[Any]], labels: Sequence[str]
    ) -> State:
        """Return the temperature that fits these rows; `{}` without `head.calibrate`."""
        import numpy as np

        from ftr_plugins.classification.windows import averaged

        if self.options.calibrate is None or not rows:
            return {}
        table = np.stack([averaged(each) for each in records])
        fitted = fit_temperature(table, [int(row["label"]) for row in rows])
        return {CALIBRATION: {TEMPERATURE: fitted}}

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Say that nothing is fitted, where `head.calibrate` asks for it."""
        return None if self.options.calibrate is None else NO_ROWS

    def vote(self, outputs: Sequence[ModelOutput], weights: Sequence[float]) -> ModelOutput:
        """Return logits whose softmax is each class's share of the votes."""
        return super().vote(outputs, weights)

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `majority`, the most frequent class, and of `tf-idf`, with logistic
        regression.
        """
        from ftr_plugins.classification.baselines import baselines

        return baselines(train, heldout, labels)
