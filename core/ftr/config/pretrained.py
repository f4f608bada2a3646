"""The options every pretrained model takes."""

from pydantic import BaseModel, ConfigDict, Field


class PretrainedOptions(BaseModel):
    """Options of every pretrained model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the checkpoint. Recorded in the run.")
