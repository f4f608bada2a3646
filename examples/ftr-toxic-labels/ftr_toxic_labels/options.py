"""Options of the multi-label head."""

from pydantic import BaseModel, ConfigDict, Field


class MultiLabelOptions(BaseModel):
    """`head.*` of `multi-label`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability from which a label applies; null: tuned on the validation rows, "
        "for each label.",
    )
