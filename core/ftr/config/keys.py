"""All keys, their former names, and the answer to a key that does not exist."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ftr.config.known import options
from ftr.config.parse import COMPONENTS, GROUPS, Setting
from ftr.config.schema import (
    SWEEP_KEYS,
    AugmentConfig,
    ComputeConfig,
    CvConfig,
    DataConfig,
    LoraConfig,
    RunConfig,
    TrainConfig,
)
from ftr.config.space import looks_like_expression
from ftr.config.trainer import OWN_KEYS, PASSED, invert
from ftr.errors import ConfigError, did_you_mean, near

SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataConfig,
    "data.augment": AugmentConfig,
    "train": TrainConfig,
    "train.lora": LoraConfig,
    "compute": ComputeConfig,
    "cv": CvConfig,
}
OPEN_GROUPS = (*COMPONENTS, "trainer")
"""Groups whose keys are not ftr's own."""
PLAIN_KEYS = tuple(
    name for name in RunConfig.model_fields if name not in GROUPS or name in COMPONENTS
)
SECTION_KEYS = tuple(
    key
    for group, section in SECTIONS.items()
    for name in section.model_fields
    if (key := f"{group}.{name}") not in SECTIONS
)
KNOWN_KEYS = (*PLAIN_KEYS, *SECTION_KEYS)

RENAMED: Mapping[str, str] = {
    "data.validation_share": "data.validation_size",
    "data.test_share": "data.test_size",
    "data.max_rejected": "data.max_invalid",
    "train.schedule": "train.lr_scheduler",
    "train.micro_batch": "train.micro_batch_size",
    "train.eval_batch": "train.eval_batch_size",
    "train.layer_decay": "train.layerwise_decay",
    "train.log_steps": "train.logging_steps",
    "train.checkpoint_steps": "train.save_steps",
    "train.keep_checkpoints": "train.save_total_limit",
    "train.evaluate_untrained": "train.eval_on_start",
    "train.early_stopping": "train.early_stopping_patience",
    "members": "ensemble_size",
    "time": "time_budget",
    "epochs_total": "max_total_epochs",
    "patience": "min_gain",
    "grace": "grace_period",
    "reduction": "reduction_factor",
    "concurrent": "max_concurrent",
}
"""Former names of keys. They are refused, with the name that each has now."""

_OTHERS = {
    "learning_rate": "lr",
    "batch_size": "bs train_batch_size",
    "epochs": "num_epochs max_epochs n_epochs",
    "seed": "random_seed random_state",
    "metrics": "metric",
    "output": "out output_path save_dir",
    "tracker": "trackers log_with logger wandb mlflow",
    "data.max_length": "max_seq_length max_seq_len max_len max_tokens",
    "data.stride": "doc_stride",
    "data.limit": "max_train_samples max_samples",
    "data.validation_size": "val_size val_split validation_split",
    "train.early_stopping_patience": "patience",
    "train.precision": "dtype torch_dtype mixed_precision",
    "train.lora.rank": "lora lora_r lora_rank",
    "train.lora.alpha": "lora_alpha",
    "compute.gpus": "device devices cuda gpu use_cuda no_cuda num_gpus n_gpu accelerator",
    "compute.workers": "num_workers nproc_per_node",
    "model": "model_name model_name_or_path base_model checkpoint",
    "dataset": "dataset_name data_path file",
    "dataset dataset.train": "train_file",
    "dataset.validation": "validation_file eval_file dev",
    "dataset.test": "test_file",
    "dataset.text": "text_column text_col sentence",
    "dataset.label dataset.labels": "labels label_column label_col target class",
    "dataset.delimiter": "sep",
}
_SWEEP_OTHERS = {
    "trials": "n_trials num_trials num_samples",
    "time_budget": "timeout time_budget_s",
    "searcher": "search_alg sampler",
    "scheduler": "pruner",
    "mode": "direction",
    "max_concurrent": "max_concurrent_trials n_jobs",
}
SYNONYMS = {**OWN_KEYS, **invert(_OTHERS)}
"""Names in other tools, with ftr's keys."""
SWEEP_SYNONYMS = {**SYNONYMS, **invert(_SWEEP_OTHERS)}


def check_keys(settings: Mapping[str, Setting], *, sweep: bool = False) -> None:
    """Raise `ConfigError` for the first unknown key, with the nearest known one.

    Keys and expressions of a sweep are refused unless it is a `sweep`.
    """
    for key, setting in settings.items():
        group, _, name = key.partition(".")
        if key in KNOWN_KEYS or (group in OPEN_GROUPS and name):
            if sweep:
                _check_list(key, setting)
                continue
            if not looks_like_expression(setting.value) or _takes(key, setting.value):
                continue
            raise ConfigError(
                f"`{key}` is `{setting.value}` ({setting.origin}), a search space: use `ftr "
                "sweep`, or give one value.",
                keys=[key],
            )
        if not (sweep and key in SWEEP_KEYS):
            raise ConfigError(f"`{key}` ({setting.origin}) is {_unknown(key, sweep)}", keys=[key])


