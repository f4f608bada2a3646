"""The base class of a component's options."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Options of a component: frozen, and unknown keys are refused.

    class Focus(Options):
        focus: float = Field(0.0, ge=0, description="how much less easy texts count")

    `HeadSpec(…, options=Focus)` makes `head.focus=1` a setting; the target gets the instance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
