"""Every key a run knows besides the components' own options, and the answer to one it does not."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ftr.config.data import AugmentConfig, DataConfig
from ftr.config.models import ComputeConfig, CvConfig, RunConfig
from ftr.config.overrides import COMPONENTS, GROUPS, Setting
from ftr.config.space import looks_like_expression
from ftr.config.sweep_keys import SWEEP_KEYS
from ftr.config.trainer import OWN_KEYS, PASSED
from ftr.config.training import LoraConfig, TrainConfig
from ftr.data.options import FileOptions
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean, near

SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataConfig,
    "data.augment": AugmentConfig,
    "train": TrainConfig,
    "train.lora": LoraConfig,
    "compute": ComputeConfig,
    "cv": CvConfig,
}
OPEN_GROUPS = (*COMPONENTS, "trainer")
PLAIN_KEYS = tuple(name for name in RunConfig.model_fields if name not in GROUPS or name in COMPONENTS)
SECTION_KEYS = tuple(
    key for group, section in SECTIONS.items() for name in section.model_fields if (key := f"{group}.{name}") not in SECTIONS
)
KNOWN_KEYS = (*PLAIN_KEYS, *SECTION_KEYS)

# What other tools call them; fields of TrainingArguments are answered from the table that refuses them under `trainer.*`.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **OWN_KEYS,
    "lr": ("learning_rate",),
    "bs": ("batch_size",),
    "num_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "metric": ("metrics",),
    "max_seq_length": ("data.max_length",),
    "doc_stride": ("data.stride",),
    "num_workers": ("compute.workers",),
    "model_name_or_path": ("model",),
    "dataset_name": ("dataset",),
    "train_file": ("dataset", "dataset.train"),
}
SWEEP_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "n_trials": ("trials",),
    "num_trials": ("trials",),
    "num_samples": ("trials",),
    "timeout": ("time",),
    "time_budget_s": ("time",),
    "search_alg": ("searcher",),
    "sampler": ("searcher",),
    "pruner": ("scheduler",),
    "grace_period": ("grace",),
    "reduction_factor": ("reduction",),
    "direction": ("mode",),
    "max_concurrent_trials": ("concurrent",),
    "n_jobs": ("concurrent",),
}


def check_keys(settings: Mapping[str, Setting], *, sweep: bool = False) -> None:
    """Raise `ConfigError` for the first key that is none, with the nearest that is.

    Keys and expressions of a sweep are told from mistakes, and refused unless it is a `sweep`.
    """
    for key, setting in settings.items():
        group, dot, name = key.partition(".")
        if key in KNOWN_KEYS or (group in OPEN_GROUPS and name):
            if not sweep and looks_like_expression(setting.value) and not _takes(key, str(setting.value)):
                raise ConfigError(f"`{key}` is `{setting.value}` ({setting.origin}), a search space: use `ftr sweep`, or give one value.")
            continue
        if key in SWEEP_KEYS:
            if sweep:
                continue
            raise ConfigError(f"`{key}` ({setting.origin}) is a key of `ftr sweep`, not of a run.{_nearest(key, '', ())}")
        if key in GROUPS or (group in GROUPS and not name):
            raise ConfigError(_a_group(key, setting))
        within = key.rpartition(".")[0] if key.rpartition(".")[0] in SECTIONS else group if dot else ""
        raise ConfigError(f"`{key}` ({setting.origin}) is not a key.{_nearest(key, within, SWEEP_KEYS if sweep else ())}")


def search_hint(settings: Mapping[str, Setting], error: str) -> str:
    """Return what to say after an error about an option whose value is an expression, else ""."""
    searched = any(looks_like_expression(setting.value) and str(setting.value) in error for setting in settings.values())
    return " That is a search space: use `ftr sweep`, or give one value." if searched else ""


def _takes(key: str, text: str) -> bool:
    """Whether a key may be this text. What an option or a field of `trainer` takes is found out later, by its own model."""
    if key in ("model", "head"):
        return Path(text).exists()
    group, _, name = key.rpartition(".")
    if group.partition(".")[0] in OPEN_GROUPS or key in COMPONENTS:
        return True
    try:
        _checked(group, name).validate_python(text)
    except ValidationError:
        return False
    return True


@cache
def _checked(group: str, name: str) -> "TypeAdapter[object]":
    field = (SECTIONS[group] if group else RunConfig).model_fields[name]
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotated)


def _a_group(key: str, setting: Setting) -> str:
    group = key.rstrip(".")
    near = " Did you mean `dataset`?" if group == "data" else " Did you mean `train.…`?" if group == "trainer" else ""
    within = [known for known in SECTION_KEYS if known.startswith(f"{group}.")] or [f"{group}.<field of transformers.TrainingArguments>"]
    return f"`{key}` ({setting.origin}) is a group of keys: set one of {_listed(within)}.{near}"


def _nearest(key: str, group: str, more: tuple[str, ...]) -> str:
    leaf = key.rpartition(".")[2]
    known_keys = (*more, *KNOWN_KEYS)
    synonyms = {**SYNONYMS, **SWEEP_SYNONYMS} if more else SYNONYMS
    same = [known for known in known_keys if known.rpartition(".")[2] == leaf] or [*synonyms.get(leaf, ()), *_elsewhere(leaf)]
    if same:
        return f" Did you mean {' or '.join(f'`{name}`' for name in same)}?"
    if key in SWEEP_KEYS:
        return ""
    if group in SECTIONS:
        within = [known for known in SECTION_KEYS if known.startswith(f"{group}.")]
        return did_you_mean(key, within) or f" `{group}` has {_listed(within)}."
    leaves = {known.rpartition(".")[2]: known for known in reversed(known_keys)}
    return (
        did_you_mean(key, known_keys)
        or _through_leaf(leaf, leaves)
        or f" Keys are {_listed(known_keys)}; fields of `transformers.TrainingArguments` go under `trainer.`."
    )


def _elsewhere(leaf: str) -> list[str]:
    """Return the key of that name in the groups whose keys are not ftr's own."""
    return ([f"trainer.{leaf}"] if leaf in PASSED else []) + ([f"dataset.{leaf}"] if leaf in FileOptions.model_fields else [])


def _through_leaf(leaf: str, leaves: Mapping[str, str]) -> str:
    found = near(leaf, leaves)
    return f" Did you mean `{leaves[found[0]]}`?" if found else ""


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