def _check_list(key: str, setting: Setting) -> None:
    """Raise `ConfigError` for a list of values of a key that takes one: they are to be searched."""
    if isinstance(setting.value, list | tuple) and not _takes(key, setting.value):
        listed = (setting.word or ",".join(map(str, setting.value))).strip("[] ")
        raise ConfigError(
            f"`{key}` is `[{listed}]` ({setting.origin}), and takes one value. To search these "
            f"write `choice({listed})`.",
            keys=[key],
        )


def search_hint(settings: Mapping[str, Setting], keys: Iterable[str]) -> str:
    """Return what to add to an error about `keys` where the value of one is an expression."""
    if any(key in settings and looks_like_expression(settings[key].value) for key in keys):
        return " That is a search space: use `ftr sweep`, or give one value."
    return ""


def _takes(key: str, value: object) -> bool:
    """Whether text that looks like an expression is a value of the key.

    Options and fields of `trainer` are checked later, by their own models.
    """
    if key in ("model", "head"):
        return Path(str(value)).exists()
    group, _, name = key.rpartition(".")
    if key in COMPONENTS or group.partition(".")[0] in OPEN_GROUPS:
        return True
    field = (SECTIONS[group] if group else RunConfig).model_fields[name]
    annotation: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def new_name(key: str) -> str | None:
    """Return the present name of a renamed key, given in full or without its group.

    None: the key was not renamed.
    """
    if key in RENAMED:
        return RENAMED[key]
    return next((new for old, new in RENAMED.items() if old.rpartition(".")[2] == key), None)


def _unknown(key: str, sweep: bool) -> str:
    """Return what is wrong with a key that a run, or a `sweep`, does not have."""
    if renamed := new_name(key):
        if sweep or renamed not in SWEEP_KEYS:
            return f"called `{renamed}` now: write that."
        same = _same_name(key, KNOWN_KEYS, SYNONYMS)
        return f"called `{renamed}` now, a key of `ftr sweep`, not of a run.{same}"
    if key in SWEEP_KEYS:
        return f"a key of `ftr sweep`, not of a run.{_same_name(key, KNOWN_KEYS, SYNONYMS)}"
    if key.removesuffix(".") in GROUPS:
        return _group(key.removesuffix("."))
    known = (*SWEEP_KEYS, *KNOWN_KEYS) if sweep else KNOWN_KEYS
    same = _same_name(key, known, SWEEP_SYNONYMS if sweep else SYNONYMS)
    former = f" `ftr sweep` calls it `{renamed}` now." if key in RENAMED else ""
    return f"not a key.{same or former or _nearest(key, known)}{former if same else ''}"


def _group(group: str) -> str:
    meant = {"data": " Did you mean `dataset`?", "trainer": " Did you mean `train.…`?"}
    return f"a group of keys: `ftr help {group}` lists them.{meant.get(group, '')}"


def _same_name(key: str, known: Iterable[str], synonyms: Mapping[str, tuple[str, ...]]) -> str:
    """Suggest the keys of the same name in another group, or what another tool's name means."""
    same = meant(key, known, synonyms)[:3]
    return f" Did you mean {' or '.join(f'`{name}`' for name in same)}?" if same else ""


def meant(
    key: str,
    known: Iterable[str] = (*KNOWN_KEYS, *SWEEP_KEYS),
    synonyms: Mapping[str, tuple[str, ...]] = SWEEP_SYNONYMS,
) -> list[str]:
    """Return the keys of that name in another group, or those that another tool's name means."""
    leaf = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]
    same = same or list(synonyms.get(leaf, ()))
    same += [f"trainer.{leaf}"] if leaf in PASSED and not same else []
    own = {one.name for one in options()}
    return same or [name for kind in COMPONENTS if (name := f"{kind}.{leaf}") in own]


def _nearest(key: str, known: tuple[str, ...]) -> str:
    group, _, leaf = key.rpartition(".")
    group = group if group in SECTIONS else group.partition(".")[0]
    if group in SECTIONS:
        lists = f"`ftr help {group}` lists the keys of `{group}`."
        return did_you_mean(key, _within(group)) or f" {lists}"
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    if not near(key, known) and (found := near(leaf, leaves)):
        return f" Did you mean `{leaves[found[0]]}`?"
    return (
        did_you_mean(key, known)
        or f" `ftr show` lists the keys, `ftr help {shlex.quote(leaf)}` searches them."
    )


def _within(group: str) -> list[str]:
    return [key for key in SECTION_KEYS if key.startswith(f"{group}.")]


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
