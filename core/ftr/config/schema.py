"""Every key of a run and of a sweep: types, defaults, ranges and descriptions."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from ftr.config.values import (
    NUMBER,
    Count,
    Name,
    Names,
    Natural,
    NotNegative,
    Positive,
    Section,
    Seed,
    Several,
    Share,
    comma_list,
    label_name,
    read_duration,
)

DEFAULT_STRIDE = 128


Cleaning = Literal["html", "urls", "users", "unicode", "whitespace"]


def _names_or_none(value: object) -> object:
    """Return the names of a text with commas; of nothing, none: a search space has both `html` and
    nothing to choose from.
    """
    return () if value is None or value == "" else comma_list(value)


Rate = Annotated[float, Field(ge=0, le=1), NUMBER]


class AugmentConfig(Section):
    """`data.augment.*`: changed copies of training rows, as in Wei and Zou 2019, "EDA"; words are
    changed at random.
    """

    copies: Annotated[int, Field(ge=1, le=100), NUMBER] = Field(
        default=1,
        description="Changed copies that join each training row, where any of the rates is above "
        "0.",
    )
    delete: Rate = Field(default=0.0, description="Share of the words of a copy that are left out.")
    swap: Rate = Field(
        default=0.0, description="Share of its words that change places with another one."
    )
    replace: Rate = Field(
        default=0.0, description="Share of its words that become another word of the training rows."
    )
    insert: Rate = Field(
        default=0.0,
        description="Words of the training rows that are put in, as a share of its words.",
    )

    @property
    def wanted(self) -> bool:
        """Whether any copies are made."""
        return any((self.delete, self.swap, self.replace, self.insert))


class DataConfig(Section):
    """`data.*`: which rows are used, what is done to their texts, how splits are made, and how long
    an input may be.
    """

    limit: Count | None = Field(
        default=None,
        description="At most this many training rows (or rows of a single file, before it is "
        "split).",
    )
    limit_validation: Count | None = Field(
        default=None, description="At most this many validation rows."
    )
    limit_test: Count | None = Field(default=None, description="At most this many test rows.")
    sample: Literal["random", "first"] = Field(
        default="random",
        description="Which rows a limit keeps: a seeded sample, or the first ones.",
    )
    validation_size: Share = Field(
        default=0.1,
        description="Share of the rows that a made validation split gets; 0 makes none.",
    )
    test_size: Share = Field(
        default=0.1, description="Share of the rows that a made test split gets; 0 makes none."
    )
    seed: Seed = Field(
        default=0,
        description="Seed of the sample and of made splits; independent of the training seed.",
    )
    max_invalid: Annotated[float, Field(ge=0, le=1), NUMBER] = Field(
        default=0.05,
        description="Share of a file's rows that may be unusable before the run stops.",
    )
    clean: Annotated[tuple[Cleaning, ...], BeforeValidator(_names_or_none)] = Field(
        default=(),
        description=(
            "What is cleaned from all texts, also those predicted later: `html`, `unicode` "
            "(NFKC), `urls` (become `http`), `users` (handles become `@user`), `whitespace`."
        ),
    )
    stop_words: Name | None = Field(
        default=None,
        description="Language, by its code, whose stop words are left out of all texts, also of "
        "those predicted later; null: none.",
    )
    duplicates: Literal["report", "remove"] = Field(
        default="report",
        description="Training rows that stand there twice, or in a held-out split too: said and "
        "counted, or removed from training.",
    )
    augment: AugmentConfig = Field(
        default_factory=AugmentConfig, description="Changed copies of training rows."
    )
    bootstrap: Seed | None = Field(
        default=None,
        description="Train on as many training rows drawn with replacement, with this seed; null: "
        "on each of them.",
    )
    max_length: Annotated[int, Field(ge=2), NUMBER] | None = Field(
        default=None,
        description="Longest input in tokens, special tokens included; null: the model's own "
        "limit, up to 512.",
    )
    stride: Natural = Field(
        default=DEFAULT_STRIDE,
        description="Tokens that neighbouring windows of a long input share; must be below "
        "`data.max_length`.",
    )
    cache: Name | None = Field(
        default=None, description="Folder for encoded rows; null: `FTR_CACHE`, or `~/.cache/ftr`."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_stride_fits(cls, values: object) -> object:
        """Shrink the default stride where `max_length` alone was given and is short."""
        if isinstance(values, dict) and "stride" not in values:
            longest = values.get("max_length")
            if isinstance(longest, int) and not isinstance(longest, bool) and longest > 0:
                return {
                    **values,
                    "stride": DEFAULT_STRIDE if longest >= 3 * DEFAULT_STRIDE else longest // 4,
                }
        return values

    @model_validator(mode="after")
    def _stride_below_length(self) -> "DataConfig":
        if self.max_length is not None and self.stride >= self.max_length:
            raise ValueError(
                f"`data.stride` ({self.stride}) must be below `data.max_length` "
                f"({self.max_length}): lower `data.stride` or raise `data.max_length`"
            )
        return self

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "DataConfig":
        if self.validation_size + self.test_size >= 1:
            raise ValueError(
                f"`data.validation_size` ({self.validation_size}) and `data.test_size` "
                f"({self.test_size}) leave no rows to train on: their sum must be below 1"
            )
        return self


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

"""`greedy` of transformers follows the training loss of single steps, which says little here, and
is left out.
"""

BitsAndBytes = Literal[
    "adamw_8bit",
    "adamw_bnb_8bit",
    "ademamix",
    "ademamix_8bit",
    "lion_8bit",
    "lion_32bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "paged_ademamix_8bit",
    "paged_ademamix_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
]
TorchAo = Literal["adamw_torch_4bit", "adamw_torch_8bit"]
ScheduleFree = Literal["schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd"]
"""Optimizers that average their weights themselves for an evaluation (Defazio et al. 2024)."""
Galore = Literal["galore_adamw", "galore_adamw_8bit", "galore_adafactor"]
Apollo = Literal["apollo_adamw"]
WhileBackward = Literal[
    "lomo",
    "adalomo",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "apollo_adamw_layerwise",
]
"""Optimizers that change the weights within each backward pass: refused, because a step of several
passes would be several steps.
"""
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adafactor",
    "adagrad",
    "sgd",
    "rmsprop",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adamw_anyprecision",
    "grokadamw",
    "stable_adamw",
    TorchAo,
    BitsAndBytes,
    ScheduleFree,
    Galore,
    Apollo,
    WhileBackward,
]


def _by_class(weights: object) -> object:
    """Return weights by the names that classes have, which YAML may have read as numbers or truth
    values.
    """
    if not isinstance(weights, dict):
        return weights
    for name, weight in weights.items():
        if weight is None:
            raise ValueError(
                f"`train.class_weights` has no number for `{name}`: write `{{name: 2}}`, with a "
                "space behind the colon"
            )
        if isinstance(weight, int | float) and not weight > 0:
            raise ValueError(
                f"`train.class_weights` of `{name}` is {weight}: a weight is a number above 0"
            )
    return {label_name(name): weight for name, weight in weights.items()}


class LoraConfig(Section):
    """`train.lora.*`: low-rank adapters (Hu et al. 2021) through `peft`: the backbone stays as it
    is.
    """

    rank: Natural = Field(default=0, description="Rank of the adapters; 0: none.")
    alpha: Positive | None = Field(
        default=None, description="Their scale is alpha / rank; null: twice the rank."
    )
    dropout: Share = Field(default=0.0, description="Dropout of what goes into an adapter.")
    targets: Names | None = Field(
        default=None,
        description="Names of the modules that get one, such as `query,value`, or `all-linear`; "
        "null: those `peft` knows for the model.",
    )
    merge: bool = Field(
        default=False,
        description="Write a plain checkpoint with the adapters added to the weights.",
    )


class TrainConfig(Section):
    """`train.*`: what of the model trains, the optimizer and its schedule, the loss, precision, and
    how batches are cut.
    """

    freeze: Natural | Literal["embeddings", "backbone"] | None = Field(
        default=None,
        description=(
            "What of the model does not train: `embeddings`, these and the lowest N layers, or all "
            "of the `backbone`, all but the head."
        ),
    )
    unfreeze: Count | Literal["all"] | None = Field(
        default=None,
        description="Of what `train.freeze` froze, so many layers begin to train at every epoch, "
        "the highest first; or `all` at once.",
    )
    frozen_epochs: Positive = Field(
        default=1.0, description="Epochs before the first of `train.unfreeze` begins to train."
    )
    layerwise_decay: Annotated[float, Field(gt=0, le=1), NUMBER] | None = Field(
        default=None,
        description="Each layer's learning rate is that of the layer above times this; null: all "
        "train alike.",
    )
    lora: LoraConfig = Field(
        default_factory=LoraConfig, description="Low-rank adapters through `peft`."
    )
    optimizer: Optimizer = Field(
        default="adamw_torch",
        description="Optimizer, by its transformers name; some need packages of their own.",
    )
    lr_scheduler: Schedule = Field(
        default="linear",
        description=(
            "Learning-rate schedule, by its transformers name; those with `min_lr` end at a tenth "
            "of the peak, `warmup_stable_decay` goes down in the last tenth of the steps, unless "
            "`trainer.lr_scheduler_kwargs` says otherwise."
        ),
    )
    warmup: NotNegative = Field(
        default=0.1,
        description="Warmup: below 1 a share of all steps, from 1 on a number of steps.",
    )
    weight_decay: NotNegative = Field(
        default=0.01, description="Weight decay of all weights but biases and norms."
    )
    max_grad_norm: NotNegative = Field(
        default=1.0, description="Gradients are clipped to this norm; 0 clips nothing."
    )
    label_smoothing: Share = Field(
        default=0.0,
        description="Share of each target that is spread evenly over all classes, or tokens.",
    )
    class_weights: Annotated[
        dict[Name, Positive] | Literal["auto"] | None, BeforeValidator(_by_class)
    ] = Field(
        default=None,
        description="Weight of each class in the loss, by name; `auto`: rows / (classes x rows of "
        "the class); null: all alike.",
    )
    sampler: Literal["shuffle", "weighted"] = Field(
        default="shuffle",
        description="Every row once an epoch, or as many rows drawn with replacement, each class "
        "as often as any other.",
    )
    ema: Share | None = Field(
        default=None,
        description="Decay a step of a moving average of the weights, which is evaluated and kept "
        "in their place; null: none.",
    )
    evaluate_every: Count | Literal["epoch"] = Field(
        default="epoch", description="Validate after every epoch, or after so many optimizer steps."
    )
    early_stopping_patience: Count | None = Field(
        default=None,
        description="Stop after so many evaluations without a better primary score; null: train "
        "all epochs.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Numeric precision; auto: what the hardware does well."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention implementation; auto: what the hardware does well."
    )
    dropout: Share | None = Field(
        default=None, description="Dropout of hidden states; null: the model's own."
    )
    attention_dropout: Share | None = Field(
        default=None, description="Dropout of attention probabilities; null: the model's own."
    )
    micro_batch_size: Count | Literal["auto"] = Field(
        default="auto",
        description="Examples per forward pass and worker; auto: by tokens, fewer where memory "
        "runs out. Results do not depend on it.",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Compute activations again for the gradients instead of keeping them: less "
        "memory, more time.",
    )
    eval_batch_size: Count | Literal["auto"] = Field(
        default="auto",
        description="Examples per forward pass in evaluation and prediction; auto: by their "
        "tokens, fewer where memory runs out.",
    )
    logging_steps: Count = Field(default=10, description="Optimizer steps between two log lines.")
    save_steps: Natural | Literal["auto"] = Field(
        default="auto",
        description="Optimizer steps between two checkpoints; auto: as often as costs at most a "
        "twentieth of the time; 0: none.",
    )
    save_total_limit: Count = Field(
        default=2, description="Checkpoints kept while training; all go when the run is done."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which weights the run keeps: best on validation, or those of the last step.",
    )
    eval_on_start: bool = Field(
        default=True,
        description="Evaluate before the first step too, to show what training gained.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "TrainConfig":
        if self.unfreeze is not None and self.freeze is None:
            raise ValueError(
                "`train.unfreeze` has nothing to unfreeze without `train.freeze`: set "
                "`train.freeze=backbone`, or leave it out"
            )
        if self.freeze is not None and self.lora.rank:
            raise ValueError(
                "`train.freeze` and `train.lora.rank` exclude each other: adapters leave the whole "
                "backbone as it is. Keep one"
            )
        if self.frozen_epochs != 1 and self.unfreeze is None:
            raise ValueError(
                "`train.frozen_epochs` says when `train.unfreeze` begins: set that too, or leave "
                "it out"
            )
        lora = {
            "alpha": self.lora.alpha,
            "dropout": self.lora.dropout,
            "targets": self.lora.targets,
            "merge": self.lora.merge,
        }
        for key, value in lora.items():
            if value and not self.lora.rank:
                raise ValueError(
                    f"`train.lora.{key}` is about adapters, and there are none without "
                    "`train.lora.rank`: set it, to 8 say"
                )
        if self.class_weights == "auto" and self.sampler == "weighted":
            raise ValueError(
                "`train.class_weights=auto` and `train.sampler=weighted` each make up for rare "
                "classes, both at once twice: leave one out"
            )
        if self.early_stopping_patience is not None and self.keep == "last":
            raise ValueError(
                "`train.early_stopping_patience` restores the best weights, which "
                "`train.keep=last` does not keep: leave one of them out"
            )
        return self


class Component(Section):
    """A dataset, model or head: its name (or path, or hub id) and the options that its own model
    accepts.
    """

    name: Name = Field(
        description="A registered name, or what the kind accepts besides: a path, "
        "`hub:owner/name`, a Hub id."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="The component's own options, all of them, defaults included.",
    )


class ComputeConfig(Section):
    """`compute.*`: where the training runs, and what each worker may use."""

    workers: Natural = Field(default=0, description="Worker processes; 0 trains in this process.")
    cpus: Positive | None = Field(
        default=None,
        description="CPU cores per worker; null: the machine's cores over the workers.",
    )
    gpus: NotNegative | None = Field(
        default=None,
        description="GPUs per worker; null: 1 where the machine has one for each worker, else 0.",
    )
    memory: Positive | None = Field(
        default=None,
        description="Memory per worker in GB that Ray sets aside; null: none is set aside.",
    )
    resources: dict[str, Positive] = Field(
        default_factory=dict,
        description="Custom Ray resources per worker, such as `{tpu_host: 1}`.",
    )
    retries: Natural = Field(
        default=3,
        description="Times a training goes on from its last checkpoint after a process of it died.",
    )
    address: Name | None = Field(
        default=None,
        description="Address of a Ray cluster (`host:port` or `auto`); null: this machine.",
    )
    storage: Name | None = Field(
        default=None,
        description="Where runs are mirrored to, such as `s3://bucket/folder`: for clusters whose "
        "nodes share no folder.",
    )


class CvConfig(Section):
    """`cv.*`: cross-validation."""

    folds: Several | None = Field(
        default=None,
        description="Train once for each of so many parts of the training rows, which it validates "
        "on; null: once, on a split.",
    )
    fold: Natural | None = Field(
        default=None,
        description="Train for this part alone, counted from 0; null: for each of `cv.folds`.",
    )


class RunConfig(Section):
    """Everything that decides a run.

    `model_dump(mode="json")` of it is enough to build it again.
    """

    task: Name | None = Field(
        default=None, description="A named bundle of dataset, model, head, metrics and defaults."
    )
    dataset: Component = Field(
        description="A registered dataset, a path, or `hub:owner/name`; `dataset.*` are its "
        "options."
    )
    model: Component = Field(
        description="A registered model, a Hub id, or a checkpoint directory; `model.*` are its "
        "options."
    )
    head: Component = Field(description="What stands on the model; `head.*` are its options.")
    metrics: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(comma_list)] = Field(
        description="Metric names; the first ranks checkpoints."
    )
    learning_rate: Positive = Field(default=5e-5, description="Peak learning rate.")
    batch_size: Count = Field(
        default=32,
        description="Examples per optimizer step over all workers; micro-batches follow from it.",
    )
    epochs: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False), NUMBER] = Field(
        default=3.0, description="Passes over the training rows; may be a fraction."
    )
    seed: Seed = Field(default=0, description="Seed of new weights, batch order and dropout.")
    init_seed: Seed | None = Field(
        default=None,
        description="Seed of new weights alone, such as the head's; null: `seed`. The members of a "
        "soup share it.",
    )
    seeds: Annotated[int, Field(ge=1, le=10_000), NUMBER] = Field(
        default=1,
        description="Train so many times, with `seed`, `seed`+1, ...: mean, standard deviation, "
        "and each of them.",
    )
    cv: CvConfig = Field(default_factory=CvConfig, description="Cross-validation.")
    ensemble: Literal["bagging", "seeds", "folds", "soup"] | None = Field(
        default=None,
        description=(
            "Train several and join them: on bootstrap samples, with seeds, or on folds, their "
            "outputs averaged; or seeds' weights (`soup`)."
        ),
    )
    boosting: Several | None = Field(
        default=None,
        description="Train so many in turn, each on rows weighted by what the ones before got "
        "wrong (SAMME), and let them vote.",
    )
    ensemble_size: Several | None = Field(
        default=None,
        description="How many `ensemble` joins; null: `seeds`, or `cv.folds`, where they say; else "
        "3, and 5 folds.",
    )
    baselines: bool = Field(
        default=True,
        description=(
            "Set simple baselines beside the result: the majority class and TF-IDF with logistic "
            "regression, or the span of the context that overlaps the question best."
        ),
    )
    data: DataConfig = Field(
        default_factory=DataConfig, description="Splits, limits, lengths and the encoding cache."
    )
    train: TrainConfig = Field(
        default_factory=TrainConfig, description="Schedule, precision, batches."
    )
    trainer: dict[str, Any] = Field(
        default_factory=dict,
        description="Any other field of `transformers.TrainingArguments`, by its own name.",
    )
    compute: ComputeConfig = Field(
        default_factory=ComputeConfig, description="Where the training runs."
    )
    output: Name = Field(default="runs", description="Folder that run directories go to.")
    plugins: Annotated[tuple[Name, ...], BeforeValidator(comma_list)] = Field(
        default=(),
        description="Plugins of one Python file each; a path in a file is relative to that. "
        "`--plugin FILE` adds to them.",
    )

    @model_validator(mode="after")
    def _goes_together(self) -> "RunConfig":
        several = {
            "boosting": self.boosting is not None,
            "ensemble": self.ensemble is not None,
            "seeds": self.seeds > 1,
            "cv.folds": self.cv.folds is not None and self.cv.fold is None,
        }
        asked = [key for key, given in several.items() if given]
        together = {("ensemble", "seeds"): ("seeds", "soup"), ("ensemble", "cv.folds"): ("folds",)}
        if len(asked) > 1 and self.ensemble not in together.get((asked[0], asked[1]), ()):
            raise ValueError(
                f"`{asked[0]}` and `{asked[1]}` each train several models, in ways that exclude "
                "each other: leave one out"
            )
        if self.train.unfreeze is not None and self.train.frozen_epochs >= self.epochs:
            raise ValueError(
                f"`train.frozen_epochs={self.train.frozen_epochs:g}` is not below "
                f"`epochs={self.epochs:g}`: nothing would be unfrozen. Train longer, or leave "
                "`train.unfreeze` out"
            )
        if self.cv.fold is not None and (self.cv.folds is None or self.cv.fold >= self.cv.folds):
            raise ValueError(
                f"`cv.fold={self.cv.fold}` needs `cv.folds` to be above it: set "
                f"`cv.folds={self.cv.fold + 1}` or more"
            )
        if self.ensemble == "folds" and self.cv.fold is not None:
            raise ValueError(
                "`ensemble=folds` trains for every fold, `cv.fold` for one alone: leave one of "
                "them out"
            )
        if self.ensemble_size is not None and self.ensemble is None:
            raise ValueError(
                "`ensemble_size` says how many models `ensemble` joins: set `ensemble`, or leave "
                "it out"
            )
        number = {
            "seeds": self.seeds if self.seeds > 1 else None,
            "soup": self.seeds if self.seeds > 1 else None,
            "folds": self.cv.folds,
        }
        known = number.get(self.ensemble or "")
        if self.ensemble_size is not None and known is not None and known != self.ensemble_size:
            key = "cv.folds" if self.ensemble == "folds" else "seeds"
            raise ValueError(
                f"`ensemble_size` is {self.ensemble_size} and `{key}` {known}: they say the same "
                f"of `ensemble={self.ensemble}`, so leave one out"
            )
        if self.ensemble == "bagging" and self.data.bootstrap is not None:
            raise ValueError(
                "`ensemble=bagging` sets `data.bootstrap` for each of its models: leave "
                "`data.bootstrap` out"
            )
        return self

    @property
    def weights_seed(self) -> int:
        """The seed of new weights."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def several(self) -> bool:
        """Whether several models are trained rather than one."""
        return (
            self.seeds > 1
            or self.ensemble is not None
            or self.boosting is not None
            or (self.cv.folds is not None and self.cv.fold is None)
        )


