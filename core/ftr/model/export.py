"""Write a trained model: a plain checkpoint, with `ftr.json` for what transformers has no place
for.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.resolve import check_fields
from ftr.data.clean import Cleaner
from ftr.errors import ModelError, RunError
from ftr.model.adapters import is_adapted, save_adapters
from ftr.model.folder import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
