"""The fields of a run's configuration, their defaults and the ranges they accept."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_bool(value: object) -> object:
    """Refuse `true` where a number is meant: pydantic would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# The constraints come first: behind a validator pydantic leaves them out of the JSON Schema.
NUMBER = BeforeValidator(_no_bool)
Count = Annotated[int, Field(ge=1), NUMBER]
Natural = Annotated[int, Field(ge=0), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Share = Annotated[float, Field(ge=0, lt=1), NUMBER]
Name = Annotated[str, Field(min_length=1)]

DEFAULT_STRIDE = 128

Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "warmup_stable_decay",
]


class Section(BaseModel):
    """A group of keys: unknown ones are errors, and a value never changes once it is resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Component(Section):
    """A dataset, model or head: its name (or path, or hub id) and the options that its own model accepts."""

    name: Name = Field(description="A registered name, or what the kind accepts besides: a path, `hub:owner/name`, a Hub id.")
    options: dict[str, Any] = Field(default_factory=dict, description="The component's own options, all of them, defaults included.")


class DataConfig(Section):
    """`data.*`: how many rows are used, how splits are made, and how long an input may be."""

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


class TrainConfig(Section):
    """`train.*`: the optimizer's schedule, numeric precision, and how batches are cut for the hardware."""

    schedule: Schedule = Field(default="linear", description="Learning-rate schedule, by its transformers name.")
    warmup: NotNegative = Field(default=0.1, description="Warmup: below 1 a share of all steps, from 1 on a number of steps.")
    weight_decay: NotNegative = Field(default=0.01, description="Weight decay of all weights but biases and norms.")
    max_grad_norm: NotNegative = Field(default=1.0, description="Gradients are clipped to this norm; 0 clips nothing.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Numeric precision; auto: what the hardware does well."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention implementation; auto: what the hardware does well."
    )
    dropout: Share | None = Field(default=None, description="Dropout of hidden states; null: the model's own.")
    attention_dropout: Share | None = Field(default=None, description="Dropout of attention probabilities; null: the model's own.")
    micro_batch: Count | Literal["auto"] = Field(
        default="auto", description="Examples per forward pass and worker; auto: the largest that fits. Results do not depend on it."
    )
    eval_batch: Count | Literal["auto"] = Field(default="auto", description="Examples per forward pass in evaluation and prediction.")
    log_steps: Count = Field(default=10, description="Optimizer steps between two log lines.")
    checkpoint_steps: Natural | Literal["auto"] = Field(
        default="auto",
        description="Optimizer steps between two checkpoints; auto: as often as costs at most a twentieth of the time; 0: none.",
    )
    keep_checkpoints: Count = Field(default=2, description="Checkpoints kept while training; all go when the run is done.")
    keep: Literal["best", "last"] = Field(
        default="best", description="Which weights the run keeps: best on validation, or those of the last step."
    )
    evaluate_untrained: bool = Field(default=True, description="Evaluate before the first step too, to show what training gained.")


class ComputeConfig(Section):
    """`compute.*`: where the training runs, and what each worker may use."""

    workers: Natural = Field(default=0, description="Worker processes; 0 trains in this process.")
    cpus: Positive | None = Field(default=None, description="CPU cores per worker; null: the machine's cores over the workers.")
    gpus: NotNegative | None = Field(
        default=None, description="GPUs per worker; null: 1 where the machine has one for each worker, else 0."
    )
    memory: Positive | None = Field(default=None, description="Memory per worker in GB that Ray sets aside; null: none is set aside.")
    resources: dict[str, Positive] = Field(default_factory=dict, description="Custom Ray resources per worker, such as `{tpu_host: 1}`.")
    retries: Natural = Field(default=3, description="Times a training goes on from its last checkpoint after a process of it died.")
    address: Name | None = Field(default=None, description="Address of a Ray cluster (`host:port` or `auto`); null: this machine.")
    storage: Name | None = Field(
        default=None, description="Where runs are mirrored to, such as `s3://bucket/folder`: for clusters whose nodes share no folder."
    )


class RunConfig(Section):
    """Everything that decides a run. `model_dump(mode="json")` of it is enough to build it again."""

    task: Name | None = Field(default=None, description="A named bundle of dataset, model, head, metrics and defaults.")
    dataset: Component = Field(description="A registered dataset, a path, or `hub:owner/name`; `dataset.*` are its options.")
    model: Component = Field(description="A registered model, a Hub id, or a checkpoint directory; `model.*` are its options.")
    head: Component = Field(description="What stands on the model; `head.*` are its options.")
    metrics: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(_comma_list)] = Field(
        description="Metric names; the first ranks checkpoints."
    )
    learning_rate: Positive = Field(default=5e-5, description="Peak learning rate.")
    batch_size: Count = Field(default=32, description="Examples per optimizer step over all workers; micro-batches follow from it.")
    epochs: Positive = Field(default=3.0, description="Passes over the training rows; may be a fraction.")
    seed: Seed = Field(default=0, description="Seed of new weights, batch order and dropout.")
    data: DataConfig = Field(default_factory=DataConfig, description="Splits, limits, lengths and the encoding cache.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Schedule, precision, batches.")
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="Any other field of `transformers.TrainingArguments`, by its own name."
    )
    compute: ComputeConfig = Field(default_factory=ComputeConfig, description="Where the training runs.")
    output: Name = Field(default="runs", description="Folder that run directories go to.")
    plugins: Annotated[tuple[Name, ...], BeforeValidator(_comma_list)] = Field(
        default=(), description="Plugins of one Python file each; a path in a file is relative to that. `--plugin FILE` adds to them."
    )
