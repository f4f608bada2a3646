"""`data.*`: which rows are used, what is done to their texts, how splits are made, and how long an input may be."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ftr.config.sections import NUMBER, Count, Name, Natural, Section, Seed, Share, comma_list

DEFAULT_STRIDE = 128


Cleaning = Literal["html", "urls", "users", "unicode", "whitespace"]


def _names_or_none(value: object) -> object:
    """Return the names of a text with commas; of nothing, none: a search space has both `html` and nothing to choose from."""
    return () if value is None or value == "" else comma_list(value)


Rate = Annotated[float, Field(ge=0, le=1), NUMBER]


class AugmentConfig(Section):
    """`data.augment.*`: changed copies of training rows, as in Wei and Zou 2019, "EDA"; words are changed at random."""

    copies: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(
        default=1, description="Changed copies that join each training row, where any of the rates is above 0."
    )
    delete: Rate = Field(default=0.0, description="Share of the words of a copy that are left out.")
    swap: Rate = Field(default=0.0, description="Share of its words that change places with another one.")
    replace: Rate = Field(default=0.0, description="Share of its words that become another word of the training rows.")
    insert: Rate = Field(default=0.0, description="Words of the training rows that are put in, as a share of its words.")

    @property
    def wanted(self) -> bool:
        """Whether any copies are made."""
        return any((self.delete, self.swap, self.replace, self.insert))


class DataConfig(Section):
    """`data.*`: which rows are used, what is done to their texts, how splits are made, and how long an input may be."""

    limit: Count | None = Field(default=None, description="At most this many training rows (or rows of a single file, before it is split).")
    limit_validation: Count | None = Field(default=None, description="At most this many validation rows.")
    limit_test: Count | None = Field(default=None, description="At most this many test rows.")
    sample: Literal["random", "first"] = Field(
        default="random", description="Which rows a limit keeps: a seeded sample, or the first ones."
    )
    validation_share: Share = Field(default=0.1, description="Share of the rows that a made validation split gets; 0 makes none.")
    test_share: Share = Field(default=0.1, description="Share of the rows that a made test split gets; 0 makes none.")
    seed: Seed = Field(default=0, description="Seed of the sample and of made splits; independent of the training seed.")
    max_rejected: Annotated[float, Field(ge=0, le=1), NUMBER] = Field(
        default=0.05, description="Share of a file's rows that may be unusable before the run stops."
    )
    clean: Annotated[tuple[Cleaning, ...], BeforeValidator(_names_or_none)] = Field(
        default=(),
        description=(
            "What is cleaned from all texts, also those predicted later: `html`, `unicode` (NFKC), `urls` (become `http`), `users` "
            "(handles become `@user`), `whitespace`."
        ),
    )
    stop_words: Name | None = Field(
        default=None,
        description="Language, by its code, whose stop words are left out of all texts, also of those predicted later; null: none.",
    )
    duplicates: Literal["report", "remove"] = Field(
        default="report",
        description="Training rows that stand there twice, or in a held-out split too: said and counted, or removed from training.",
    )
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="Changed copies of training rows.")
    bootstrap: Seed | None = Field(
        default=None, description="Train on as many training rows drawn with replacement, with this seed; null: on each of them."
    )
    max_length: Annotated[int, Field(ge=2), NUMBER] | None = Field(
        default=None, description="Longest input in tokens, special tokens included; null: the model's own limit, up to 512."
    )
    stride: Natural = Field(
        default=DEFAULT_STRIDE, description="Tokens that neighbouring windows of a long input share; must be below `data.max_length`."
    )
    cache: Name | None = Field(default=None, description="Folder for encoded rows; null: `FTR_CACHE`, or `~/.cache/ftr`.")

    @model_validator(mode="before")
    @classmethod
    def _default_stride_fits(cls, values: object) -> object:
        """Shrink the default stride where `max_length` alone was given and is short."""
        if isinstance(values, dict) and "stride" not in values:
            longest = values.get("max_length")
            if isinstance(longest, int) and not isinstance(longest, bool) and longest > 0:
                return {**values, "stride": DEFAULT_STRIDE if longest >= 3 * DEFAULT_STRIDE else longest // 4}
        return values

    @model_validator(mode="after")
    def _stride_below_length(self) -> "DataConfig":
        if self.max_length is not None and self.stride >= self.max_length:
            raise ValueError(
                f"`data.stride` ({self.stride}) must be below `data.max_length` ({self.max_length}): "
                "lower `data.stride` or raise `data.max_length`"
            )
        return self

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "DataConfig":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"`data.validation_share` ({self.validation_share}) and `data.test_share` ({self.test_share}) leave no rows to train on: "
                "their sum must be below 1"
            )
        return self
