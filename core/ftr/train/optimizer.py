"""Optimizers and schedules by name: what they need, what they are given where nothing is said, and a rate for each layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ftr.errors import ConfigError
from ftr.train.hardware import device_name

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.train.parameters import Part

SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd")
"""Optimizers that train other weights than the averages which they give to an evaluation (Defazio et al. 2024)."""

LOW_RANK = ("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "apollo_adamw")
"""Optimizers that treat the matrices of `trainer.optim_target_modules` apart: they make groups of their own, without weight decay."""

PACKAGES = {
    "bitsandbytes": (
        "adamw_bnb_8bit",
        "adamw_8bit",
        "ademamix",
        "ademamix_8bit",
        "lion_8bit",
        "lion_32bit",
        "paged_adamw_32bit",
        "paged_adamw_8bit",
        "paged_ademamix_32bit",
        "paged_ademamix_8bit",
        "paged_lion_32bit",
        "paged_lion_8bit",
        "rmsprop_bnb",
        "rmsprop_bnb_8bit",
        "rmsprop_bnb_32bit",
        *LOW_RANK,
    ),
    "torchao": ("adamw_torch_4bit", "adamw_torch_8bit"),
    "torch_xla": ("adamw_torch_xla",),
    "torch_npu": ("adamw_torch_npu_fused",),
    "torchdistx": ("adamw_anyprecision",),
    "galore_torch": LOW_RANK[:3],
    "apollo_torch": LOW_RANK[3:],
    "grokadamw": ("grokadamw",),
    "schedulefree": SCHEDULE_FREE,
    "optimi": ("stable_adamw",),
}
"""Modules that optimizers of transformers 5 come from, apart from those of torch and of transformers itself."""

DISTRIBUTIONS = {"galore_torch": "galore-torch", "apollo_torch": "apollo-torch", "optimi": "torch-optimi"}
"""What to install where it is not named as the module."""

WHILE_BACKWARD = (
    "lomo",
    "adalomo",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "apollo_adamw_layerwise",
)
"""Optimizers that change the weights in the middle of each backward pass: a step of several passes would be several steps."""

MIN_LR_RATE = 0.1
"""Where `cosine_with_min_lr` and `cosine_warmup_with_min_lr` end, as a share of the peak: as in Hoffmann et al. 2022."""
DECAY_SHARE = 0.1
"""Share of all steps in which `warmup_stable_decay` goes down: as in Hu et al. 2024 (MiniCPM)."""


def check_optimizer(config: RunConfig) -> None:
    """Raise `ConfigError` where `train.optimizer` cannot be used: its package is missing, or it excludes something else."""
    asked = config.train.optimizer
    if asked in WHILE_BACKWARD:
        raise ConfigError(
            f"`train.optimizer={asked}` changes the weights within each backward pass, while a step of `batch_size` may take several: "
            f"it cannot be used. {'Use `' + asked.removesuffix('_layerwise') + '`.' if asked.endswith('_layerwise') else 'Use another.'}"
        )
    missing = [DISTRIBUTIONS.get(module, module) for module, names in PACKAGES.items() if asked in names and find_spec(module) is None]
    if missing:
        what = f"the package `{missing[0]}`, which is" if len(missing) == 1 else f"the packages `{'`, `'.join(missing)}`, which are"
        raise ConfigError(
            f"`train.optimizer={asked}` needs {what} not installed (`pip install {' '.join(missing)}`). Install that, or use another."
        )
    if asked == "galore_adamw_8bit" and device_name() != "cuda":
        raise ConfigError(f"`train.optimizer={asked}` needs a GPU. Use `galore_adamw`.")
    if asked in SCHEDULE_FREE and config.train.schedule != "constant":
        raise ConfigError(
            f"`train.optimizer={asked}` has no schedule besides its own warmup, and `train.schedule={config.train.schedule}` is one: "
            "set `train.schedule=constant`."
        )
    if asked in LOW_RANK and config.train.layer_decay is not None:
        raise ConfigError(f"`train.layer_decay` and `train.optimizer={asked}` each make groups of the weights of their own: leave one out.")


def optimizer_arguments(config: RunConfig) -> dict[str, Any]:
    """Return what transformers asks for besides the name: the low-rank optimizers take all linear layers unless told otherwise."""
    return {"optim_target_modules": "all-linear"} if config.train.optimizer in LOW_RANK else {}


def schedule_arguments(config: RunConfig, steps: int) -> dict[str, Any]:
    """Return the arguments of the schedule for a training of `steps` steps: those of `trainer.lr_scheduler_kwargs` before the defaults.

    `cosine_with_min_lr` and `cosine_warmup_with_min_lr` end at a tenth of the peak, `warmup_stable_decay` goes down in the last tenth
    of the steps.
    """
    asked = config.trainer.get("lr_scheduler_kwargs") or {}
    if not isinstance(asked, dict):
        return {"lr_scheduler_kwargs": asked}
    name = config.train.schedule
    defaults: dict[str, Any] = {}
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and not asked.keys() & {"min_lr", "min_lr_rate"}:
        defaults = {"min_lr_rate": MIN_LR_RATE}
    elif name == "warmup_stable_decay" and "num_decay_steps" not in asked:
        defaults = {"num_decay_steps": max(math.ceil(DECAY_SHARE * steps), 1)}
    return {"lr_scheduler_kwargs": {**defaults, **asked}} if defaults or asked else {}


def warmup_steps(config: RunConfig, steps: int) -> int:
    """Return the warmup of a training of `steps` steps as a number of steps, at most as many as leave one to go down in."""
    warmup = config.train.warmup
    return min(int(warmup) if warmup >= 1 else math.ceil(warmup * steps), max(steps - 1, 0))


@dataclass(frozen=True, slots=True)
class Rates:
    """A learning rate for each layer: `rate` for the head, `decay` times that for the highest layer, and so on to the embeddings.

    As the layer-wise decay of Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT), after the discriminative fine-tuning of
    Howard & Ruder 2018; what stands above the layers but below the head has the rate of the highest layer.
    """

    parts: Sequence[Part]
    rate: float
    decay: float
    weight_decay: float

    def of(self, part: Part) -> float:
        """Return the peak learning rate of a part."""
        return self.rate * self.decay ** (max(other.depth for other in self.parts) - part.depth)

    def groups(self, decayed: Collection[int]) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups, the head's first: `decayed` has the `id` of each parameter with weight decay.

        The first group's rate is the one that is logged.
        """
        found = []
        for part in sorted(self.parts, key=lambda part: -part.depth):
            for decays in (True, False):
                mine = [one for one in part.parameters if one.requires_grad and (id(one) in decayed) is decays]
                if mine:
                    found.append({"params": mine, "lr": self.of(part), "weight_decay": self.weight_decay if decays else 0.0})
        return found


def rates_of(parts: Sequence[Part], config: RunConfig) -> Rates | None:
    """Return the rates that `train.layer_decay` asks for, if it does. Raises `ConfigError` where the model has no layers."""
    if config.train.layer_decay is None:
        return None
    if not any(part.layer is not None for part in parts):
        raise ConfigError(
            f"`train.layer_decay`: model `{config.model.name}` has no list of layers to give different learning rates. Leave the key out."
        )
    return Rates(parts, config.learning_rate, config.train.layer_decay, config.train.weight_decay)
