"""What a configuration asks of a training that its data or this machine do not allow: said before anything is built."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ftr.errors import ConfigError
from ftr.train.optimizer import check_optimizer

if TYPE_CHECKING:
    from ftr.config.models import RunConfig


def check_splits(config: RunConfig, splits: Collection[str]) -> None:
    """Raise `ConfigError` naming the key that needs rows which there are none of: `splits` are those that have rows."""
    if "validation" in splits:
        return
    train = config.train
    asked = {
        "train.early_stopping": train.early_stopping is not None,
        "train.evaluate_every": train.evaluate_every != "epoch",
        "train.schedule=reduce_lr_on_plateau": train.schedule == "reduce_lr_on_plateau",
    }
    for key, given in asked.items():
        if given:
            raise ConfigError(
                f"`{key}` needs validation rows and there are none (`data.validation_share={config.data.validation_share:g}`): "
                f"set `data.validation_share=0.1`, or leave `{key}` out."
            )


def check_requests(config: RunConfig) -> None:
    """Raise `ConfigError` naming the keys that contradict each other, or what the machine that trains has."""
    check_optimizer(config)
    train = config.train
    spread = next((key for key in ("fsdp", "deepspeed") if config.trainer.get(key)), None)
    if spread is not None:
        wants = {
            "train.ema": train.ema is not None,
            "train.unfreeze": train.unfreeze is not None,
            "train.layer_decay": train.layer_decay is not None,
            "train.lora.rank": train.lora.rank > 0,
        }
        for key, given in wants.items():
            if given:
                raise ConfigError(f"`{key}` does not work with weights that `trainer.{spread}` spreads over the workers: leave one out.")
