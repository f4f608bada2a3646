"""Low-rank adapters through `peft` (`train.lora.*`).

Hu et al. 2021: a weight W of a layer stays as it is, and W + (alpha / rank) B A is used, of which A
and B train. The head trains as a whole; it is saved with the adapters (`modules_to_save`).
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from ftr.atomic import read_json
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, did_you_mean
from ftr.model.parameters import layers_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL_LINEAR = "all-linear"
"""Means every linear layer but the head's to `peft`."""
TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForTokenClassification": "TOKEN_CLS",
}


PATTERNS = ("target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern")
"""Settings of adapters that `peft` may read as regular expressions."""
SETTINGS = (
    *PATTERNS,
    *("r", "lora_alpha", "lora_dropout", "modules_to_save", "fan_in_fan_out", "bias"),
    *("use_rslora", "use_dora", "layers_to_transform", "task_type", "trainable_token_indices"),
    *("target_parameters", "lora_bias", "ensure_weight_tying"),
)
"""Settings that decide how the weights of low-rank adapters are read."""
NOT_USED = (
    *("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "init_lora_weights", "loftq_config", "eva_config", "corda_config"),
    *("lora_ga_config", "megatron_core", "qalora_group_size", "runtime_config"),
)
"""Settings that describe how adapters were made, or where from."""
UNKNOWN_TO_PEFT = {
    "distilbert": ["q_lin", "v_lin"],
    "mpnet": ["q", "v"],
    "eurobert": ["q_proj", "v_proj"],
    # One matrix for queries, keys and values, as `c_attn` of GPT-2.
    "modernbert": ["Wqkv"],
}
"""By the kind of model: queries and values, as in Hu et al. 2021, and as `peft` has it for the
like.
"""


def is_adapter(folder: Path) -> bool:
    """Whether a model directory holds adapters rather than a checkpoint of its own."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def add_adapters(
    model: PreTrainedModel, config: RunConfig, source: Mapping[str, Any]
) -> PreTrainedModel:
    """Return `model` with adapters as `train.lora.*` asks, drawn from the seed: a `peft.PeftModel`
    that behaves like it.

    `source` is the model's `describe()`: a hub id and revision, or a directory, which the adapters
    will name as their base. Raises `ConfigError` when no module, or not every
    name in `train.lora.targets`, is found.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    lora = config.train.lora
    if getattr(model, "body_renamed", False) and not lora.merge:
        raise ConfigError(
            f"`train.lora.rank`: transformers does not find the weights of "
            f"`{config.model.name}` for a `{type(model).__name__}`, so nobody could load adapters "
            "that refer to them. Set `train.lora.merge=true`, which writes a plain checkpoint."
        )
    if is_adapter(Path(str(source.get("source")))) and not lora.merge:
        raise ConfigError(
            f"`train.lora.rank`: the `model` consists of adapters (`{source['source']}`), and "
            "`peft` cannot add adapters to adapters. Set `train.lora.merge=true`, which writes a "
            "plain checkpoint, or leave `train.lora.rank` out."
        )
    base = model.base_model
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(model, config),
        modules_to_save=_head(model, config) or None,
        task_type=next(
            (task for name, task in TASKS.items() if type(model).__name__.endswith(name)), None
        ),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in base.modules()),
    )
    set_seed(config.weights_seed)
    try:
        with warnings.catch_warnings():
            # Of GPT-2's transposed weights, which are the setting above.
            warnings.simplefilter("ignore")
            made: PreTrainedModel = get_peft_model(model, settings)
    except ValueError as error:
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"`train.lora.rank`: no adapters can be put into model `{config.model.name}` "
            f"({cause}). Name its modules with `train.lora.targets`, such as "
            f"{_known(base)}."
        ) from error
    found = made.peft_config["default"]
    found.base_model_name_or_path, found.revision = base_of(source)
    # `peft` adds names that classifiers often have to those given.
    found.modules_to_save = list(dict.fromkeys(found.modules_to_save or ())) or None
    return made


