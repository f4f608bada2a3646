"""The options of the `extractive-qa` head."""

from typing import Literal

from pydantic import Field

from ftr.plugin import Options


class ExtractiveQAOptions(Options):
    """Options of the `extractive-qa` head, given as `head.<name>=value`."""

    n_best: int = Field(
        default=20,
        ge=1,
        description="Spans kept for each window; the score of an answer is its share among them.",
    )
    max_answer_length: int = Field(
        default=30, ge=1, description="Longest answer that is looked for, in tokens."
    )
    max_question_length: int = Field(
        default=64, ge=1, description="Questions longer than this many tokens are cut, and counted."
    )
    threshold: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="Answer with nothing when the no-answer score is above this. Not given: tuned "
        "on the validation split when it holds questions without an answer.",
    )
    calibrate: Literal["temperature"] | None = Field(
        default=None,
        description="`temperature`: predictions get a `confidence`, the probability that the "
        "answer is right, fitted on the validation rows; null: the `score` alone.",
    )
