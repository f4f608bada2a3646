"""What the sections of a configuration are made of: their base, and the kinds of values that keys take."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_bool(value: object) -> object:
    """Refuse `true` where a number is meant: pydantic would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def comma_list(value: object) -> object:
    """Return the parts of a text with commas; what is no text stays."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# The constraints come first: behind a validator pydantic leaves them out of the JSON Schema.
NUMBER = BeforeValidator(_no_bool)
Count = Annotated[int, Field(ge=1), NUMBER]
Several = Annotated[int, Field(ge=2, le=10_000), NUMBER]
Natural = Annotated[int, Field(ge=0), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Share = Annotated[float, Field(ge=0, lt=1), NUMBER]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(comma_list)]


class Section(BaseModel):
    """A group of keys: unknown ones are errors, and a value never changes once it is resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
