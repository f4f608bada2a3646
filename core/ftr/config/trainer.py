"""`trainer.*`: fields of `transformers.TrainingArguments` that ftr has no key of its own for."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ftr.config.parse import Setting, expected, shown
from ftr.config.schema import TrainConfig
from ftr.errors import ConfigError, did_you_mean

OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "output_dir": ("output",),
    "learning_rate": ("learning_rate",),
    "num_train_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size", "train.micro_batch_size"),
    "gradient_accumulation_steps": ("batch_size", "train.micro_batch_size"),
    "auto_find_batch_size": ("train.micro_batch_size",),
    "per_device_eval_batch_size": ("train.eval_batch_size",),
    "lr_scheduler_type": ("train.lr_scheduler",),
    "warmup_steps": ("train.warmup",),
    "warmup_ratio": ("train.warmup",),
    "weight_decay": ("train.weight_decay",),
    "max_grad_norm": ("train.max_grad_norm",),
    "bf16": ("train.precision",),
    "fp16": ("train.precision",),
    "bf16_full_eval": ("train.precision",),
    "fp16_full_eval": ("train.precision",),
    "logging_steps": ("train.logging_steps",),
    "logging_strategy": ("train.logging_steps",),
    "eval_on_start": ("train.eval_on_start",),
    "eval_strategy": ("train.evaluate_every",),
    "eval_steps": ("train.evaluate_every",),
    "optim": ("train.optimizer",),
    "label_smoothing_factor": ("train.label_smoothing",),
    "gradient_checkpointing": ("train.activation_checkpointing",),
    "activation_checkpointing": ("train.activation_checkpointing",),
    "gradient_checkpointing_kwargs": ("train.activation_checkpointing",),
    "activation_checkpointing_kwargs": ("train.activation_checkpointing",),
    "load_best_model_at_end": ("train.keep",),
    "save_strategy": ("train.keep",),
    "save_steps": ("train.save_steps",),
    "save_total_limit": ("train.save_total_limit",),
    "metric_for_best_model": ("metrics",),
    "greater_is_better": ("metrics",),
    "seed": ("seed",),
    "data_seed": ("seed", "data.seed"),
    "use_cpu": ("compute.gpus",),
}

SET_BY_FTR: Mapping[str, str] = {
    "do_train": "the command sets it",
    "do_eval": "the command sets it",
    "do_predict": "the command sets it",
    "remove_unused_columns": "heads read columns that the model does not",
    "label_names": "the head sets it",
    "prediction_loss_only": "evaluation is streamed",
    "batch_eval_metrics": "evaluation is streamed",
    "eval_do_concat_batches": "evaluation is streamed",
    "eval_use_gather_object": "evaluation is streamed",
    "eval_accumulation_steps": "evaluation is streamed",
    "include_for_metrics": "evaluation is streamed",
    "dataloader_drop_last": "every row is trained on",
    "train_sampling_strategy": "batches are always drawn from length-sorted pools",
    "group_by_length": "batches are always drawn from length-sorted pools",
    "length_column_name": "batches are always drawn from length-sorted pools",
    "local_rank": "the worker group sets it",
    "ddp_backend": "the worker group sets it",
    "ddp_timeout": "the worker group sets it",
    "average_tokens_across_devices": "a step's loss is the mean over the examples of all workers",
    "include_num_input_tokens_seen": "tokens are not counted: a step takes several passes",
    "logging_nan_inf_filter": "a loss that is not a number ends the run",
    "torch_empty_cache_steps": "memory is managed by `train.micro_batch_size`",
    "skip_memory_metrics": "`run.json` has the memory used",
    **dict.fromkeys(
        (
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
            "dataloader_in_order",
        ),
        "encoded rows are read from memory-mapped files, without extra processes",
    ),
    **dict.fromkeys(
        (
            "save_only_model",
            "save_on_each_node",
            "enable_jit_checkpoint",
            "ignore_data_skip",
            "restore_callback_states_from_checkpoint",
        ),
        "ftr has its own checkpoints; `train.save_steps` sets how often one is written",
    ),
    "resume_from_checkpoint": "`ftr resume RUN` resumes from the last checkpoint",
    **dict.fromkeys(
        (
            "push_to_hub",
            "hub_token",
            "hub_private_repo",
            "hub_model_id",
            "hub_strategy",
            "hub_always_push",
            "hub_revision",
        ),
        "a run uploads nothing; use `hf upload NAME RUN/model` when it is done",
    ),
    **dict.fromkeys(
        ("run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        "no experiment tracker is supported; `metrics.jsonl` has every logged number",
    ),
}

PASSED = frozenset(
    {
        "max_steps",
        "lr_scheduler_kwargs",
        "optim_args",
        "optim_target_modules",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "tf32",
        "torch_compile",
        "torch_compile_backend",
        "torch_compile_mode",
        "use_liger_kernel",
        "liger_kernel_config",
        "use_cache",
        "neftune_noise_alpha",
        "logging_first_step",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "disable_tqdm",
        "report_to",
        "eval_delay",
        "full_determinism",
        "accelerator_config",
        "parallelism_config",
        "ddp_find_unused_parameters",
        "ddp_bucket_cap_mb",
        "ddp_broadcast_buffers",
        "ddp_static_graph",
        "fsdp",
        "fsdp_config",
        "deepspeed",
        "debug",
    }
)
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
    if field == "report_to" and setting.value not in (None, "none", [], ["none"], ()):
        return (
            f" is {shown(setting.value)}: experiment trackers are not supported yet, only `none`; "
            "`metrics.jsonl` of the run has every logged number. Leave it out."
        )
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