class PretrainedOptions(BaseModel):
    """Options of every pretrained model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the checkpoint. Recorded in the run."
    )


ENSEMBLE = re.compile(r"^(top|soup)([2-9]|[1-9][0-9]+)$")


def _ensemble(value: str) -> str:
    if not ENSEMBLE.match(value):
        raise ValueError("it should be top or soup and a number from 2 on, such as top3 or soup3")
    return value


Ensemble = Annotated[
    str, AfterValidator(_ensemble), WithJsonSchema({"type": "string", "pattern": ENSEMBLE.pattern})
]
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
        description="At most this many configurations; null: the whole grid with `searcher=grid`, "
        f"else {DEFAULT_TRIALS}, or as many as `time_budget`, `max_total_epochs` and `min_gain` "
        "allow where one of them is given.",
    )
    time_budget: Seconds | None = Field(
        default=None,
        description="Stop after this time: `2h`, `30m`, `90s`, `1h30m`, or a number of seconds; "
        "trials under way end with it.",
    )
    max_total_epochs: Positive | None = Field(
        default=None, description="At most this many epochs of training over all trials."
    )
    min_gain: Positive | None = Field(
        default=None,
        description="Stop when more trials are expected to better the best ranked score by less "
        "than this.",
    )
    searcher: Searcher = Field(
        default="optuna",
        description="What proposes configurations; `grid` by itself when every searched key is a "
        "`grid(…)`.",
    )
    scheduler: Scheduler = Field(
        default="asha",
        description="What stops or changes trials under way; `fifo` lets each train to its end.",
    )
    grace_period: Positive = Field(
        default=1.0, description="Epochs a trial trains before `scheduler` may stop it."
    )
    reduction_factor: Annotated[int, Field(ge=2), NUMBER] = Field(
        default=3, description="Of so many trials `asha` and `hyperband` let one go on."
    )
    repeats: Count = Field(
        default=1,
        description="Trainings of each configuration, with different seeds; it ranks by their "
        "mean.",
    )
    metric: Name | None = Field(
        default=None,
        description="The score that ranks trials; null: the main score of the first of `metrics`.",
    )
    mode: Mode | None = Field(
        default=None,
        description="Whether more or less of the ranked score is better; null: as its metric says.",
    )
    max_concurrent: Count | None = Field(
        default=None, description="At most this many trials at a time; null: as many as fit."
    )
    ensemble: Ensemble | None = Field(
        default=None,
        description="What the best are joined to: `top3` averages probabilities of three, `soup3` "
        "weights, where that validates better.",
    )


SWEEP_KEYS = tuple(SweepConfig.model_fields)
