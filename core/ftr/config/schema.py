"""Every key of a run and of a sweep: types, defaults, ranges and descriptions."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ftr.config.values import (
    NUMBER,
    Count,
    KeyConflictError,
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
Rate = Annotated[float, Field(ge=0, le=1), NUMBER]


def _refuse(wrong: bool, keys: str, message: str) -> None:
    """Raise `KeyConflictError` about `keys`, separated by blanks, where values are `wrong`."""
    if wrong:
        raise KeyConflictError(message, keys.split())


def _names_or_none(value: object) -> object:
    # A search space has both `html` and nothing to choose from.
    return () if value is None or value == "" else comma_list(value)


class AugmentConfig(Section):
    """`data.augment.*`: changed copies of training rows (Wei and Zou 2019, "EDA"). Words are
    changed at random.
    """

    copies: Annotated[int, Field(ge=1, le=100), NUMBER] = 1
    """Changed copies added per training row; needs one of the rates above 0."""
    delete: Rate = 0.0
    """Share of the words of a copy that are deleted."""
    swap: Rate = 0.0
    """Share of the words of a copy that are swapped with another word of it."""
    replace: Rate = 0.0
    """Share of the words of a copy that are replaced by words of the training rows."""
    insert: Rate = 0.0
    """Words of the training rows inserted into a copy, as a share of its words."""

    @property
    def wanted(self) -> bool:
        """Whether any copies are made."""
        return any((self.delete, self.swap, self.replace, self.insert))


class DataConfig(Section):
    """`data.*`: which rows are used, how their texts are cleaned, how splits are made, and how long
    an input may be.
    """

    limit: Count | None = None
    """Maximum number of training rows (or rows of a single file, before it is split)."""
    limit_validation: Count | None = None
    """Maximum number of validation rows."""
    limit_test: Count | None = None
    """Maximum number of test rows."""
    sample: Literal["random", "first"] = "random"
    """Which rows a limit keeps: a seeded random sample, or the first ones."""
    validation_size: Share = 0.1
    """Share of the rows for a validation split, where the data has none; 0: no split."""
    test_size: Share = 0.1
    """Share of the rows for a test split, where the data has none; 0: no split."""
    seed: Seed = 0
    """Seed of the sample and of the splits; independent of the training seed."""
    max_invalid: Rate = 0.05
    """Share of a file's rows that may be invalid before the run stops."""
    clean: Annotated[tuple[Cleaning, ...], BeforeValidator(_names_or_none)] = ()
    """Cleaning steps for all texts, in prediction too: `html`, `unicode` (NFKC), `urls` (become
    `http`), `users` (handles become `@user`), `whitespace`."""
    stop_words: Name | None = None
    """Language code whose stop words are removed from all texts, in prediction too; null: none."""
    duplicates: Literal["report", "remove"] = "report"
    """Training rows that are duplicated, or are in a held-out split too: `report` counts them,
    `remove` also removes them from training."""
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """Changed copies of training rows."""
    bootstrap: Seed | None = None
    """Seed of a bootstrap sample: train on as many rows, drawn with replacement; null: on every
    row once."""
    max_length: Annotated[int, Field(ge=2), NUMBER] | None = None
    """Maximum input length in tokens, special tokens included; null: the model's own limit, up to
    512."""
    stride: Natural = DEFAULT_STRIDE
    """Overlap of neighbouring windows of a long input, in tokens; must be below
    `data.max_length`."""
    cache: Name | None = None
    """Folder for encoded rows; null: `FTR_CACHE`, or `~/.cache/ftr`."""

    @model_validator(mode="before")
    @classmethod
    def _default_stride_fits(cls, values: object) -> object:
        """Shrink the default stride where `max_length` alone was given and is short."""
        if isinstance(values, dict) and "stride" not in values:
            longest = values.get("max_length")
            if type(longest) is int and 0 < longest < 3 * DEFAULT_STRIDE:
                return {**values, "stride": longest // 4}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse(
            self.max_length is not None and self.stride >= self.max_length,
            "data.stride data.max_length",
            f"`data.stride` ({self.stride}) must be below `data.max_length` ({self.max_length}): "
            "lower `data.stride` or raise `data.max_length`",
        )
        _refuse(
            self.validation_size + self.test_size >= 1,
            "data.validation_size data.test_size",
            f"`data.validation_size` ({self.validation_size}) and `data.test_size` "
            f"({self.test_size}) leave no rows to train on: their sum must be below 1",
        )
        return self


