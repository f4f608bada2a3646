"""Options of the multi-label-classification head."""

from typing import Literal

from pydantic import Field

from ftr.plugin import Options
from ftr_plugins.classification.options import CALIBRATE


class MultiLabelOptions(Options):
    """`head.*` of `multi-label-classification`."""

    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability from which a label applies; null: calibrated for each label on "
        "the validation rows.",
    )
    calibrate: Literal["temperature"] | None = Field(None, description=CALIBRATE)
