"""Options of the multi-label-classification head."""

from pydantic import Field

from ftr.plugin import Options


class MultiLabelOptions(Options):
    """`head.*` of `multi-label-classification`."""

    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability from which a label applies; null: calibrated for each label on "
        "the validation rows.",
    )