# `greedy` of transformers is left out: it follows the training loss of single steps.
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
    """Return weights by class name; YAML may have read the names as numbers or truth values."""
    if not isinstance(weights, dict):
        return weights
    for name, weight in weights.items():
        if weight is None:
            raise ValueError(
                f"class `{name}` has no weight: write `{{name: 2}}`, with a space after the colon"
            )
        if isinstance(weight, int | float) and not weight > 0:
            raise ValueError(f"class `{name}` has the weight {weight}: it must be above 0")
    return {label_name(name): weight for name, weight in weights.items()}


class LoraConfig(Section):
    """`train.lora.*`: low-rank adapters (Hu et al. 2021) by `peft`; the backbone is frozen."""

    rank: Natural = 0
    """Rank of the adapters; 0: no adapters."""
    alpha: Positive | None = None
    """The adapters are scaled by alpha / rank; null: twice the rank."""
    dropout: Share = 0.0
    """Dropout of the input of an adapter."""
    targets: Names | None = None
    """Names of the modules with an adapter, such as `query,value`, or `all-linear`; null: the
    defaults of `peft` for the model."""
    merge: bool = False
    """Add the adapters to the weights at the end and write a plain checkpoint."""


class TrainConfig(Section):
    """`train.*`: which weights train, optimizer, schedule, loss, precision and batches."""

    freeze: Natural | Literal["embeddings", "backbone"] | None = None
    """What does not train: the `embeddings`; a number: these and that many of the lowest layers;
    `backbone`: everything but the head."""
    unfreeze: Count | Literal["all"] | None = None
    """Number of layers frozen by `train.freeze` that start to train at each epoch, highest first;
    `all`: all at once."""
    cache_outputs: bool = True
    """With `train.freeze=backbone` and no dropout in the backbone: run it once for each example,
    and read its outputs from the cache in every epoch and trial."""
    frozen_epochs: Positive = 1.0
    """Epochs before `train.unfreeze` starts."""
    layerwise_decay: Annotated[float, Field(gt=0, le=1), NUMBER] | None = None
    """Factor from each layer's learning rate to that of the layer below; null: one learning rate
    for all layers."""
    lora: LoraConfig = Field(default_factory=LoraConfig)
    """Low-rank adapters, by `peft`."""
    optimizer: Optimizer = "adamw_torch_fused"
    """Optimizer, by its transformers name; some need a package of their own."""
    lr_scheduler: Schedule = "linear"
    """Learning-rate schedule, by its transformers name. Those with `min_lr` end at a tenth of the
    peak and `warmup_stable_decay` decays in the last tenth of the steps, unless
    `trainer.lr_scheduler_kwargs` sets it."""
    warmup: NotNegative = 0.1
    """Warmup: below 1 a share of all steps, from 1 on a number of steps."""
    weight_decay: NotNegative = 0.01
    """Weight decay of all weights except biases and norms."""
    max_grad_norm: NotNegative = 1.0
    """Maximum gradient norm; larger gradients are clipped; 0: no clipping."""
    label_smoothing: Share = 0.0
    """Share of each target that is spread evenly over all classes, or tokens."""
    class_weights: Annotated[
        dict[Name, Positive] | Literal["auto"] | None, BeforeValidator(_by_class)
    ] = None
    """Weight of each class in the loss, by class name; `auto`: rows / (classes x rows of the
    class); null: 1 for all."""
    sampler: Literal["shuffle", "weighted"] = "shuffle"
    """`shuffle`: every row once an epoch; `weighted`: as many rows, drawn with replacement, each
    class equally often."""
    ema: Share | None = None
    """Decay per step of an exponential moving average of the weights, which is evaluated and saved
    instead of them; null: no average."""
    evaluate_every: Count | Literal["epoch"] = "epoch"
    """Validate after each epoch, or after this many optimizer steps."""
    early_stopping_patience: Count | None = None
    """Stop after this many evaluations without a better primary score; null: train all epochs."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Numeric precision; auto: chosen for the hardware."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Attention implementation; auto: chosen for the hardware."""
    dropout: Share | None = None
    """Dropout of hidden states; null: the model's own."""
    attention_dropout: Share | None = None
    """Dropout of attention probabilities; null: the model's own."""
    micro_batch_size: Count | Literal["auto"] = "auto"
    """Examples per forward pass and worker; auto: by number of tokens, fewer where memory runs out.
    Results do not depend on it."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    eval_batch_size: Count | Literal["auto"] = "auto"
    """Examples per forward pass in evaluation and prediction; auto: by number of tokens, fewer
    where memory runs out."""
    logging_steps: Count = 10
    """Optimizer steps between two log lines."""
    save_steps: Natural | Literal["auto"] = "auto"
    """Optimizer steps between two checkpoints; auto: saving takes at most a twentieth of the time;
    0: no checkpoints."""
    save_total_limit: Count = 2
    """Maximum number of checkpoints during training; none remain when the run is done."""
    keep: Literal["best", "last"] = "best"
    """Weights that the run saves: the best on validation, or those of the last step."""
    eval_on_start: bool = True
    """Evaluate before the first step too, to show what training gained."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        lora = self.lora
        _refuse(
            self.unfreeze is not None and self.freeze is None,
            "train.unfreeze train.freeze",
            "`train.unfreeze` has nothing to unfreeze without `train.freeze`: set "
            "`train.freeze=backbone`, or leave it out",
        )
        _refuse(
            self.freeze is not None and lora.rank > 0,
            "train.freeze train.lora.rank",
            "`train.freeze` and `train.lora.rank` exclude each other: with adapters the whole "
            "backbone is frozen. Leave one out",
        )
        _refuse(
            self.frozen_epochs != 1 and self.unfreeze is None,
            "train.frozen_epochs train.unfreeze",
            "`train.frozen_epochs` has no effect without `train.unfreeze`: set that too, or leave "
            "it out",
        )
        for key in ("alpha", "dropout", "targets", "merge"):
            _refuse(
                bool(getattr(lora, key)) and not lora.rank,
                f"train.lora.{key} train.lora.rank",
                f"`train.lora.{key}` has no effect without `train.lora.rank`: set that too, for "
                "example to 8",
            )
        _refuse(
            self.class_weights == "auto" and self.sampler == "weighted",
            "train.class_weights train.sampler",
            "`train.class_weights=auto` and `train.sampler=weighted` both compensate for rare "
            "classes: leave one out",
        )
        _refuse(
            self.early_stopping_patience is not None and self.keep == "last",
            "train.early_stopping_patience train.keep",
            "`train.early_stopping_patience` restores the best weights, which `train.keep=last` "
            "does not keep: leave one out",
        )
        return self


