"""Options of the sequence-classification head."""

from typing import Literal

from pydantic import Field

from ftr.plugin import Options

CALIBRATE = (
    "`temperature`: fit probabilities on the validation rows, so that of the predictions with a "
    "confidence of 0.8 about 80 % are right; null: those of the model."
)


class SequenceClassificationOptions(Options):
    """`head.*` of `sequence-classification`."""

    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout before the classifier; null: the model's own."
    )
    windows: bool = Field(
        False,
        description="Read texts longer than `data.max_length` in windows that share `data.stride` "
        "tokens; the prediction is the mean of the windows' log-probabilities.",
    )
    calibrate: Literal["temperature"] | None = Field(None, description=CALIBRATE)
