"""Optimizers, learning-rate schedulers, averaging of weights, and
`transformers.TrainingArguments`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftr.config.schema import (
    Apollo,
    BitsAndBytes,
    Galore,
    RunConfig,
    ScheduleFree,
    TorchAo,
    WhileBackward,
)
from ftr.errors import ConfigError
from ftr.model.parameters import Part
from ftr.model.transformers_private import use_one_gpu
from ftr.train.hardware import Numerics, device_name
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import TrainingArguments

SCHEDULE_FREE: tuple[str, ...] = get_args(ScheduleFree)
LOW_RANK: tuple[str, ...] = get_args(Literal[Galore, Apollo])
"""Optimizers that make groups of the matrices in `trainer.optim_target_modules`, without weight
decay.
"""
PACKAGES: dict[str, tuple[str, ...]] = {
    "bitsandbytes": get_args(Literal[BitsAndBytes, Galore, Apollo]),
    "torchao": get_args(TorchAo),
    "torch_xla": ("adamw_torch_xla",),
    "torch_npu": ("adamw_torch_npu_fused",),
    "torchdistx": ("adamw_anyprecision",),
    "galore_torch": get_args(Galore),
    "apollo_torch": get_args(Apollo),
    "grokadamw": ("grokadamw",),
    "schedulefree": SCHEDULE_FREE,
    "optimi": ("stable_adamw",),
}
"""Modules, other than torch and transformers, that optimizers need."""
DISTRIBUTIONS = {
    "galore_torch": "galore-torch",
    "apollo_torch": "apollo-torch",
    "optimi": "torch-optimi",
}
"""What to install where its name is not that of the module."""

PLATEAU = "reduce_lr_on_plateau"
MIN_LR_RATE = 0.1
"""Where `cosine_with_min_lr` and `cosine_warmup_with_min_lr` end, as a share of the peak: as in
Hoffmann et al. 2022.
"""
DECAY_SHARE = 0.1
"""Share of all steps in which `warmup_stable_decay` decays: as in Hu et al. 2024 (MiniCPM)."""


def check_optimizer(config: RunConfig) -> None:
    """Raise `ConfigError` where `train.optimizer` cannot be used: its package is missing, or it
    excludes something else.
    """
    asked = config.train.optimizer
    if asked in get_args(WhileBackward):
        plain = asked.removesuffix("_layerwise")
        other = f"`{plain}`" if plain != asked else "another"
        raise ConfigError(
            f"`train.optimizer={asked}` changes the weights within each backward pass, but a step "
            f"of `batch_size` may take several: it cannot be used. Use {other}."
        )
    missing = [
        DISTRIBUTIONS.get(module, module)
        for module, names in PACKAGES.items()
        if asked in names and find_spec(module) is None
    ]
    if missing:
        raise ConfigError(
            f"`train.optimizer={asked}` needs {' and '.join(f'`{name}`' for name in missing)}, not "
            f"installed here: `pip install {' '.join(missing)}`, or use another."
        )
    if asked == "galore_adamw_8bit" and device_name() != "cuda":
        raise ConfigError(f"`train.optimizer={asked}` needs a GPU. Use `galore_adamw`.")
    if asked in SCHEDULE_FREE and config.train.lr_scheduler != "constant":
        raise ConfigError(
            f"`train.optimizer={asked}` allows no scheduler besides its own warmup: set "
            f"`train.lr_scheduler=constant`, not `{config.train.lr_scheduler}`."
        )
    if asked in LOW_RANK and config.train.layerwise_decay is not None:
        raise ConfigError(
            f"`train.layerwise_decay` and `train.optimizer={asked}` each make their own groups of "
            "the weights: leave one out."
        )


def schedule_arguments(config: RunConfig, steps: int, scorer: Scorer | None) -> dict[str, Any]:
    """Return the arguments of the schedule for a training of `steps` steps.

    Values in `trainer.lr_scheduler_kwargs` take precedence. By default `cosine_with_min_lr` and
    `cosine_warmup_with_min_lr` end at a tenth of the peak, `warmup_stable_decay` decays in the last
    tenth of the steps, and `reduce_lr_on_plateau` follows the primary score of `scorer` (that of
    transformers would look for a loss).
    """
    asked = config.trainer.get("lr_scheduler_kwargs") or {}
    name = config.train.lr_scheduler
    defaults: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if name == PLATEAU and scorer:
        extra = {
            "metric_for_best_model": scorer.primary,
            "greater_is_better": scorer.mode == "max",
        }
        defaults = {"mode": scorer.mode}
    elif name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        if isinstance(asked, dict) and "min_lr" not in asked:
            defaults = {"min_lr_rate": MIN_LR_RATE}
    elif name == "warmup_stable_decay":
        defaults = {"num_decay_steps": max(math.ceil(DECAY_SHARE * steps), 1)}
    if isinstance(asked, dict):
        asked = {**defaults, **asked}
    return {**extra, **({"lr_scheduler_kwargs": asked} if asked else {})}


def warmup_steps(config: RunConfig, steps: int) -> int:
    """Return the warmup of a training of `steps` steps as a number of steps; at least one step is
    left to decay in.
    """
    warmup = config.train.warmup
    return min(int(warmup) if warmup >= 1 else math.ceil(warmup * steps), max(steps - 1, 0))


@dataclass(frozen=True, slots=True)
class LayerwiseRates:
    """A learning rate for each layer: `rate` for the head, `decay` times that for the highest
    layer, and so on to the embeddings.

    As the layer-wise decay of Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT), after the
    discriminative fine-tuning of Howard & Ruder 2018; what is between the layers and the head
    has the rate of the highest layer.
    """

    parts: Sequence[Part]
    rate: float
    decay: float
    weight_decay: float

    def of(self, part: Part) -> float:
        """Return the peak learning rate of a part."""
        return self.rate * self.decay ** (max(other.depth for other in self.parts) - part.depth)

    def groups(self, decayed: Collection[int]) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups, the head's first: `decayed` has the `id` of each
        parameter with weight decay.

        The first group's rate is the one that is logged.
        """
        found = []
        for part in sorted(self.parts, key=lambda part: -part.depth):
            trained = [one for one in part.parameters if one.requires_grad]
            for decays, decay in ((True, self.weight_decay), (False, 0.0)):
                weights = [one for one in trained if (id(one) in decayed) is decays]
                if weights:
                    found.append({"params": weights, "lr": self.of(part), "weight_decay": decay})
        return found