class Component(Section):
    """A dataset, model or head: its name (or path, or Hub id) and its options."""

    name: Name
    """A registered name, or what the kind also accepts: a path, `hub:owner/name`, a Hub id."""
    options: dict[str, Any] = Field(default_factory=dict)
    """All options of the component, defaults included."""


class ComputeConfig(Section):
    """`compute.*`: where the training runs, and what each worker may use."""

    workers: Natural = 0
    """Worker processes; 0: train in this process."""
    cpus: Positive | None = None
    """CPU cores per worker; null: the machine's cores divided by the workers."""
    gpus: NotNegative | None = None
    """GPUs per worker; null: 1 where the machine has one for each worker, else 0."""
    memory: Positive | None = None
    """Memory per worker, in GB, that Ray reserves; null: none."""
    resources: dict[str, Positive] = Field(default_factory=dict)
    """Custom Ray resources per worker, such as `{tpu_host: 1}`."""
    retries: Natural = 3
    """How often a training resumes from its last checkpoint after one of its processes died."""
    address: Name | None = None
    """Address of a Ray cluster (`host:port` or `auto`); null: this machine."""
    storage: Name | None = None
    """Where runs are mirrored, such as `s3://bucket/folder`; for clusters whose nodes share no
    folder."""


class CvConfig(Section):
    """`cv.*`: cross-validation."""

    folds: Several | None = None
    """Number of folds: one training for each, validated on that fold; null: one training."""
    fold: Natural | None = None
    """Train for this fold only, counted from 0; null: for each of `cv.folds`."""


