"""`trainer.*`: fields of `transformers.TrainingArguments` that ftr has no key of its own for."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ftr.config.parse import Setting, sentence, shown
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
    "do_train": "the command decides it",
    "do_eval": "the command decides it",
    "do_predict": "the command decides it",
    "remove_unused_columns": "heads read columns that the model does not",
    "label_names": "the head decides it",
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
    "local_rank": "the worker group decides it",
    "ddp_backend": "the worker group decides it",
    "ddp_timeout": "the worker group decides it",
    "average_tokens_across_devices": "a step's loss is the mean over the examples of all workers",
    "include_num_input_tokens_seen": "steps are cut into passes, which are not counted in tokens",
    "logging_nan_inf_filter": "a loss that is no number ends the run",
    "torch_empty_cache_steps": "memory is managed by `train.micro_batch_size`",
    "skip_memory_metrics": "`run.json` has what memory was used",
    **dict.fromkeys(
        (
            "dataloader_num_workers",
            "dataloader_pin_memory",
            "dataloader_persistent_workers",
            "dataloader_prefetch_factor",
            "dataloader_multiprocessing_context",
            "dataloader_in_order",
        ),
        "encoded rows are read from memory-mapped files, without processes of their own",
    ),
    **dict.fromkeys(
        (
            "save_only_model",
            "save_on_each_node",
            "enable_jit_checkpoint",
            "ignore_data_skip",
            "restore_callback_states_from_checkpoint",
        ),
        "checkpoints are ftr's own; `train.save_steps` says how often one is written",
    ),
    "resume_from_checkpoint": "`ftr resume RUN` goes on from the last checkpoint",
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
        "a run uploads nothing; `hf upload NAME RUN/model` does when it is done",
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
"""The other fields, which have an effect: a test checks that each field of the installed
transformers stands in one of the tables.
"""


def check_trainer(settings: Mapping[str, Setting]) -> None:
    """Refuse a `trainer.*` key that is ftr's own, or no field at all. Raises `ConfigError`.

    `settings` are keyed by full key; transformers is imported only when there are any.
    """
    for key, setting in settings.items():
        field = key.split(".")[1]
        if field in OWN_KEYS:
            own = " and ".join(f"`{name}`" for name in OWN_KEYS[field])
            raise ConfigError(f"`{key}` ({setting.origin}): use {own}, ftr's own key for it.")
        if field in SET_BY_FTR:
            raise ConfigError(
                f"`{key}` ({setting.origin}) cannot be set: {SET_BY_FTR[field]}. Leave it out."
            )
        if field == "report_to" and setting.value not in (None, "none", [], ["none"], ()):
            raise ConfigError(
                f"`{key}` ({setting.origin}) is {shown(setting.value)}: experiment trackers are "
                "not supported yet, only `none`; `metrics.jsonl` of the run has every logged "
                "number. Leave it out."
            )
    if settings:
        _check_fields(settings, sorted(set(_fields()) - OWN_KEYS.keys() - SET_BY_FTR.keys()))
        _check_types(settings)


def _check_fields(settings: Mapping[str, Setting], fields: Iterable[str]) -> None:
    known = list(fields)
    for key, setting in settings.items():
        field = key.split(".")[1]
        if field not in known:
            raise ConfigError(
                f"`{key}` ({setting.origin}): `transformers.TrainingArguments` has no field "
                f"`{field}`.{_relative(field) or did_you_mean(field, known)}"
            )


def _relative(field: str) -> str:
    return f" Did you mean `train.{field}`?" if field in TrainConfig.model_fields else ""


def _check_types(settings: Mapping[str, Setting]) -> None:
    """Refuse values of another type than the field's: transformers keeps them, and trips over them
    in mid training.
    """
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    for key, setting in settings.items():
        adapter: TypeAdapter[object] = TypeAdapter(
            hints[key.split(".")[1]], config=ConfigDict(arbitrary_types_allowed=True)
        )
        try:
            adapter.validate_python(setting.value)
        except ValidationError as error:
            if setting.word is None or not _accepts(adapter, setting.word):
                wanted = " or ".join(
                    dict.fromkeys(sentence(detail["msg"]) for detail in error.errors())
                )
                raise ConfigError(
                    f"`{key}` is {shown(setting.value)} ({setting.origin}): {wanted}."
                ) from None


def _accepts(adapter: "TypeAdapter[object]", word: str) -> bool:
    try:
        adapter.validate_python(word)
    except ValidationError:
        return False
    return True


def _fields() -> list[str]:
    from transformers import TrainingArguments  # takes seconds

    return [field.name for field in fields(TrainingArguments) if field.init]
