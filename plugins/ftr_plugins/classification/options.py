"""Options of the sequence-classification head."""

from pydantic import Field

from ftr.plugin import Options


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