class RunConfig(Section):
    """The complete configuration of a run; `model_dump(mode="json")` has all of it."""

    task: Name | None = None
    """A named bundle of dataset, model, head, metrics and defaults."""
    dataset: Component
    """A registered dataset, a path, a URL (`s3://`, `https://`, `hf://`), or `hub:owner/name`;
    `dataset.*` are its options."""
    model: Component
    """A registered model, a Hub id, or a checkpoint directory; `model.*` are its options."""
    head: Component
    """The head on the model, which defines inputs, outputs and loss; `head.*` are its options."""
    metrics: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(comma_list)]
    """Metric names; the first ranks checkpoints."""
    learning_rate: Positive = 5e-5
    """Peak learning rate."""
    batch_size: Count = 32
    """Examples per optimizer step over all workers; the size of micro-batches follows from it."""
    epochs: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False), NUMBER] = 3.0
    """Passes over the training rows; may be a fraction."""
    seed: Seed = 0
    """Seed of new weights, batch order and dropout."""
    init_seed: Seed | None = None
    """Seed of new weights only, such as the head's; null: `seed`. The members of a soup share
    it."""
    seeds: Annotated[int, Field(ge=1, le=10_000), NUMBER] = 1
    """Number of trainings with `seed`, `seed`+1, ...; reports mean, standard deviation and each
    run."""
    cv: CvConfig = Field(default_factory=CvConfig)
    """Cross-validation."""
    ensemble: Literal["bagging", "seeds", "folds", "soup"] | None = None
    """Train several models and average their outputs: on bootstrap samples (`bagging`), with
    `seeds`, or on `folds`; `soup` averages the weights of several seeds."""
    boosting: Several | None = None
    """Number of models trained in turn, each on rows weighted by the errors of those before
    (SAMME); they vote."""
    ensemble_size: Several | None = None
    """Number of models of `ensemble`; null: `seeds` or `cv.folds` where set, else 3, or 5 folds."""
    baselines: bool = True
    """Report simple baselines too: the majority class and TF-IDF with logistic regression, or the
    span of the context that overlaps the question most."""
    data: DataConfig = Field(default_factory=DataConfig)
    """Splits, limits, lengths and the encoding cache."""
    train: TrainConfig = Field(default_factory=TrainConfig)
    """Schedule, precision, batches."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Any other field of `transformers.TrainingArguments`, by its own name."""
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    """Where the training runs."""
    output: Name = "runs"
    """Folder for run directories."""
    tracker: Annotated[tuple[Name, ...], BeforeValidator(_names_or_none)] = ()
    """Experiment trackers that get every run, such as `mlflow,tensorboard`; each is configured by
    its own environment variables."""
    plugins: Annotated[tuple[Name, ...], BeforeValidator(comma_list)] = ()
    """Plugins of one Python file each; in a configuration file, paths are relative to that file.
    `--plugin FILE` adds to them."""

    @property
    def weights_seed(self) -> int:
        """The seed of new weights."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def several_keys(self) -> list[str]:
        """The keys that ask for several models."""
        several = {
            "boosting": self.boosting is not None,
            "ensemble": self.ensemble is not None,
            "seeds": self.seeds > 1,
            "cv.folds": self.cv.folds is not None and self.cv.fold is None,
        }
        return [key for key, given in several.items() if given]

    @property
    def several(self) -> bool:
        """Whether several models are trained rather than one."""
        return bool(self.several_keys)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.train.unfreeze is not None:
            _refuse(
                self.train.frozen_epochs >= self.epochs,
                "train.frozen_epochs epochs",
                f"`train.frozen_epochs={self.train.frozen_epochs:g}` is not below "
                f"`epochs={self.epochs:g}`, so nothing would be unfrozen: train longer, or leave "
                "`train.unfreeze` out",
            )
        if (fold := self.cv.fold) is not None:
            _refuse(
                self.cv.folds is None or fold >= self.cv.folds,
                "cv.fold cv.folds",
                f"`cv.fold={fold}` needs `cv.folds` to be above it: set `cv.folds={fold + 1}` or "
                "more",
            )
        self._check_ensemble()
        return self

    def _check_ensemble(self) -> None:
        sources, size = self.several_keys, self.ensemble_size
        together = {("ensemble", "seeds"): ("seeds", "soup"), ("ensemble", "cv.folds"): ("folds",)}
        if len(sources) > 1:
            first, second = sources[:2]
            _refuse(
                self.ensemble not in together.get((first, second), ()),
                f"{first} {second}",
                f"`{first}` and `{second}` each train several models, in ways that exclude each "
                "other: leave one out",
            )
        _refuse(
            self.ensemble == "folds" and self.cv.fold is not None,
            "ensemble cv.fold",
            "`ensemble=folds` trains for every fold, `cv.fold` for only one: leave one out",
        )
        _refuse(
            size is not None and self.ensemble is None,
            "ensemble_size ensemble",
            "`ensemble_size` is the number of models of `ensemble`: set `ensemble`, or leave it "
            "out",
        )
        key, known = {
            "seeds": ("seeds", self.seeds if self.seeds > 1 else None),
            "soup": ("seeds", self.seeds if self.seeds > 1 else None),
            "folds": ("cv.folds", self.cv.folds),
        }.get(self.ensemble or "", ("", None))
        _refuse(
            size is not None and known is not None and known != size,
            f"ensemble_size {key}",
            f"`ensemble_size` is {size} and `{key}` {known}: both set the number of models of "
            f"`ensemble={self.ensemble}`, so leave one out",
        )
        _refuse(
            self.ensemble == "bagging" and self.data.bootstrap is not None,
            "ensemble data.bootstrap",
            "`ensemble=bagging` sets `data.bootstrap` for each of its models: leave "
            "`data.bootstrap` out",
        )


class PretrainedOptions(Section):
    """Options of every pretrained model."""

    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint; the run record says so."""