def layerwise_rates(parts: Sequence[Part], config: RunConfig) -> LayerwiseRates | None:
    """Return the rates that `train.layerwise_decay` asks for, if it does.

    Raises `ConfigError` where the model has no layers.
    """
    if config.train.layerwise_decay is None:
        return None
    if not any(part.layer is not None for part in parts):
        raise ConfigError(
            f"`train.layerwise_decay`: model `{config.model.name}` has no list of layers to give "
            "different learning rates. Leave the key out."
        )
    return LayerwiseRates(
        parts, config.learning_rate, config.train.layerwise_decay, config.train.weight_decay
    )


def check_splits(config: RunConfig, splits: Collection[str]) -> None:
    """Raise `ConfigError` naming a key that needs a split without rows; `splits` are those that
    have rows.
    """
    if "validation" in splits:
        return
    train = config.train
    asked = {
        "train.early_stopping_patience": train.early_stopping_patience is not None,
        "train.evaluate_every": train.evaluate_every != "epoch",
        f"train.lr_scheduler={PLATEAU}": train.lr_scheduler == PLATEAU,
    }
    key = next((key for key, given in asked.items() if given), None)
    if key is not None:
        raise ConfigError(
            f"`{key}` needs validation rows and there are none "
            f"(`data.validation_size={config.data.validation_size:g}`): set "
            f"`data.validation_size=0.1`, or leave `{key}` out."
        )


def check_requests(config: RunConfig) -> None:
    """Raise `ConfigError` naming keys that contradict each other or this machine."""
    check_optimizer(config)
    train = config.train
    sharded = next((key for key in ("fsdp", "deepspeed") if config.trainer.get(key)), None)
    asked = {
        "train.ema": train.ema is not None,
        "train.unfreeze": train.unfreeze is not None,
        "train.layerwise_decay": train.layerwise_decay is not None,
        "train.lora.rank": train.lora.rank > 0,
    }
    key = next((key for key, given in asked.items() if given), None)
    if sharded is not None and key is not None:
        raise ConfigError(
            f"`{key}` does not work with weights that `trainer.{sharded}` shards over the "
            "workers: leave one out."
        )


