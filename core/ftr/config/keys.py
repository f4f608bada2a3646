"""Every key a run knows besides the components' own options, and the answer to one it does not."""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from ftr.config.models import ComputeConfig, DataConfig, RunConfig, TrainConfig
from ftr.config.overrides import COMPONENTS, GROUPS, Setting
from ftr.config.trainer import OWN_KEYS
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean, near

SECTIONS: Mapping[str, type[BaseModel]] = {"data": DataConfig, "train": TrainConfig, "compute": ComputeConfig}
OPEN_GROUPS = (*COMPONENTS, "trainer")
PLAIN_KEYS = tuple(name for name in RunConfig.model_fields if name not in GROUPS or name in COMPONENTS)
SECTION_KEYS = tuple(f"{group}.{name}" for group, section in SECTIONS.items() for name in section.model_fields)
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


def check_keys(settings: Mapping[str, Setting]) -> None:
    """Raise `ConfigError` for the first key that is none, with the nearest that is."""
    for key, setting in settings.items():
        group, dot, name = key.partition(".")
        if key in KNOWN_KEYS or (group in OPEN_GROUPS and name):
            continue
        if group in GROUPS and not name:
            raise ConfigError(_a_group(key, group, setting))
        raise ConfigError(f"`{key}` ({setting.origin}) is not a key.{_nearest(key, group if dot else '')}")


def _a_group(key: str, group: str, setting: Setting) -> str:
    near = " Did you mean `dataset`?" if group == "data" else " Did you mean `train.…`?" if group == "trainer" else ""
    within = [key for key in SECTION_KEYS if key.startswith(f"{group}.")] or [f"{group}.<field of transformers.TrainingArguments>"]
    return f"`{key}` ({setting.origin}) is a group of keys: set one of {_listed(within)}.{near}"


def _nearest(key: str, group: str) -> str:
    leaf = key.rpartition(".")[2]
    same = [known for known in KNOWN_KEYS if known.rpartition(".")[2] == leaf] or [*SYNONYMS.get(leaf, ())]
    if same:
        return f" Did you mean {' or '.join(f'`{name}`' for name in same)}?"
    if group in SECTIONS:
        within = [known for known in SECTION_KEYS if known.startswith(f"{group}.")]
        return did_you_mean(key, within) or f" `{group}` has {_listed(within)}."
    leaves = {known.rpartition(".")[2]: known for known in reversed(KNOWN_KEYS)}
    return (
        did_you_mean(key, KNOWN_KEYS)
        or _through_leaf(leaf, leaves)
        or f" Keys are {_listed(KNOWN_KEYS)}; fields of `transformers.TrainingArguments` go under `trainer.`."
    )


def _through_leaf(leaf: str, leaves: Mapping[str, str]) -> str:
    found = near(leaf, leaves)
    return f" Did you mean `{leaves[found[0]]}`?" if found else ""


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