Format = Literal[
    "auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "squad", "text", "conll"
]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".label": "text",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conll",
    ".annotated": "conll",
}
PACKED = (".gz", ".bz2", ".xz", ".zip")
EXCEL = (".xlsx", ".xls", ".xlsm", ".ods")
DATA_SUFFIXES = (*SUFFIXES, *PACKED, *EXCEL)
HUB = "hub:"
"""Before the id of a dataset on the Hub."""
LabelFrom = Literal["auto", "column", "folder", "file"]
Quoting = Literal["auto", "standard", "lenient", "none"]
DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "blank": " "}
"""Words for delimiters: the shell and YAML drop a blank or a tab."""


def _separator(value: object) -> object:
    found = DELIMITERS.get(value, value) if isinstance(value, str) else value
    if found in (None, "none") or (isinstance(found, str) and len(found) == 1):
        return found
    raise ValueError("give one character, `tab`, `space` or `none`")


Separator = Annotated[str | None, BeforeValidator(_separator)]


Files = Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None
"""A path or pattern, or several."""


class FileOptions(Section):
    """Options of dataset files, besides their columns."""

    train: Files = None
    """File of the train split, instead of the one found; also a pattern (`data/part-*.parquet`), a
    list of files (`[a.csv,b.csv]`), which are one split in that order, or a folder of shards."""
    validation: Files = None
    """File or files of the validation split; `none`: no such split."""
    test: Files = None
    """File or files of the test split; `none`: no such split."""
    labels_file: str | None = None
    """File with one label per line, for a text file with one text per line."""
    label_from: LabelFrom = "auto"
    """Where labels come from: a `column`, or the names of the `folder` or `file` of each text."""
    format: Format = "auto"
    """Format of the files; auto: by name and content."""
    encoding: str = "utf-8"
    """Encoding of text files, by its Python name; a byte order mark is removed."""
    delimiter: str | None = None
    """Delimiter of CSV cells, and between text and label of text files: one character, `tab` or
    `space`; null: detected."""
    quoting: Quoting = "auto"
    """Quoting of CSV cells; none: quotes are text; lenient: quotes inside a cell need no
    doubling."""
    header: Literal["auto"] | bool = "auto"
    """Whether the first row of a CSV file names the columns."""
    id: str | int | None = None
    """Column that holds the row ids, by name or 0-based number; `none`: rows are numbered."""
    separator: Separator = None
    """What divides the labels in a cell: one character, `tab` or `space`; `none`: a cell is one
    label; null: detected."""

    @field_validator("delimiter", mode="before")
    @classmethod
    def _one_character(cls, value: object) -> object:
        found = DELIMITERS.get(value, value) if isinstance(value, str) else value
        if found is None or (isinstance(found, str) and len(found) == 1 and found not in '\r\n"'):
            return found
        raise ValueError("give one character, `tab` or `space`")


