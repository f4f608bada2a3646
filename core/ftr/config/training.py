"""`train.*`: what of the model trains and how."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ftr.config.sections import NUMBER, Count, Name, Names, Natural, NotNegative, Positive, Section, Share
from ftr.config.values import label_name

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

"""`greedy` of transformers follows the training loss of single steps, which says little here, and is left out."""

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adafactor",
    "adamw_anyprecision",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "ademamix",
    "sgd",
    "adagrad",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix_8bit",
    "lion_8bit",
    "lion_32bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "lomo",
    "adalomo",
    "grokadamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "stable_adamw",
]


def _by_class(weights: object) -> object:
    """Return weights by the names that classes have, which YAML may have read as numbers or truth values."""
    if not isinstance(weights, dict):
        return weights
    for name, weight in weights.items():
        if weight is None:
            raise ValueError(f"`train.class_weights` has no number for `{name}`: write `{{name: 2}}`, with a space behind the colon")
        if isinstance(weight, int | float) and not weight > 0:
            raise ValueError(f"`train.class_weights` of `{name}` is {weight}: a weight is a number above 0")
    return {label_name(name): weight for name, weight in weights.items()}


class LoraConfig(Section):
    """`train.lora.*`: low-rank adapters (Hu et al. 2021) through `peft`: the backbone stays as it is."""

    rank: Natural = Field(default=0, description="Rank of the adapters; 0: none.")
    alpha: Positive | None = Field(default=None, description="Their scale is alpha / rank; null: twice the rank.")
    dropout: Share = Field(default=0.0, description="Dropout of what goes into an adapter.")
    targets: Names | None = Field(
        default=None,
        description="Names of the modules that get one, such as `query,value`, or `all-linear`; null: those `peft` knows for the model.",
    )
    merge: bool = Field(default=False, description="Write a plain checkpoint with the adapters added to the weights.")


class TrainConfig(Section):
    """`train.*`: what of the model trains, the optimizer and its schedule, the loss, precision, and how batches are cut."""

    freeze: Natural | Literal["embeddings", "backbone"] | None = Field(
        default=None,
        description=(
            "What of the model does not train: `embeddings`, these and the lowest N layers, or all of the `backbone`, all but the head."
        ),
    )
    unfreeze: Count | Literal["all"] | None = Field(
        default=None,
        description="Of what `train.freeze` froze, so many layers begin to train at every epoch, the highest first; or `all` at once.",
    )
    frozen_epochs: Positive = Field(default=1.0, description="Epochs before the first of `train.unfreeze` begins to train.")
    layer_decay: Annotated[float, Field(gt=0, le=1), NUMBER] | None = Field(
        default=None, description="Each layer's learning rate is that of the layer above times this; null: all train alike."
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Low-rank adapters through `peft`.")
    optimizer: Optimizer = Field(default="adamw_torch", description="Optimizer, by its transformers name; some need packages of their own.")
    schedule: Schedule = Field(
        default="linear",
        description=(
            "Learning-rate schedule, by its transformers name; those with `min_lr` end at a tenth of the peak, `warmup_stable_decay` "
            "goes down in the last tenth of the steps, unless `trainer.lr_scheduler_kwargs` says otherwise."
        ),
    )
    warmup: NotNegative = Field(default=0.1, description="Warmup: below 1 a share of all steps, from 1 on a number of steps.")
    weight_decay: NotNegative = Field(default=0.01, description="Weight decay of all weights but biases and norms.")
    max_grad_norm: NotNegative = Field(default=1.0, description="Gradients are clipped to this norm; 0 clips nothing.")
    label_smoothing: Share = Field(default=0.0, description="Share of each target that is spread evenly over all classes, or tokens.")
    class_weights: Annotated[dict[Name, Positive] | Literal["auto"] | None, BeforeValidator(_by_class)] = Field(
        default=None,
        description="Weight of each class in the loss, by name; `auto`: rows / (classes x rows of the class); null: all alike.",
    )
    sampler: Literal["shuffle", "weighted"] = Field(
        default="shuffle", description="Every row once an epoch, or as many rows drawn with replacement, each class as often as any other."
    )
    ema: Share | None = Field(
        default=None, description="Decay a step of a moving average of the weights, which is evaluated and kept in their place; null: none."
    )
    evaluate_every: Count | Literal["epoch"] = Field(
        default="epoch", description="Validate after every epoch, or after so many optimizer steps."
    )
    early_stopping: Count | None = Field(
        default=None, description="Stop after so many evaluations without a better primary score; null: train all epochs."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Numeric precision; auto: what the hardware does well."
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention implementation; auto: what the hardware does well."
    )
    dropout: Share | None = Field(default=None, description="Dropout of hidden states; null: the model's own.")
    attention_dropout: Share | None = Field(default=None, description="Dropout of attention probabilities; null: the model's own.")
    micro_batch: Count | Literal["auto"] = Field(
        default="auto",
        description="Examples per forward pass and worker; auto: by tokens, fewer where memory runs out. Results do not depend on it.",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Compute activations again for the gradients instead of keeping them: less memory, more time.",
    )
    eval_batch: Count | Literal["auto"] = Field(
        default="auto",
        description="Examples per forward pass in evaluation and prediction; auto: by their tokens, fewer where memory runs out.",
    )
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

    @model_validator(mode="after")
    def _goes_together(self) -> "TrainConfig":
        if self.unfreeze is not None and self.freeze is None:
            raise ValueError(
                "`train.unfreeze` has nothing to unfreeze without `train.freeze`: set `train.freeze=backbone`, or leave it out"
            )
        if self.freeze is not None and self.lora.rank:
            raise ValueError(
                "`train.freeze` and `train.lora.rank` exclude each other: adapters leave the whole backbone as it is. Keep one"
            )
        if self.frozen_epochs != 1 and self.unfreeze is None:
            raise ValueError("`train.frozen_epochs` says when `train.unfreeze` begins: set that too, or leave it out")
        lora = {"alpha": self.lora.alpha, "dropout": self.lora.dropout, "targets": self.lora.targets, "merge": self.lora.merge}
        for key, value in lora.items():
            if value and not self.lora.rank:
                raise ValueError(f"`train.lora.{key}` is about adapters, and there are none without `train.lora.rank`: set it, to 8 say")
        if self.class_weights == "auto" and self.sampler == "weighted":
            raise ValueError(
                "`train.class_weights=auto` and `train.sampler=weighted` each make up for rare classes, both at once twice: leave one out"
            )
        if self.early_stopping is not None and self.keep == "last":
            raise ValueError(
                "`train.early_stopping` restores the best weights, which `train.keep=last` does not keep: leave one of them out"
            )
        return self
