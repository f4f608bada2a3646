"""The head of a checkpoint that was trained before: its rows follow the class names of the new data, or it is drawn anew."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr.train.architecture import in_body, summarize_last

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_DEFAULT = re.compile(r"LABEL_(\d+)")
_NUMBER = re.compile(r"-?\d+(\.\d*)?")
_SHOWN = 6
"""Class names that a line shows of each side."""


@dataclass(frozen=True, slots=True)
class Names:
    """The classes that a checkpoint was trained on, in the order of its rows; `given` is false where it does not name them."""

    names: tuple[str, ...]
    given: bool

    @classmethod
    def of(cls, settings: PretrainedConfig) -> Names:
        """Return what `id2label` of a config names; numbers where these are transformers' own `LABEL_0`, `LABEL_1`, ..."""
        by_id: dict[int, Any] = settings.id2label or {}
        names = tuple(str(by_id[number]) for number in range(len(by_id)) if number in by_id)
        if len(names) < len(by_id) or _unnamed(names):
            return cls(tuple(map(str, range(len(by_id)))), given=False)
        return cls(names, given=True)

    @property
    def config(self) -> dict[str, Any]:
        """The classes as config values of transformers."""
        ids = {name: number for number, name in enumerate(self.names)}
        return {"num_labels": len(self.names), "id2label": dict(enumerate(self.names)), "label2id": ids}


def row_order(known: Sequence[str], asked: Sequence[str]) -> list[int] | None:
    """Return the place in `known` of each name in `asked`, None unless both name the same classes.

    `1.0` is `1`. Names that differ in case alone are the same where that makes no two classes of a side one.
    """
    for spelled in (_number, _folded):
        places = {spelled(name): place for place, name in enumerate(known)}
        wanted = [spelled(name) for name in asked]
        if len(places) == len(known) == len(set(wanted)) == len(asked) and set(wanted) == set(places):
            return [places[name] for name in wanted]
    return None


def follow_names(model: PreTrainedModel, known: Names, asked: Mapping[int, str], *, mismatched: bool = False) -> PreTrainedModel:
    """Return the model with the head for the classes `asked`, from one whose head was trained for those that are `known`.

    The rows come into the order of `asked`, or are drawn anew where these are other classes; `head_note` says which, and is
    None where no head was trained before. `new_weights` are those the checkpoint did not have or, if `mismatched`, in another shape.
    """
    new, names = model.new_weights, list(asked.values())
    order = row_order(known.names, names)
    trained = any(name not in new and not in_body(model, name) for name, _ in model.named_parameters())
    if mismatched or not trained:
        model.head_note = f"head: new: {_other(known, names)}" if mismatched else None
    elif order == list(range(len(names))):
        model.head_note = f"head: kept from the checkpoint, whose classes are those of the data: {_listed(names)}"
    elif (rows := class_rows(model)).keys() <= set(new):
        model.head_note = None
    elif order is not None:
        _reorder(model, rows, order)
        model.head_note = f"head: rows reordered by name: {_listed(known.names)} in the checkpoint, {_listed(names)} in the data"
    else:
        model = _redrawn(model, rows, asked)
        model.new_weights = frozenset({*new, *rows})
        model.head_note = f"head: new: {_other(known, names)}"
    model.config.id2label, model.config.label2id = dict(asked), {name: number for number, name in asked.items()}
    return model


def class_rows(model: PreTrainedModel) -> dict[str, list[int]]:
    """Return, by the name of each weight that has a row for every class, the dimensions along which they stand.

    Whatever the architecture: those whose shape is another where the same model is made, without memory, for one class more.
    """
    import torch

    settings = copy.deepcopy(model.config)
    count = settings.num_labels
    settings.num_labels = count + 1
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        larger = dict(type(model)(settings).named_parameters())
    found = {
        name: [place for place, (ours, theirs) in enumerate(zip(weight.shape, larger[name].shape, strict=True)) if ours != theirs]
        for name, weight in model.named_parameters()
        if name in larger
    }
    return {name: places for name, places in found.items() if places}


def _reorder(model: PreTrainedModel, rows: dict[str, list[int]], order: Sequence[int]) -> None:
    import torch

    for name, places in rows.items():
        weight = model.get_parameter(name).detach()
        for place in places:
            weight.copy_(weight.index_select(place, torch.tensor(order)))


def _redrawn(model: PreTrainedModel, rows: Collection[str], asked: Mapping[int, str]) -> PreTrainedModel:
    """Return the model with the weights `rows` drawn as transformers draws those that a checkpoint does not have."""
    settings = copy.deepcopy(model.config)
    settings.id2label = dict(asked)
    weights = {name: weight for name, weight in model.state_dict().items() if name not in rows}
    again: PreTrainedModel = type(model).from_pretrained(None, config=settings, state_dict=weights, dtype="float32")
    summarize_last(again)
    return again


def _other(known: Names, asked: Sequence[str]) -> str:
    if not known.given:
        return (
            f"the checkpoint does not name its {len(known.names)} classes, so nobody knows which of its rows stands for which of "
            f"{_listed(asked)}. To keep its head, write their names into `id2label` of its `config.json`"
        )
    return f"the classes of the checkpoint are {_listed(known.names)}, those of the data {_listed(asked)}"


def _unnamed(names: Sequence[str]) -> bool:
    return all((match := _DEFAULT.fullmatch(name)) is not None and int(match[1]) == place for place, name in enumerate(names))


def _number(name: str) -> str:
    text = name.strip()
    if not _NUMBER.fullmatch(text) or len(text) > 15:
        return text
    return str(int(float(text))) if float(text).is_integer() else repr(float(text))


def _folded(name: str) -> str:
    return _number(name).casefold()


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
