"""What can be said about the sample and the model."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Part = Literal["books", "food", "hotels", "phones", "traditional"]
PARTS: tuple[Part, ...] = get_args(Part)


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class SampleOptions(BaseModel):
    """`dataset.*` of `chinese-reviews`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: Annotated[tuple[Part, ...], Field(min_length=1), BeforeValidator(_listed)] = Field(
        PARTS,
        description="Files to read: `hotels`, or `hotels,food`. `traditional` is in traditional "
        "characters, about all of these.",
    )


class HanziOptions(BaseModel):
    """`model.*` of `hanzi-bert`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int = Field(2, ge=1, le=12, description="Layers of the model.")
    width: int = Field(
        96, ge=8, le=1024, multiple_of=8, description="Size of a hidden state, in eight heads."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout of hidden states and of attention."
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="Seed of the weights below the head; the head's follow from the seed of the "
        "run.",
    )