def base_of(source: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return hub id and revision from a model's `describe()`, or its directory and None."""
    name = str(source.get("hub_id") or source.get("source"))
    if not source.get("hub_id") and Path(name).is_dir():
        return str(Path(name).resolve()), None
    return name, source.get("revision")


def local_base(model: nn.Module) -> str | None:
    """Return the directory that the adapters in a model name as their base, None where that is on
    the hub or there are no adapters.
    """
    if not is_adapted(model):
        return None
    settings: Any = model.peft_config
    name = str(settings["default"].base_model_name_or_path)
    return name if Path(name).is_dir() else None


def is_adapted(model: nn.Module) -> bool:
    """Whether a model has adapters in it."""
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def merge_adapters(model: PreTrainedModel, *, keep: bool = True) -> PreTrainedModel:
    """Return the plain model with the adapters added to its weights; `model`
    is unusable afterwards, unless `keep`.
    """
    if not is_adapted(model):
        return model
    plain: PreTrainedModel = (copy.deepcopy(model) if keep else model).merge_and_unload()
    # What was frozen for the adapters may train again.
    return plain.requires_grad_(True)


def save_adapters(model: PreTrainedModel, folder: Path) -> None:
    """Write adapters and head as `peft` does, without its card, which would be empty."""
    # "auto" would ask the hub whether the vocabulary grew, which it does not here.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load_adapters(model: PreTrainedModel, folder: Path) -> list[str]:
    """Load the weights that `save_adapters` wrote into a model that has such adapters; returns the
    names that were missing.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    report = set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    return [name for name in report.missing_keys if ".lora_" in name or ".modules_to_save." in name]


def load_adapted(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return a plain `model` with the adapters of a directory added to its weights.

    Raises `ValueError` where they do not fit.
    """
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_peft_model(model, LoraConfig(**_plain_settings(folder)))
    missing = load_adapters(made, folder)
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, the first `{missing[0]}`")
    return merge_adapters(made, keep=False)


def _plain_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of plain low-rank adapters in `adapter_config.json`; `peft` would also
    import modules and load pickles it names.

    Raises `ValueError` for anything else, and for what would need more memory or time than its
    weights account for.
    """
    found = _read(folder / ADAPTER_CONFIG)
    other = [key for key, value in found.items() if value and key not in (*SETTINGS, *NOT_USED)]
    if found.get("peft_type") != "LORA" or other:
        asked = f"`{other[0]}`" if other else f"adapters of type `{found.get('peft_type')}`"
        raise ValueError(f"`{ADAPTER_CONFIG}` asks for {asked}, and ftr reads plain LoRA alone")
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        names = list(file.keys())
        shapes = [file.get_slice(name).get_shape() for name in names if ".lora_" in name]
        ranks = [min(shape, default=0) for shape in shapes]
    if max([found.get("r", 0), *(found.get("rank_pattern") or {}).values()]) > max(
        ranks, default=0
    ):
        raise ValueError(f"`r` in `{ADAPTER_CONFIG}` is more than the rank of its weights")
    for key in PATTERNS:
        value = found.get(key) or ()
        for text in [value] if isinstance(value, str) else value:
            if len(text) > 300 or re.search(r"[*+})][*+{]|[*+].*[*+].*[*+].*[*+]", text):
                raise ValueError(
                    f"`{text[:60]}` in `{ADAPTER_CONFIG}` is a pattern that may never finish "
                    "matching: name the modules"
                )
    return {key: value for key, value in found.items() if key in SETTINGS}


def settings_of(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a model directory, or what it would be for the model that adapters
    are in.
    """
    if not is_adapter(folder):
        return _read(folder / "config.json")
    card = folder / "ftr.json"
    base = _read(card).get("base") if card.is_file() else None
    return base["config"] if base else _read(folder / ADAPTER_CONFIG)


def _targets(model: PreTrainedModel, config: RunConfig) -> str | list[str] | None:
    """Return the names of modules to adapt, which all exist; None for those that `peft` knows for
    the model.
    """
    asked = config.train.lora.targets
    if asked is None:
        return UNKNOWN_TO_PEFT.get(model.config.model_type)
    if asked == (ALL_LINEAR,):
        return ALL_LINEAR
    inside = [name for name, _ in model.base_model.named_modules() if name]
    for target in asked:
        if not any(name == target or name.endswith(f".{target}") for name in inside):
            names = sorted({name.rpartition(".")[2] for name in inside})
            raise ConfigError(
                f"`train.lora.targets`: model `{config.model.name}` has no module "
                f"`{target}`.{did_you_mean(target, names)} Those that can have adapters: "
                f"{_known(model.base_model)}; or `all-linear`."
            )
    return list(asked)


def _head(model: PreTrainedModel, config: RunConfig) -> list[str]:
    """Return the modules that train as a whole: those beside the backbone, and those of it that the
    checkpoint did not have.
    """
    base = model.base_model
    if base is model:
        return []
    loose = next((name for name, _ in model.named_parameters(recurse=False)), None)
    if loose is not None:
        raise ConfigError(
            f"`train.lora.rank`: head `{config.head.name}` adds weights that are in no module "
            f"(`{loose}`), which `peft` cannot save with the adapters. Use "
            "`train.freeze=backbone` instead."
        )
    names = [
        name
        for name, module in model.named_children()
        if module is not base and any(True for _ in module.parameters())
    ]
    prefix = f"{model.base_model_prefix}."
    new = {
        prefix + name.removeprefix(prefix).partition(".")[0]
        for name in getattr(model, "new_weights", ())
        if name.startswith(prefix)
    }
    return [*names, *sorted(new)]


def _known(base: nn.Module) -> str:
    """Return the names of the modules of a layer that can have adapters."""
    from torch import nn

    found = {
        name.rpartition(".")[2]: None
        for name, one in (layers_of(base) or [base])[0].named_modules()
        if isinstance(one, nn.Linear) or type(one).__name__ == "Conv1D"
    }
    return ", ".join(f"`{name}`" for name in found) or "none"


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"`{path.name}` holds no JSON object")
    return found
