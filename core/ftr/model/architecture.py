"""Differences between kinds of models, and the head of a checkpoint that was trained before."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr.data.labels import folded, label_key
from ftr.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
"""Config keys with the number of positions; T5, Funnel and others have relative positions without
a limit.
"""
OFFSET_POSITIONS = (
    *("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "lilt"),
    *("data2vec-text", "ibert", "roberta-prelayernorm", "luke", "xmod", "esm", "markuplm"),
    "layoutlmv3",
)
"""Architectures that count positions from `pad_token_id + 1`, so that many of their positions are
never used.
"""
ANY_TOKEN_TYPES = ("xlnet", "funnel")
"""Architectures that compare token types with each other and have no embeddings for them."""
ENDLESS = 1 << 24
"""More positions than any model has: `1e30` and its like mean that there is no limit."""
PROBE = (("a", "b"), ("one two three", "four five six seven eight nine ten"))
"""Two short pairs of texts of different lengths."""
TOLERANCE = 1e-4
"""How far outputs may change with padding, as a share of the largest."""


def positions(settings: PretrainedConfig) -> int | None:
    """Return the longest input in tokens that a model of this config has positions for; None: any
    length.

    -1 (XLNet), 0 and huge numbers mean that there is no limit.
    """
    text = settings.get_text_config()
    found = next(
        (value for name in POSITIONS if isinstance(value := getattr(text, name, None), int)), None
    )
    if found is not None and text.model_type in OFFSET_POSITIONS:
        found -= text.pad_token_id + 1
    return found if found is not None and 0 < found < ENDLESS else None


def reads_token_types(settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model of this config has an embedding for every token type that the tokenizer gives
    the texts of a pair.

    Models without a `type_vocab_size` have no token types, whatever their tokenizer says: GPT-2
    would look them up as words.
    """
    if settings.model_type in ANY_TOKEN_TYPES:
        return True
    known = getattr(settings.get_text_config(), "type_vocab_size", None) or 0
    # A single type carries no information.
    return known > 1 and bool(
        max(tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"], default=0) < known
    )


def without_token_types(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer return no token types, also where it is loaded after it was saved."""
    tokenizer.model_input_names = [
        name for name in tokenizer.model_input_names if name != "token_type_ids"
    ]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names


def in_body(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight is part of the body of a model, which a checkpoint must have, rather than of
    its head.
    """
    if model.base_model is not model:
        return name.startswith(f"{model.base_model_prefix}.")
    first = dict(model.named_children()).get(name.partition(".")[0])
    return first is not None and any(
        type(one).__name__ in ("ModuleList", "Embedding") for one in first.modules()
    )


def body_renaming(
    kind: type[PreTrainedModel] | None, reader: type[PreTrainedModel] | None
) -> dict[str, str] | None:
    """Return the `key_mapping` with which a class of transformers finds the body in checkpoints of
    its family; None where it needs none.

    `reader` is the class for question answering: those of Llama and Qwen3 call the body
    `transformer`, all other classes of these families, and so the checkpoints on the Hub, `model`.
    """
    if kind is None:
        return None
    family = [one for one in kind.__mro__[1:] if one.__name__.endswith("PreTrainedModel")]
    names = {str(getattr(one, "base_model_prefix", "")) for one in (*family[:1], reader)}
    own = kind.base_model_prefix
    return {rf"^{name}\.": f"{own}." for name in names - {own, ""}} or None


def summarize_last(model: PreTrainedModel) -> None:
    """Move padding to the left for a model that classifies a row by its last token (XLNet)."""
    if hasattr(model, "sequence_summary") and getattr(model.config, "summary_type", None) == "last":
        model.base_model.register_forward_pre_hook(_padded_left, with_kwargs=True)


def _padded_left(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs (batch, length) with each row's padding moved from its end to its
    beginning.
    """
    import torch

    mask = kwargs["attention_mask"]
    length = mask.shape[1]
    sources = (torch.arange(length, device=mask.device) + mask.sum(dim=1, keepdim=True)) % length

    def moved(value: Any) -> Any:
        return (
            value.gather(1, sources)
            if isinstance(value, torch.Tensor) and value.shape == mask.shape
            else value
        )

    return tuple(map(moved, args)), {name: moved(value) for name, value in kwargs.items()}


def check_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, described: str
) -> None:
    """Raise `ModelError` unless the outputs for two rows together are those of each alone, which
    padding must not change.
    """
    import torch

    # Padding on the right and a mask, as `ftr.train.batches.pad` makes them.
    settings = {"padding": True, "padding_side": "right", "return_attention_mask": True}
    firsts, seconds = map(list, zip(*PROBE, strict=True))
    rows = tokenizer(firsts, seconds, return_tensors="pt", **settings)
    kind = model.config.model_type
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            together = _logits(model(**rows))
            alone = [
                _logits(model(**tokenizer([first], [second], return_tensors="pt", **settings)))
                for first, second in PROBE
            ]
            # Reformer accepts other lengths in training than afterwards.
            model.train()(**rows)
    except Exception as error:  # a model may refuse its inputs in any way
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(
            f"{described}: this `{kind}` fails on two short texts ({first}). Check its files, or "
            "give another model."
        ) from error
    finally:
        model.eval()
    change = max(
        (
            float((both[row, : own.shape[1]] - own[0]).abs().max())
            / max(float(own.abs().max()), 1.0)
            for row, outputs in enumerate(alone)
            for both, own in zip(together, outputs, strict=True)
        ),
        default=0.0,
    )
    if not change <= TOLERANCE:
        raise ModelError(
            f"{described}: the outputs of this `{kind}` for a text change with the texts beside it "
            f"in a batch, by {change:.1g} of their size: it reads padding as text. Give another "
            "model."
        )


def _logits(outputs: Any) -> list[Tensor]:
    """Return the outputs that heads read."""
    return [outputs[name] for name in ("logits", "start_logits", "end_logits") if name in outputs]


_DEFAULT = re.compile(r"LABEL_(\d+)")
_SHOWN = 6
"""Class names that a line shows of each side."""


@dataclass(frozen=True, slots=True)
class Names:
    """The classes that a checkpoint was trained on, in the order of its rows; `given` is false
    where it does not name them.
    """

    names: tuple[str, ...]
    given: bool

    @classmethod
    def of(cls, settings: PretrainedConfig) -> Names:
        """Return what `id2label` of a config names; numbers where these are transformers' own
        `LABEL_0`, `LABEL_1`, ...
        """
        by_id: dict[int, Any] = settings.id2label or {}
        names = tuple(str(by_id[number]) for number in range(len(by_id)) if number in by_id)
        if len(names) < len(by_id) or _unnamed(names):
            return cls(tuple(map(str, range(len(by_id)))), given=False)
        return cls(names, given=True)

    @property
    def config(self) -> dict[str, Any]:
        """The classes as config values of transformers."""
        ids = {name: number for number, name in enumerate(self.names)}
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": ids,
        }


def row_order(known: Sequence[str], asked: Sequence[str]) -> list[int] | None:
    """Return the index in `known` of each name in `asked`, None unless both name the same classes.

    Spellings of one class are those of the data, `1.0` and `1`. Names that differ only in case or
    spaces are the same where that makes no two classes of a side one.
    """
    for spelled in (label_key, folded):
        rows = {spelled(name): row for row, name in enumerate(known)}
        wanted = [spelled(name) for name in asked]
        distinct = len(rows) == len(known) and len(set(wanted)) == len(asked)
        if distinct and set(wanted) == set(rows):
            return [rows[name] for name in wanted]
    return None


def fresh_rows(model: PreTrainedModel, made: Collection[str]) -> PreTrainedModel:
    """Return a model without names of classes, with the rows of its head initialized again where
    they were trained in another class than its own.

    `made` are the `architectures` of the checkpoint. ModernBERT calls the rows for a start and an
    end `classifier`, as those for two classes.
    """
    if not made or type(model).__name__ in made or not _has_head(model):
        return model
    rows = class_rows(model)
    if rows.keys() <= set(model.new_weights):
        return model
    new = {*model.new_weights, *rows}
    again = _redrawn(model, rows, dict(model.config.id2label))
    again.new_weights, again.head_note = frozenset(new), model.head_note
    return again


def align_head(
    model: PreTrainedModel,
    known: Names,
    asked: Mapping[int, str],
    *,
    mismatched: bool = False,
    made: Collection[str] = (),
) -> PreTrainedModel:
    """Return the model with the head for the classes `asked`, from one whose head was trained for
    those that are `known`.

    The rows are put into the order of `asked`, or initialized again where these are other classes;
    `head_note` is the message about it, None where no head was trained before. `new_weights` are
    those the checkpoint did not have or, if `mismatched`, in another shape. `made` are the
    `architectures` of the checkpoint: numbers are no names for the rows of another kind of head.
    """
    new, names = model.new_weights, list(asked.values())
    named = known.given or not made or type(model).__name__ in made
    order = row_order(known.names, names) if named else None
    note = None
    if mismatched:
        note = f"head: new: {_other(known, names)}"
    # A masked language model has weights of a head too (ModernBERT), but none for classes.
    elif not _has_head(model) or (rows := class_rows(model)).keys() <= set(new):
        pass
    elif order == list(range(len(names))):
        note = (
            f"head: kept from the checkpoint, whose classes are those of the data: {_listed(names)}"
        )
    elif order is not None:
        _reorder(model, rows, order)
        note = (
            f"head: rows reordered by name: {_listed(known.names)} in the checkpoint, "
            f"{_listed(names)} in the data"
        )
    else:
        model = _redrawn(model, rows, asked)
        model.new_weights = frozenset({*new, *rows})
        note = f"head: new: {_other(known, names)}"
    model.head_note, model.config.id2label = note, dict(asked)
    model.config.label2id = {name: number for number, name in asked.items()}
    return model


def class_rows(model: PreTrainedModel) -> dict[str, list[int]]:
    """Return, by the name of each weight that has a row for every class, the dimensions of these
    rows.

    Whatever the architecture: those whose shape is another where the same model is made, without
    memory, for one class more.
    """
    import torch

    settings = copy.deepcopy(model.config)
    settings.num_labels = model.config.num_labels + 1
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        larger = dict(type(model)(settings).named_parameters())
    found = {}
    for name, weight in model.named_parameters():
        if name in larger:
            sizes = zip(weight.shape, larger[name].shape, strict=True)
            found[name] = [dim for dim, (ours, theirs) in enumerate(sizes) if ours != theirs]
    return {name: dims for name, dims in found.items() if dims}


def _has_head(model: PreTrainedModel) -> bool:
    """Whether the checkpoint had any weight of the head."""
    names = (name for name, _ in model.named_parameters())
    return any(name not in model.new_weights and not in_body(model, name) for name in names)


def _reorder(model: PreTrainedModel, rows: dict[str, list[int]], order: Sequence[int]) -> None:
    import torch

    for name, dims in rows.items():
        weight = model.get_parameter(name).detach()
        for dim in dims:
            weight.copy_(weight.index_select(dim, torch.tensor(order)))


def _redrawn(
    model: PreTrainedModel, rows: Collection[str], asked: Mapping[int, str]
) -> PreTrainedModel:
    """Return the model with the weights `rows` initialized as transformers does for those that a
    checkpoint does not have.
    """
    settings = copy.deepcopy(model.config)
    settings.id2label = dict(asked)
    weights = {name: weight for name, weight in model.state_dict().items() if name not in rows}
    again: PreTrainedModel = type(model).from_pretrained(
        None, config=settings, state_dict=weights, dtype="float32"
    )
    summarize_last(again)
    return again


def _other(known: Names, asked: Sequence[str]) -> str:
    if not known.given:
        return (
            f"the checkpoint does not name its {len(known.names)} classes, so it is unknown which "
            f"of its rows belongs to which of {_listed(asked)}. To keep its head, write their "
            "names into `id2label` of its `config.json`"
        )
    return (
        f"the classes of the checkpoint are {_listed(known.names)}, those of the data "
        f"{_listed(asked)}"
    )


def _unnamed(names: Sequence[str]) -> bool:
    return all(
        (match := _DEFAULT.fullmatch(name)) is not None and int(match[1]) == number
        for number, name in enumerate(names)
    )


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
