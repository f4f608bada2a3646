"""The fields of a run's configuration, their defaults and the ranges they accept."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ftr.config.data import DataConfig
from ftr.config.sections import NUMBER, Count, Name, Natural, NotNegative, Positive, Section, Seed, Several, comma_list
from ftr.config.training import TrainConfig


class Component(Section):
    """A dataset, model or head: its name (or path, or hub id) and the options that its own model accepts."""

    name: Name = Field(description="A registered name, or what the kind accepts besides: a path, `hub:owner/name`, a Hub id.")
    options: dict[str, Any] = Field(default_factory=dict, description="The component's own options, all of them, defaults included.")


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


class CvConfig(Section):
    """`cv.*`: cross-validation."""

    folds: Several | None = Field(
        default=None,
        description="Train once for each of so many parts of the training rows, which it validates on; null: once, on a split.",
    )
    fold: Natural | None = Field(default=None, description="Train for this part alone, counted from 0; null: for each of `cv.folds`.")


class RunConfig(Section):
    """Everything that decides a run. `model_dump(mode="json")` of it is enough to build it again."""

    task: Name | None = Field(default=None, description="A named bundle of dataset, model, head, metrics and defaults.")
    dataset: Component = Field(description="A registered dataset, a path, or `hub:owner/name`; `dataset.*` are its options.")
    model: Component = Field(description="A registered model, a Hub id, or a checkpoint directory; `model.*` are its options.")
    head: Component = Field(description="What stands on the model; `head.*` are its options.")
    metrics: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(comma_list)] = Field(
        description="Metric names; the first ranks checkpoints."
    )
    learning_rate: Positive = Field(default=5e-5, description="Peak learning rate.")
    batch_size: Count = Field(default=32, description="Examples per optimizer step over all workers; micro-batches follow from it.")
    epochs: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False), NUMBER] = Field(
        default=3.0, description="Passes over the training rows; may be a fraction."
    )
    seed: Seed = Field(default=0, description="Seed of new weights, batch order and dropout.")
    init_seed: Seed | None = Field(
        default=None, description="Seed of new weights alone, such as the head's; null: `seed`. The members of a soup share it."
    )
    seeds: Annotated[int, Field(ge=1, le=10_000), NUMBER] = Field(
        default=1, description="Train so many times, with `seed`, `seed`+1, ...: mean, standard deviation, and each of them."
    )
    cv: CvConfig = Field(default_factory=CvConfig, description="Cross-validation.")
    ensemble: Literal["bagging", "seeds", "folds", "soup"] | None = Field(
        default=None,
        description=(
            "Train several and join them: on bootstrap samples, with seeds, or on folds, their outputs averaged; "
            "or seeds' weights (`soup`)."
        ),
    )
    boosting: Several | None = Field(
        default=None,
        description="Train so many in turn, each on rows weighted by what the ones before got wrong (SAMME), and let them vote.",
    )
    members: Several | None = Field(
        default=None, description="How many `ensemble` joins; null: `seeds`, or `cv.folds`, where they say; else 3, and 5 folds."
    )
    baselines: bool = Field(
        default=True,
        description=(
            "Set simple baselines beside the result: the majority class and TF-IDF with logistic regression, or the span of the context "
            "that overlaps the question best."
        ),
    )
    data: DataConfig = Field(default_factory=DataConfig, description="Splits, limits, lengths and the encoding cache.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="Schedule, precision, batches.")
    trainer: dict[str, Any] = Field(
        default_factory=dict, description="Any other field of `transformers.TrainingArguments`, by its own name."
    )
    compute: ComputeConfig = Field(default_factory=ComputeConfig, description="Where the training runs.")
    output: Name = Field(default="runs", description="Folder that run directories go to.")
    plugins: Annotated[tuple[Name, ...], BeforeValidator(comma_list)] = Field(
        default=(), description="Plugins of one Python file each; a path in a file is relative to that. `--plugin FILE` adds to them."
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
            raise ValueError(f"`{asked[0]}` and `{asked[1]}` each train several models, in ways that exclude each other: leave one out")
        if self.train.unfreeze is not None and self.train.frozen_epochs >= self.epochs:
            raise ValueError(
                f"`train.frozen_epochs={self.train.frozen_epochs:g}` is not below `epochs={self.epochs:g}`: nothing would be unfrozen. "
                "Train longer, or leave `train.unfreeze` out"
            )
        if self.cv.fold is not None and (self.cv.folds is None or self.cv.fold >= self.cv.folds):
            raise ValueError(f"`cv.fold={self.cv.fold}` needs `cv.folds` to be above it: set `cv.folds={self.cv.fold + 1}` or more")
        if self.ensemble == "folds" and self.cv.fold is not None:
            raise ValueError("`ensemble=folds` trains for every fold, `cv.fold` for one alone: leave one of them out")
        if self.members is not None and self.ensemble is None:
            raise ValueError("`members` says how many models `ensemble` joins: set `ensemble`, or leave it out")
        number = {"seeds": self.seeds if self.seeds > 1 else None, "soup": self.seeds if self.seeds > 1 else None, "folds": self.cv.folds}
        known = number.get(self.ensemble or "")
        if self.members is not None and known is not None and known != self.members:
            key = "cv.folds" if self.ensemble == "folds" else "seeds"
            raise ValueError(
                f"`members` is {self.members} and `{key}` {known}: they say the same of `ensemble={self.ensemble}`, so leave one out"
            )
        if self.ensemble == "bagging" and self.data.bootstrap is not None:
            raise ValueError("`ensemble=bagging` sets `data.bootstrap` for each of its models: leave `data.bootstrap` out")
        return self

    @property
    def weights_seed(self) -> int:
        """The seed of new weights."""
        return self.seed if self.init_seed is None else self.init_seed

    @property
    def several(self) -> bool:
        """Whether several models are trained rather than one."""
        return (
            self.seeds > 1 or self.ensemble is not None or self.boosting is not None or (self.cv.folds is not None and self.cv.fold is None)
        )
