"""A model directory: checked before a library reads it, and written, with `ftr.json` beside it.

Files of other people may choose weights, sizes and words, but no code, no kernel of the Hub, no
file outside of the directory, and no more memory than their weights account for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from ftr import atomic
from ftr.atomic import read_json, sha256
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
        check_file(path, folder.resolve())
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


def check_file(path: Path, folder: Path) -> None:
    """Raise `ModelError` for a file of a model directory that is none, or a link out of it."""
    link = path.is_symlink()
    if path.is_dir() and not link:
        return
    if not path.is_file() and not path.is_dir():
        kind = "a broken link" if link else "no regular file"
        raise _refused(folder, f"`{path.name}` is {kind}. Remove it")
    # A snapshot of the Hub's cache, of which the folder may be a member or `onnx`, has its files
    # beside the snapshots.
    folder = folder.absolute()
    above = [one.parent / "blobs" for one in folder.parents[:3] if one.name == "snapshots"]
    allowed = [one.resolve() for one in (folder, *above[:1])]
    target = path.resolve()
    if link and not any(target.is_relative_to(inside) for inside in allowed):
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
    text = value if isinstance(value, str) else ""
    if "_implementation" in key and "/" in text:
        problem = f"is `{text[:100]}`, code that transformers would fetch from the Hub. Remove it"
    elif key == "quant_method":
        problem = (
            "means that it has quantized weights, which ftr does not train. Give the model in "
            "fp32, bf16 or fp16"
        )
    elif key == "transformers_weights" and not _is_own_weights(str(value)):
        problem = f"is `{str(value)[:100]}`, which is no safetensors file in it. Remove it"
    elif name == "tokenizer_config.json" and key.endswith("_file") and Path(text).name != text:
        problem = f"is `{text[:100]}`, a path that leads out of it. Remove it"
    elif isinstance(value, int) and name == "config.json" and _too_many(folder, key, value):
        problem = f"is {value}, more than its weights can have. Check the file"
    else:
        return
    raise _refused(folder, f"`{key}` in `{name}` {problem}")


def _too_many(folder: Path, key: str, value: int) -> bool:
    """Whether a number is more than a model can have labels or layers, or than a list may hold."""
    if not key:
        return value > NUMBERS
    if re.search(r"^(num|n|max)_.*label|labels$", key):
        return value > LABELS
    if re.search(r"^(num|n|max)_.*layer|layers$", key):
        # The weights have at least a tensor a layer, unless layers share them.
        return value > LAYERS and value > _tensors(folder)
    return False


def _leaves(value: object) -> Iterator[tuple[str, object]]:
    """Yield all that is neither a mapping nor a list with its innermost key, which is empty for
    numbers in lists.
    """
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            # `{"attn_implementation": {"text_config": ...}}` is for a part of the model.
            waiting += [
                (key if "_implementation" in key else name, item) for name, item in value.items()
            ]
        elif isinstance(value, list):
            waiting += [("" if isinstance(item, int) else key, item) for item in value]
        else:
            yield key, value


def _tensors(folder: Path) -> int:
    count = 0
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                count += len(list(file.keys()))
    except (OSError, SafetensorError) as error:
        raise _refused(folder, f"its weights cannot be read ({error})") from None
    return count


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


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name is duplicated")
    return names


def _names_a_model(base: dict[str, Any] | None) -> dict[str, Any] | None:
    model = {"name": ""} if base is None else base.get("model")
    if not (
        isinstance(model, dict)
        and isinstance(model.get("name"), str)
        and isinstance(model.get("options", {}), dict)
    ):
        raise ValueError("no `model` with `name` and `options`")
    return base


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What `ftr.json` holds: how to read rows for this model and turn its outputs into predictions.

    `base` is the model that adapters are for: `model` (name and options), and the `config` it has
    with them. `clean` and `stop_words` (`data.clean`, `data.stop_words`) are how training texts
    were cleaned, and how later texts are. `state` is what `head.calibrate` chose on validation
    rows, such as a no-answer threshold.
    """

    head: str
    head_options: dict[str, Any]
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    labels: Annotated[tuple[str, ...], AfterValidator(_distinct)]
    max_length: Annotated[int, Field(ge=1, le=2**31)]
    stride: Annotated[int, Field(ge=0, le=2**31)]
    clean: tuple[str, ...] = ()
    stop_words: str | None = None
    state: dict[str, Any] = field(default_factory=dict)
    base: Annotated[dict[str, Any] | None, AfterValidator(_names_a_model)] = None
    task: str | None = None
    ftr: str = ""
    plugins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Turn lists, as JSON has them, into tuples."""
        for name in ("metrics", "labels", "clean"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def cleaner(self) -> Cleaner:
        """What cleans the texts it is given."""
        return Cleaner(self.clean, self.stop_words)


def save_model(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: ModelCard
) -> None:
    """Replace `folder` by the checkpoint, atomically.

    It is not synced: a checkpoint that has it and the end of a run do that. Of a model with
    adapters these alone are written. Raises `RunError` when the disk is full or not writable.
    """
    try:
        with atomic.new_folder(folder, synced=False) as fresh:
            if is_adapted(model):
                save_adapters(model, fresh)
                settings = json.loads(model.config.to_json_string())
                card = replace(card, base={**(card.base or {}), "config": settings})
            else:
                model.save_pretrained(fresh)
                card = replace(card, base=None)
            tokenizer.save_pretrained(fresh)
            write_card(fresh, card)
    except (OSError, SafetensorError) as error:  # a disk that fills up raises the latter
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise RunError(
            f"cannot write the model to `{folder}`: {cause}. Free space or give another `output=`."
        ) from error


def write_card(folder: Path, card: ModelCard) -> None:
    """Write `ftr.json` into a model directory, replacing the one there."""
    atomic.write_json(folder / FTR_JSON, asdict(card))


def read_card(folder: Path) -> ModelCard:
    """Read `ftr.json` of a model directory, which another user may have written.

    Raises `ModelError`.
    """
    path = folder / FTR_JSON
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError("it is no mapping")
        check_fields(ModelCard.__dataclass_fields__, values, values, path)
        return TypeAdapter(ModelCard).validate_json(json.dumps(values), strict=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"`{folder}` has no `{FTR_JSON}`: it was not written by ftr. Give a run directory or "
            "its `model/`."
        ) from error
    except ValidationError as error:
        name = next(iter(error.errors()[0]["loc"]), "")
        raise ModelError(
            f"`{path}` is damaged (`{name}` has no value that it can have): train again, or "
            "restore the file."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"`{path}` is damaged ({error}): train again, or restore the file."
        ) from error


def weights_of(model: Path) -> dict[str, str]:
    """Return the sha256 of each weight file in a model directory, members included, by its relative
    path.
    """
    return {
        path.relative_to(model).as_posix(): sha256(path)
        for path in sorted(model.rglob("*.safetensors"))
        if path.is_file()
    }
