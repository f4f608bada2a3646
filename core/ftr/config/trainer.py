"""`trainer.*`: fields of `transformers.TrainingArguments`, less those that ftr has its own keys for or must set itself."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ftr.config.overrides import Setting
from ftr.config.validate import sentence, shown
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean

OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "output_dir": ("output",),
    "learning_rate": ("learning_rate",),
    "num_train_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size", "train.micro_batch"),
    "gradient_accumulation_steps": ("batch_size", "train.micro_batch"),
    "auto_find_batch_size": ("train.micro_batch",),
    "per_device_eval_batch_size": ("train.eval_batch",),
    "lr_scheduler_type": ("train.schedule",),
    "warmup_steps": ("train.warmup",),
    "warmup_ratio": ("train.warmup",),
    "weight_decay": ("train.weight_decay",),
    "max_grad_norm": ("train.max_grad_norm",),
    "bf16": ("train.precision",),
    "fp16": ("train.precision",),
    "bf16_full_eval": ("train.precision",),
    "fp16_full_eval": ("train.precision",),
    "logging_steps": ("train.log_steps",),
    "logging_strategy": ("train.log_steps",),
    "eval_on_start": ("train.evaluate_untrained",),
    "eval_strategy": ("train.evaluate_every",),
    "eval_steps": ("train.evaluate_every",),
    "optim": ("train.optimizer",),
    "label_smoothing_factor": ("train.label_smoothing",),
    "gradient_checkpointing": ("train.activation_checkpointing",),
    "activation_checkpointing": ("train.activation_checkpointing",),
    "load_best_model_at_end": ("train.keep",),
    "save_strategy": ("train.keep",),
    "save_steps": ("train.keep",),
    "save_total_limit": ("train.keep",),
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
}


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
            raise ConfigError(f"`{key}` ({setting.origin}) cannot be set: {SET_BY_FTR[field]}. Leave it out.")
    if settings:
        _check_fields(settings, sorted(set(_fields()) - OWN_KEYS.keys() - SET_BY_FTR.keys()))
        _check_types(settings)


def _check_fields(settings: Mapping[str, Setting], fields: Iterable[str]) -> None:
    known = list(fields)
    for key, setting in settings.items():
        field = key.split(".")[1]
        if field not in known:
            raise ConfigError(
                f"`{key}` ({setting.origin}): `transformers.TrainingArguments` has no field `{field}`.{did_you_mean(field, known)}"
            )


def _check_types(settings: Mapping[str, Setting]) -> None:
    """Refuse values of another type than the field's: transformers keeps them, and trips over them in mid training."""
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    for key, setting in settings.items():
        adapter: TypeAdapter[object] = TypeAdapter(hints[key.split(".")[1]], config=ConfigDict(arbitrary_types_allowed=True))
        try:
            adapter.validate_python(setting.value)
        except ValidationError as error:
            if setting.word is None or not _accepts(adapter, setting.word):
                wanted = " or ".join(dict.fromkeys(sentence(detail["msg"]) for detail in error.errors()))
                raise ConfigError(f"`{key}` is {shown(setting.value)} ({setting.origin}): {wanted}.") from None


def _accepts(adapter: "TypeAdapter[object]", word: str) -> bool:
    try:
        adapter.validate_python(word)
    except ValidationError:
        return False
    return True


def _fields() -> list[str]:
    from transformers import TrainingArguments  # takes seconds

    return [field.name for field in fields(TrainingArguments) if field.init]
