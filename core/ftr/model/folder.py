"""A model directory: checked before a library reads it, and written, with `ftr.json` beside it.

The files of somebody else may choose weights, sizes and words, but no code, no kernel of the Hub,
no file outside of the directory, and no more memory than their weights account for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import read_json
from ftr.config.resolve import check_fields
from ftr.data.clean import Cleaner
from ftr.errors import ModelError, RunError
from ftr.model.adapters import is_adapted, save_adapters

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


LAYERS, LABELS, NUMBERS = 128, 1_000_000, 10_000_000
"""Largest counts of a config that lays out lists by them: of layers (where the weights have fewer
tensors), of labels, in lists.
"""
GROWTH, MARGIN = 8, 256 * 2**20
"""Bytes of a model in memory per byte of its weights, and for what they lack: 8-bit weights become
fp32, tied ones count twice.
"""


CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "adapter_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""Files that transformers or PEFT may read settings from."""


def check_folder(folder: Path) -> None:
    """Refuse a model directory whose files lead elsewhere, links too, or ask for what no model
    needs.

    Raises `ModelError` naming the file and the key.
    """
    for path in (*folder.iterdir(), *(folder / "additional_chat_templates").glob("*")):
        _check_file(path, folder.resolve())
    if (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        raise _refused(
            folder,
            "it has both `config.json` and `adapter_config.json`, a checkpoint and adapters for "
            "another. Remove one",
        )
    for path in folder.glob("*.safetensors.index.json"):
        _check_index(path)
    for name in CONFIGS:
        if (folder / name).exists():
            for key, value in _leaves(_object(folder / name)):
                _check_value(folder, name, key, value)


def check_size(
    make: Callable[[PretrainedConfig], PreTrainedModel], settings: PretrainedConfig, folder: Path
) -> None:
    """Refuse a config whose model would need far more memory than the weights in `folder` account
    for. Nothing is allocated.

    `make` makes the model from the config. Raises `ModelError`.
    """
    import torch

    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    # On this device nothing is drawn. Random numbers and `torch.nn.init` are those of a training in
    # another thread too.
    with torch.device("meta"):
        model = make(settings)
    needed = sum(
        tensor.nbytes for tensors in (model.parameters(), model.buffers()) for tensor in tensors
    )
    if needed > GROWTH * stored + MARGIN:
        raise _refused(
            folder,
            f"by its `config.json` the model has {needed / 1e9:.1f} GB, and its weights have "
            f"{stored / 1e9:.3f} GB. Check the sizes",
        )


def _check_file(path: Path, folder: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        return
    if not path.is_file() and not path.is_dir():
        raise _refused(
            folder,
            f"`{path.name}` is {'a broken link' if path.is_symlink() else 'no regular file'}. "
            "Remove it",
        )
    if path.is_symlink():
        target = path.resolve()
        # A snapshot of the Hub's cache has its files two folders up.
        inside = (
            (folder, folder.parents[1] / "blobs")
            if folder.parent.name == "snapshots"
            else (folder,)
        )
        if not any(target.is_relative_to(place) for place in inside):
            raise _refused(
                folder,
                f"`{path.name}` is a link out of it, to `{target}`. Put the file itself there",
            )


def _check_index(path: Path) -> None:
    weights = _object(path).get("weight_map")
    if not isinstance(weights, dict):
        raise _refused(path.parent, f"`{path.name}` has no `weight_map`")
    for name in set(map(str, weights.values())):
        if not _is_own_weights(name):
            raise _refused(
                path.parent,
                f"`{path.name}` names `{name[:100]}`, which is no safetensors file in it",
            )


def _check_value(folder: Path, name: str, key: str, value: object) -> None:
    where = f"`{key}` in `{name}`"
    if "_implementation" in key and isinstance(value, str) and "/" in value:
        raise _refused(
            folder,
            f"{where} is `{value[:100]}`, code that transformers would fetch from the Hub. Remove "
            "it",
        )
    if key == "quant_method":
        raise _refused(
            folder,
            f"{where}: it has quantized weights, which ftr does not train. Give the model in fp32, "
            "bf16 or fp16",
        )
    if key == "transformers_weights" and not _is_own_weights(str(value)):
        raise _refused(
            folder,
            f"{where} is `{str(value)[:100]}`, which is no safetensors file in it. Remove it",
        )
    if (
        name == "tokenizer_config.json"
        and key.endswith("_file")
        and isinstance(value, str)
        and Path(value).name != value
    ):
        raise _refused(
            folder, f"{where} is `{value[:100]}`, a path that leads out of it. Remove it"
        )
    if isinstance(value, int) and name == "config.json":
        kind = next(
            (
                kind
                for kind in ("label", "layer")
                if re.search(rf"^(num|n|max)_.*{kind}|{kind}s$", key)
            ),
            "",
        )
        most = {"label": LABELS, "layer": LAYERS, "": value if key else NUMBERS}[kind]
        # The weights have at least a tensor a layer, unless layers share them.
        if value > most and (kind != "layer" or value > _tensors(folder)):
            raise _refused(
                folder, f"{where} is {value}, more than its weights can have. Check the file"
            )


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    """Yield all that is neither a mapping nor a list with its innermost key, which is empty for
    numbers in lists.
    """
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            # `{"attn_implementation": {"text_config": ...}}` says it of a part.
            waiting += [
                (key if "_implementation" in key else name, item) for name, item in value.items()
            ]
        elif isinstance(value, list):
            waiting += [("" if isinstance(item, int) else key, item) for item in value]
        else:
            yield key, value


def _tensors(folder: Path) -> int:
    from safetensors import SafetensorError

    try:
        return sum(len(_names(path)) for path in folder.glob("*.safetensors"))
    except (OSError, SafetensorError) as error:
        raise _refused(folder, f"its weights cannot be read ({error})") from None


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _is_own_weights(name: str) -> bool:
    return Path(name).name == name and name.endswith((".safetensors", ".safetensors.index.json"))


def _object(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise _refused(path.parent, f"`{path.name}` cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise _refused(path.parent, f"`{path.name}` holds no JSON object")
    return found


def _refused(folder: Path, cause: str) -> ModelError:
    return ModelError(f"model directory `{folder}`: {cause}.")


FTR_JSON = "ftr.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What `ftr.json` holds: how to read rows for this model and turn its outputs into predictions.

    `base` says of adapters which model they are for: `model` (name and options), and the `config`
    it has with them. `clean` and `stop_words` are what was cleaned from the texts it learned from
    (`data.clean`, `data.stop_words`), and is from all it reads later. `state` is what `head.tune`
    chose on validation rows, such as a no-answer threshold.
    """

    head: str
    head_options: dict[str, Any]
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    max_length: int
    stride: int
    clean: tuple[str, ...] = ()
    stop_words: str | None = None
    state: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] | None = None
    task: str | None = None
    ftr: str = ""
    plugins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take a list, as JSON has it, for the tuple it means."""
        object.__setattr__(self, "clean", tuple(self.clean))

    @property
    def cleaner(self) -> Cleaner:
        """What cleans the texts it is given."""
        return Cleaner(self.clean, self.stop_words)


def save_model(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: ModelCard
) -> None:
    """Write the checkpoint to `folder` as one step: what stood there is whole until the new one is.

    It is not synced: a checkpoint that has it and the end of a run do that. Of a model with
    adapters these alone are written. Raises `RunError` when the disk is full or not writable.
    """
    from safetensors import SafetensorError

    try:
        with atomic.new_folder(folder, synced=False) as fresh:
            if is_adapted(model):
                save_adapters(model, fresh)
                card = replace(
                    card,
                    base={**(card.base or {}), "config": json.loads(model.config.to_json_string())},
                )
            else:
                model.save_pretrained(fresh)
                card = replace(card, base=None)
            tokenizer.save_pretrained(fresh)
            write_card(fresh, card)
    except (
        OSError,
        SafetensorError,
    ) as error:  # a disk that fills up under the weights is the latter
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise RunError(
            f"cannot write the model to `{folder}`: {cause}. Free space or give another `output=`."
        ) from error


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `ftr.json` into a model directory, replacing the one there."""
    atomic.write_json(folder / FTR_JSON, asdict(card))


def read_card(folder: Path) -> ModelCard:
    """Read `ftr.json` of a model directory, which somebody else may have written.

    Raises `ModelError`.
    """
    path = folder / FTR_JSON
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError("it is no mapping")
        check_fields(ModelCard.__dataclass_fields__, values, values, path)
        card = ModelCard(**values)
        _check_card(card)
    except FileNotFoundError as error:
        raise ModelError(
            f"`{folder}` has no `{FTR_JSON}`: it was not written by ftr. Give a run directory or "
            "its `model/`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"`{path}` is damaged ({error}): train again, or restore the file."
        ) from error
    return replace(card, labels=tuple(card.labels), metrics=tuple(card.metrics))


def _check_card(card: ModelCard) -> None:
    """Raise `ValueError` naming the first field that has no value of its kind."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "head": str,
        "head_options": dict,
        "metrics": list,
        "labels": list,
        "state": dict,
    }
    kinds |= {
        "stop_words": (str, type(None)),
        "base": (dict, type(None)),
        "task": (str, type(None)),
        "ftr": str,
        "plugins": dict,
    }
    odd = [name for name, kind in kinds.items() if not isinstance(getattr(card, name), kind)]
    words = {
        "metrics": card.metrics,
        "labels": card.labels,
        "clean": card.clean,
        "plugins": card.plugins,
    }
    odd += [
        name
        for name, value in words.items()
        if name not in odd and not all(isinstance(word, str) for word in value)
    ]
    odd += [
        name
        for name, least in (("max_length", 1), ("stride", 0))
        if not _is_count(getattr(card, name), least)
    ]
    if not odd and (not card.metrics or len(set(card.labels)) < len(card.labels)):
        odd = ["labels" if card.metrics else "metrics"]
    base = card.base.get("model") if isinstance(card.base, dict) else {"name": ""}
    if (
        not isinstance(base, dict)
        or not isinstance(base.get("name"), str)
        or not isinstance(base.get("options", {}), dict)
    ):
        odd.append("base")
    if odd:
        raise ValueError(f"`{odd[0]}` has no value that it can have")


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 2**31
