"""Options of the multi-label-classification head."""

from pydantic import BaseModel, ConfigDict, Field


class MultiLabelOptions(BaseModel):
    """`head.*` of `multi-label-classification`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability from which a label applies; null: calibrated for each label on "
        "the validation rows.",
    )