class HubOptions(Section):
    """Options of a dataset on the Hub, besides its columns."""

    config: str | None = None
    """Configuration of the dataset, if it has several."""
    revision: str | None = None
    """Commit, tag or branch of the dataset."""
    train: str | None = None
    """Name on the Hub of the train split."""
    validation: str | None = None
    """Name on the Hub of the validation split."""
    test: str | None = None
    """Name on the Hub of the test split."""
    id: str | int | None = None
    """Column that holds the row ids; `none`: rows are numbered."""
    separator: Separator = None
    """What divides the labels in a cell, as in files."""


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
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "format": "duration"},
            ]
        }
    ),
]
Mode = Literal["max", "min"]
DEFAULT_TRIALS = 20
DEFAULT_MODELS = 3


class SweepConfig(Section):
    """The keys of a sweep besides those of a run."""

    trials: Count | None = None
    """Maximum number of configurations; null: the whole grid with `searcher=grid`, no maximum where
    `time_budget`, `max_total_epochs` or `min_gain` is set, else 20."""
    time_budget: Seconds | None = None
    """Stop after this time: `2h`, `30m`, `90s`, `1h30m`, or a number of seconds; running trials are
    stopped too."""
    max_total_epochs: Positive | None = None
    """Maximum number of epochs over all trials."""
    min_gain: Positive | None = None
    """Stop when the expected gain of more trials over the best score is below this."""
    searcher: Literal["random", "grid", "optuna", "hyperopt"] = "optuna"
    """What proposes configurations; default `grid` where every searched key is a `grid(…)`."""
    scheduler: Literal["asha", "fifo", "median", "hyperband", "pbt"] = "asha"
    """What stops or changes running trials; `fifo` trains each to its end."""
    grace_period: Positive = 1.0
    """Epochs that a trial trains before `scheduler` may stop it."""
    reduction_factor: Annotated[int, Field(ge=2), NUMBER] = 3
    """`asha` and `hyperband` continue one of this many trials."""
    repeats: Count = 1
    """Trainings of each configuration, with different seeds; the mean score ranks it."""
    metric: Name | None = None
    """The score that ranks trials; null: the main score of the first of `metrics`."""
    mode: Mode | None = None
    """Whether a higher (`max`) or lower (`min`) score is better; null: the mode of the metric."""
    max_concurrent: Count | None = None
    """Maximum number of trials at a time; null: as many as the machines have room for."""
    ensemble: Ensemble | None = Field(None, examples=["top3"])
    """Join the best trials: `top3` averages the probabilities of three; `soup3` averages the
    weights, where that improves the validation score."""
    keep_models: Count | Literal["all"] | None = None
    """How many trials keep their models, the best ones: the model of any other is removed as soon
    as it cannot be among these; null: 3, or as many as `ensemble` joins."""

    @model_validator(mode="after")
    def _keeps_members(self) -> Self:
        _refuse(
            isinstance(self.keep_models, int) and self.keep_models < self.ensemble_size,
            "keep_models ensemble",
            f"`keep_models={self.keep_models}` removes models that `ensemble={self.ensemble}` "
            f"joins: set `keep_models` to {self.ensemble_size} or more, or leave it out",
        )
        return self

    @property
    def models_kept(self) -> int | None:
        """The number of trials that keep their models; None: all."""
        if self.keep_models is None:
            return max(DEFAULT_MODELS, self.ensemble_size)
        return None if self.keep_models == "all" else self.keep_models

    @property
    def ensemble_size(self) -> int:
        """The number of trials that `ensemble` joins, at most; 0 without it."""
        return int(self.ensemble.removeprefix("top").removeprefix("soup")) if self.ensemble else 0


SWEEP_KEYS = tuple(SweepConfig.model_fields)
