"""Options of the sequence-classification head."""

from pydantic import BaseModel, ConfigDict, Field


class SequenceClassificationOptions(BaseModel):
    """`head.*` of `sequence-classification`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout before the classifier; null: the model's own."
    )
