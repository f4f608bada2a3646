"""What can be said about the sample."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Language = Literal["de", "en", "es", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class SampleOptions(BaseModel):
    """`dataset.*` of `ner-sample`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: Annotated[tuple[Language, ...], Field(min_length=1), BeforeValidator(_listed)] = (
        Field(LANGUAGES, description="Languages of the sentences: `en`, or `en,de`.")
    )
