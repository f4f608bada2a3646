"""From our configuration to `transformers.TrainingArguments`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.errors import ConfigError
from ftr.train.optimizer import optimizer_arguments, schedule_arguments, warmup_steps

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from ftr.config.models import RunConfig
    from ftr.train.hardware import Numerics
    from ftr.train.scoring import Scorer

PLATEAU = "reduce_lr_on_plateau"


def step_count(config: RunConfig, steps_in_epoch: int) -> int:
    """Return the optimizer steps of a training: those of `epochs`, or `trainer.max_steps`."""
    asked = config.trainer.get("max_steps")
    return asked if isinstance(asked, int) and asked > 0 else math.ceil(steps_in_epoch * config.epochs)


def training_arguments(
    config: RunConfig, numerics: Numerics, scratch: Path, scorer: Scorer | None, distributed: bool, steps: int
) -> TrainingArguments:
    """Return the arguments of one training of `steps` optimizer steps, `distributed` when a process group is up.

    `scorer` is None where there is no validation. `trainer.*` keys come last and are checked by transformers.
    Raises `ConfigError` with the message of transformers when it refuses one of them.
    """
    from transformers import TrainingArguments

    values: dict[str, Any] = {
        "output_dir": str(scratch),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "seed": config.seed,
        "lr_scheduler_type": config.train.schedule,
        "warmup_steps": warmup_steps(config, steps),
        "weight_decay": config.train.weight_decay,
        "max_grad_norm": config.train.max_grad_norm,
        "logging_steps": config.train.log_steps,
        "optim": config.train.optimizer,
        **_evaluations(config.train.evaluate_every if scorer else None),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "remove_unused_columns": False,
        "dataloader_pin_memory": numerics.device == "cuda",
        "bf16": numerics.precision == "bf16",
        "fp16": numerics.precision == "fp16",
        "use_cpu": numerics.device == "cpu",
        **({"ddp_backend": "gloo"} if numerics.device == "cpu" and distributed else {}),
        **optimizer_arguments(config),
        **config.trainer,
        **schedule_arguments(config, steps),
        **(_plateau(scorer, config) if config.train.schedule == PLATEAU and scorer else {}),
    }
    try:
        arguments = TrainingArguments(**values)
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"`trainer.*` or `train.*`: transformers refuses the training arguments: {error}") from error
    # One process drives one GPU: several are for `compute.workers`, not for torch's DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _evaluations(every: int | str | None) -> dict[str, Any]:
    if isinstance(every, int):
        return {"eval_strategy": "steps", "eval_steps": every}
    return {"eval_strategy": every or "no"}


def _plateau(scorer: Scorer, config: RunConfig) -> dict[str, Any]:
    """Let the learning rate follow the primary score; transformers would look for a loss and take lower for better."""
    asked = config.trainer.get("lr_scheduler_kwargs", {})
    return {
        "metric_for_best_model": scorer.primary,
        "greater_is_better": scorer.mode == "max",
        "lr_scheduler_kwargs": {"mode": scorer.mode, **asked} if isinstance(asked, dict) else asked,
    }
