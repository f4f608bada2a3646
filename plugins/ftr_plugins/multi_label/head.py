"""The `multi-label-classification` head: a probability for each label, and for each a threshold
from which it applies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ftr.plugin import Column, Head, Outcome, Prediction, Row, State
from ftr.registry.protocols import CALIBRATION
from ftr_plugins.columns import TEXT, TEXT_PAIR
from ftr_plugins.multi_label.options import MultiLabelOptions
from ftr_plugins.multi_label.thresholds import (
    DEFAULT,
    applying,
    best_threshold,
    label_ids,
    prediction,
)
from ftr_plugins.temperature import (
    NO_ROWS,
    TEMPERATURE,
    fit_temperature_of_labels,
    scaled_labels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor
    from transformers.utils import ModelOutput

THRESHOLDS = "thresholds"


class MultiLabelHead(Head):
    """Classes that exclude nothing: a sigmoid for each, binary cross entropy."""

    columns = (
        TEXT,
        TEXT_PAIR,
        Column(
            name="labels",
            type="labels",
            aliases=("label", "tags", "topics", "categories", "genres"),
            required=False,
        ),
    )

    def __init__(self, options: MultiLabelOptions | None = None) -> None:
        """Take the head's options."""
        super().__init__(options or MultiLabelOptions())

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return each example's binary cross entropy, the mean over the labels, of shape (batch,).

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
        from torch.nn.functional import logsigmoid
        from transformers.modeling_outputs import SequenceClassifierOutput

        logits = torch.stack([one["logits"].float() for one in outputs])
        # The logarithms of the sums of the probabilities of both outcomes: exact also far from 0.5.
        yes, no = (logsigmoid(sign * logits).logsumexp(dim=0) for sign in (1, -1))
        return SequenceClassifierOutput(logits=yes - no)

    def reduce(self, outputs: ModelOutput, features: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return each text's probability of every label: the sigmoid of its logits (batch,
        labels), in fp32.
        """
        return list(outputs["logits"].float().sigmoid().cpu().numpy())

    def predict(
        self, row: Row, output: NDArray[np.float32], labels: Sequence[str], state: State
    ) -> Prediction:
        """Return the `labels` that apply, their `label_ids`, and the `probabilities` of all.

        Calibrated thresholds are of the probabilities before `head.calibrate` scales them, so that
        it changes no label. `head.threshold` is one of the probabilities that are shown.
        """
        shown = scaled_labels(output, state)
        fixed = self.options.threshold
        calibrated = state.get(THRESHOLDS, {}) if fixed is None else {}
        default = DEFAULT if fixed is None else fixed
        thresholds = [calibrated.get(label, default) for label in labels]
        return prediction(
            applying(shown if fixed is not None else output, thresholds), shown, labels
        )

    def compare(self, row: Row, prediction: Prediction) -> tuple[list[int], list[int]]:
        """Return 0 or 1 for each label, predicted and true."""
        numbers = range(len(prediction["probabilities"]))
        return (
            [int(number in prediction["label_ids"]) for number in numbers],
            [int(number in label_ids(row)) for number in numbers],
        )

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return tables (rows, labels): `predictions` and `references` of 0 and 1, and the
        `probabilities`.
        """
        return {
            **super().score_inputs(rows, predictions, labels),
            "probabilities": [list(one["probabilities"].values()) for one in predictions],
        }

    def calibrate(
        self,
        rows: Sequence[Row],
        records: Sequence[Sequence[NDArray[np.float32]]],
        labels: Sequence[str],
    ) -> State:
        """Return the threshold of each label with the best F1 on these rows, by name, unless
        `head.threshold` fixes one; and with `head.calibrate` one temperature for all labels.
        """
        if not rows:
            return {}
        table = np.array([probabilities for (probabilities,) in records], dtype=np.float64)
        applies = np.array([[n in label_ids(row) for n in range(len(labels))] for row in rows])
        state: State = {}
        if self.options.threshold is None:
            state[THRESHOLDS] = {
                label: best_threshold(*columns)
                for label, *columns in zip(labels, table.T, applies.T, strict=True)
            }
        if self.options.calibrate is not None:
            fitted = fit_temperature_of_labels(table, applies)
            state[CALIBRATION] = {TEMPERATURE: fitted}
        return state

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Say that every label applies from one half, where no threshold is given, and that
        `head.calibrate` has nothing to fit.
        """
        unfitted = None if self.options.calibrate is None else NO_ROWS
        if self.options.threshold is not None:
            return unfitted
        line = (
            "no validation rows: no thresholds are calibrated, and a label applies from a "
            "probability of 0.5. `head.threshold` sets another"
        )
        return line if unfitted is None else f"{line}; {unfitted}"

    def remarks(
        self, rows: Sequence[Row], metrics: Sequence[str], labels: Sequence[str]
    ) -> list[str]:
        """Name the labels that no row has."""
        used = {number for row in rows for number in label_ids(row)}
        unused = [f"`{label}`" for number, label in enumerate(labels) if number not in used]
        if not unused:
            return []
        line = f"no row has the labels {', '.join(unused)}: their F1 and average precision are 0"
        if self.options.threshold is None:
            line += f", and thresholds calibrated on these rows are {DEFAULT} for them"
        return [line]

    def confidence(self, prediction: Prediction) -> float:
        """Return the probability that the whole set is right, if labels are independent: the
        product over the labels of p where it applies, of 1 - p elsewhere.
        """
        given, each = prediction["label_ids"], prediction["probabilities"].values()
        return float(math.prod(p if number in given else 1 - p for number, p in enumerate(each)))

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return the sets of labels, predicted and true, and the share of labels that are wrong."""
        found = []
        for row, one in zip(rows, predictions, strict=True):
            given, true = set(one["label_ids"]), set(label_ids(row))
            found.append(
                Outcome(
                    predicted=", ".join(one["labels"]) or "(no label)",
                    expected=", ".join(labels[n] for n in sorted(true)) or "(no label)",
                    error=len(given ^ true) / len(labels),
                    confidence=self.confidence(one),
                )
            )
        return found

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `majority`, the most frequent set, and of `tf-idf`, with a logistic
        regression for each label.
        """
        from ftr_plugins.multi_label.baselines import baselines

        return baselines(train, heldout, labels)
