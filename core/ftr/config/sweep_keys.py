"""The keys of a sweep: its budgets, how it searches, and what it makes of the trials."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ftr.config.duration import read_duration
from ftr.config.sections import NUMBER, Count, Name, Positive, Section

ENSEMBLE = re.compile(r"^(top|soup)([2-9]|[1-9][0-9]+)$")


def _ensemble(value: str) -> str:
    if not ENSEMBLE.match(value):
        raise ValueError("it should be top or soup and a number from 2 on, such as top3 or soup3")
    return value


Ensemble = Annotated[str, AfterValidator(_ensemble), WithJsonSchema({"type": "string", "pattern": ENSEMBLE.pattern})]
Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    NUMBER,
    BeforeValidator(read_duration),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
Searcher = Literal["random", "grid", "optuna", "hyperopt"]
Scheduler = Literal["asha", "fifo", "median", "hyperband", "pbt"]
Mode = Literal["max", "min"]
DEFAULT_TRIALS = 20


class SweepConfig(Section):
    """What a sweep has besides a run's configuration and the search space."""

    trials: Count | None = Field(
        default=None,
        description=f"At most this many configurations; null: the whole grid with `searcher=grid`, else {DEFAULT_TRIALS}, "
        "or as many as `time`, `epochs_total` and `patience` allow where one of them is given.",
    )
    time: Seconds | None = Field(
        default=None, description="Stop after this time: `2h`, `30m`, `90s`, `1h30m`, or a number of seconds; trials under way end with it."
    )
    epochs_total: Positive | None = Field(default=None, description="At most this many epochs of training over all trials.")
    patience: Positive | None = Field(
        default=None, description="Stop when more trials are expected to better the best ranked score by less than this."
    )
    searcher: Searcher = Field(
        default="optuna", description="What proposes configurations; `grid` by itself when every searched key is a `grid(…)`."
    )
    scheduler: Scheduler = Field(default="asha", description="What stops or changes trials under way; `fifo` lets each train to its end.")
    grace: Positive = Field(default=1.0, description="Epochs a trial trains before `scheduler` may stop it.")
    reduction: Annotated[int, Field(ge=2), NUMBER] = Field(default=3, description="Of so many trials `asha` and `hyperband` let one go on.")
    repeats: Count = Field(default=1, description="Trainings of each configuration, with different seeds; it ranks by their mean.")
    metric: Name | None = Field(default=None, description="The score that ranks trials; null: the main score of the first of `metrics`.")
    mode: Mode | None = Field(default=None, description="Whether more or less of the ranked score is better; null: as its metric says.")
    concurrent: Count | None = Field(default=None, description="At most this many trials at a time; null: as many as fit.")
    ensemble: Ensemble | None = Field(
        default=None,
        description="What the best are joined to: `top3` averages probabilities of three, `soup3` weights, where that validates better.",
    )


SWEEP_KEYS = tuple(SweepConfig.model_fields)