def step_count(config: RunConfig, steps_in_epoch: int) -> int:
    """Return the optimizer steps of a training: those of `epochs`, or `trainer.max_steps`."""
    asked = config.trainer.get("max_steps")
    return (
        asked if isinstance(asked, int) and asked > 0 else math.ceil(steps_in_epoch * config.epochs)
    )


def _fixed_arguments(config: RunConfig, numerics: Numerics) -> dict[str, Any]:
    train = config.train
    return {
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "seed": config.seed,
        "lr_scheduler_type": train.lr_scheduler,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "logging_steps": train.logging_steps,
        # It would wait for the device in every step; `StepTrainer` refuses such losses itself.
        "logging_nan_inf_filter": False,
        "optim": train.optimizer,
        "optim_target_modules": "all-linear" if train.optimizer in LOW_RANK else None,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "remove_unused_columns": False,
        "dataloader_pin_memory": numerics.device == "cuda",
        "bf16": numerics.precision == "bf16",
        "fp16": numerics.precision == "fp16",
        "use_cpu": numerics.device == "cpu",
    }


def training_arguments(
    config: RunConfig,
    numerics: Numerics,
    scratch: Path,
    scorer: Scorer | None,
    distributed: bool,
    steps: int,
) -> TrainingArguments:
    """Return the arguments of one training of `steps` optimizer steps, `distributed` when a process
    group is up.

    `scorer` is None where there is no validation. `trainer.*` keys come last and are checked by
    transformers. Raises `ConfigError` with the message of transformers when it refuses one of them.
    """
    from transformers import TrainingArguments

    every = config.train.evaluate_every if scorer else "no"
    values = {
        "output_dir": str(scratch),
        "warmup_steps": warmup_steps(config, steps),
        "eval_strategy": "steps" if isinstance(every, int) else every,
        "eval_steps": every if isinstance(every, int) else None,
        "ddp_backend": "gloo" if numerics.device == "cpu" and distributed else None,
        **_fixed_arguments(config, numerics),
        **config.trainer,
        **schedule_arguments(config, steps, scorer),
    }
    try:
        arguments = TrainingArguments(**values)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(
            f"`trainer.*` or `train.*`: transformers refuses the training arguments: {error}"
        ) from error
    use_one_gpu(arguments)
    return arguments


COUNT = "count"


class ExponentialMovingAverage:
    """The mean of the weights after each step, of which each weighs `decay` times as much as the
    one after it.

    mean_t = mean_(t-1) + (1 - decay) / (1 - decay^t) * (weights_t - mean_(t-1)): the moving average
    with the correction of its beginning that Adam has for its moments (Kingma & Ba 2015, section
    3), so that the weights before the first step have no effect. Only parameters that train are
    averaged, in their own precision; every worker computes the same.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Average the parameters of `model` that require gradients now."""
        self.decay, self.count = decay, 0
        self.weights: dict[str, Tensor] = {
            name: weight.detach()
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        self.means: dict[str, Tensor] = {}

    def update(self) -> None:
        """Add the weights after one more optimizer step."""
        self.count += 1
        if not self.means:
            self.means = {name: weight.clone() for name, weight in self.weights.items()}
            return
        share = (1 - self.decay) / (1 - self.decay**self.count)
        for name, mean in self.means.items():
            mean.lerp_(self.weights[name], share)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the means into the model within the context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def apply(self) -> None:
        """Leave the means in the model for good."""
        self._swap()
        self.means, self.count = {}, 0

    def save(self, path: Path) -> None:
        """Write means and count to a safetensors file."""
        from safetensors.torch import save_file

        save_file(
            {name: mean.contiguous() for name, mean in self.means.items()},
            path,
            metadata={COUNT: str(self.count)},
        )

    def load(self, path: Path) -> None:
        """Read what `save` wrote, to the bit."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            self.count = int(file.metadata()[COUNT])
            names = list(file.keys())
            self.means = {
                name: file.get_tensor(name).to(self.weights[name].device) for name in names
            }

    def _swap(self) -> None:
        # Copies, not pointers: gradient buckets and compiled code hold on to the storage.
        for name, mean in self.means.items():
            weight = self.weights[name]
            before = weight.clone()
            weight.copy_(mean)
            mean.copy_(before)
