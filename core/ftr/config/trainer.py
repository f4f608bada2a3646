"""`trainer.*`: fields of `transformers.TrainingArguments` that ftr has no key of its own for."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ftr.config.parse import Setting, expected, shown
from ftr.config.schema import TrainConfig
from ftr.errors import ConfigError, did_you_mean


def invert(table: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Return name -> keys from a table of keys -> names, both separated by blanks."""
    return {name: tuple(keys.split()) for keys, names in table.items() for name in names.split()}


_OWN = {
    "output": "output_dir",
    "learning_rate": "learning_rate",
    "epochs": "num_train_epochs",
    "batch_size train.micro_batch_size": "per_device_train_batch_size gradient_accumulation_steps",
    "train.micro_batch_size": "auto_find_batch_size",
    "train.eval_batch_size": "per_device_eval_batch_size",
    "train.lr_scheduler": "lr_scheduler_type",
    "train.warmup": "warmup_steps warmup_ratio",
    "train.weight_decay": "weight_decay",
    "train.max_grad_norm": "max_grad_norm",
    "train.precision": "bf16 fp16 bf16_full_eval fp16_full_eval",
    "train.logging_steps": "logging_steps logging_strategy",
    "train.eval_on_start": "eval_on_start",
    "train.evaluate_every": "eval_strategy eval_steps",
    "train.optimizer": "optim",
    "train.label_smoothing": "label_smoothing_factor",
    "train.activation_checkpointing": (
        "gradient_checkpointing activation_checkpointing gradient_checkpointing_kwargs "
        "activation_checkpointing_kwargs"
    ),
    "train.keep": "load_best_model_at_end save_strategy",
    "train.save_steps": "save_steps",
    "train.save_total_limit": "save_total_limit",
    "metrics": "metric_for_best_model greater_is_better",
    "seed": "seed",
    "seed data.seed": "data_seed",
    "compute.gpus": "use_cpu",
    "tracker": "report_to",
}
OWN_KEYS = invert(_OWN)
"""Fields of `TrainingArguments` that ftr has keys for, with these keys."""

_REASONS = {
    "the command sets it": "do_train do_eval do_predict",
    "heads read columns that the model does not": "remove_unused_columns",
    "the head sets it": "label_names",
    "evaluation is streamed": (
        "prediction_loss_only batch_eval_metrics eval_do_concat_batches eval_use_gather_object "
        "eval_accumulation_steps include_for_metrics"
    ),
    "every row is trained on": "dataloader_drop_last",
    "batches are always drawn from length-sorted pools": (
        "train_sampling_strategy group_by_length length_column_name"
    ),
    "the worker group sets it": "local_rank ddp_backend ddp_timeout",
    "a step's loss is the mean over the examples of all workers": "average_tokens_across_devices",
    "tokens are not counted: a step takes several passes": "include_num_input_tokens_seen",
    "a loss that is not a number ends the run": "logging_nan_inf_filter",
    "memory is managed by `train.micro_batch_size`": "torch_empty_cache_steps",
    "`run.json` has the memory used": "skip_memory_metrics",
    "encoded rows are read from memory-mapped files, without extra processes": (
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
        "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order"
    ),
    "ftr has its own checkpoints; `train.save_steps` sets how often one is written": (
        "save_only_model save_on_each_node enable_jit_checkpoint ignore_data_skip "
        "restore_callback_states_from_checkpoint"
    ),
    "`ftr resume RUN` resumes from the last checkpoint": "resume_from_checkpoint",
    "a run uploads nothing; use `ftr push RUN owner/name` when it is done": (
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push "
        "hub_revision"
    ),
    "`tracker` sends a run to experiment trackers, under the name of its directory": (
        "run_name project trackio_space_id trackio_bucket_id trackio_static_space_id"
    ),
}
SET_BY_FTR: Mapping[str, str] = {
    field: reason for reason, names in _REASONS.items() for field in names.split()
}
"""Fields that ftr sets itself, with the reason."""

_PASSED = """
    max_steps lr_scheduler_kwargs optim_args optim_target_modules adam_beta1 adam_beta2
    adam_epsilon tf32 torch_compile torch_compile_backend torch_compile_mode use_liger_kernel
    liger_kernel_config use_cache neftune_noise_alpha logging_first_step log_level
    log_level_replica log_on_each_node disable_tqdm eval_delay full_determinism
    accelerator_config parallelism_config ddp_find_unused_parameters ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph fsdp fsdp_config deepspeed debug
"""
PASSED = frozenset(_PASSED.split())
"""The other fields, which have an effect. A test checks that every field of the installed
transformers is in one of the tables.
"""


def check_trainer(settings: Mapping[str, Setting]) -> None:
    """Refuse `trainer.*` keys that ftr sets itself, unknown fields, and values of another type.

    `settings` are keyed by full key; transformers is imported only when there are any. Raises
    `ConfigError`.
    """
    for key, setting in settings.items():
        if problem := _not_allowed(key.split(".")[1], setting):
            raise ConfigError(f"`{key}` ({setting.origin}){problem}", keys=[key])
    if not settings:
        return
    from transformers import TrainingArguments  # takes seconds

    hints = get_type_hints(TrainingArguments)
    known = sorted(
        {field.name for field in fields(TrainingArguments) if field.init}
        - OWN_KEYS.keys()
        - SET_BY_FTR.keys()
    )
    for key, setting in settings.items():
        field = key.split(".")[1]
        if field not in known:
            meant = did_you_mean(field, known)
            if field in TrainConfig.model_fields:
                meant = f" Did you mean `train.{field}`?"
            raise ConfigError(
                f"`{key}` ({setting.origin}): `transformers.TrainingArguments` has no field "
                f"`{field}`.{meant}",
                keys=[key],
            )
        _check_type(key, setting, hints[field])


def _not_allowed(field: str, setting: Setting) -> str | None:
    if field in OWN_KEYS:
        own = " and ".join(f"`{name}`" for name in OWN_KEYS[field])
        return f": use {own}, ftr's own key for it."
    if field in SET_BY_FTR:
        return f" cannot be set: {SET_BY_FTR[field]}. Leave it out."
    return None


def _check_type(key: str, setting: Setting, hint: Any) -> None:
    """Refuse a value of another type than the field's: transformers would fail during training."""
    adapter: TypeAdapter[object] = TypeAdapter(
        hint, config=ConfigDict(arbitrary_types_allowed=True)
    )
    # A word that YAML reads as a number may be the text that the field wants.
    candidates = [setting.value, *([setting.word] if setting.word is not None else [])]
    problems = []
    for value in candidates:
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            problems.append(expected(error.errors()))
        else:
            return
    raise ConfigError(
        f"`{key}` is {shown(setting.value)} ({setting.origin}): {problems[0]}.", keys=[key]
    )
