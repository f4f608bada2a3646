"""What kinds of models differ in: how many positions and token types they have, and whether padding changes their outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftr.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_seq_len")
"""Where configs say how many positions a model has; others, such as T5's and Funnel's, have relative ones without end."""
OFFSET_POSITIONS = (
    *("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "data2vec-text", "ibert"),
    *("roberta-prelayernorm", "luke", "xmod", "esm", "markuplm", "lilt", "layoutlmv3"),
)
"""Architectures that count positions from `pad_token_id + 1`, so that many of their positions are never used."""
ANY_TOKEN_TYPES = ("xlnet", "funnel")
"""Architectures that compare token types with each other and look none up in a table."""
ENDLESS = 1 << 24
"""More positions than any model has: `1e30` and its like mean that there is no limit."""
PROBE = (("a", "b"), ("one two three", "four five six seven eight nine ten"))
"""Two short pairs of texts of different lengths."""
TOLERANCE = 1e-4
"""How far outputs may change with padding, as a share of the largest."""


def positions(settings: PretrainedConfig) -> int | None:
    """Return the longest input in tokens that a model of this config has positions for; None: any length.

    -1 (XLNet), 0 and huge numbers mean that there is no limit.
    """
    text = settings.get_text_config()
    found = next((value for name in POSITIONS if isinstance(value := getattr(text, name, None), int)), None)
    if found is not None and text.model_type in OFFSET_POSITIONS:
        found -= text.pad_token_id + 1
    return found if found is not None and 0 < found < ENDLESS else None


def reads_token_types(settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model of this config has an embedding for every token type that the tokenizer gives the texts of a pair.

    Models without a `type_vocab_size` have no token types, whatever their tokenizer says: GPT-2 would look them up as words.
    """
    if settings.model_type in ANY_TOKEN_TYPES:
        return True
    known = getattr(settings.get_text_config(), "type_vocab_size", None) or 0
    # One type alone says nothing.
    return known > 1 and bool(max(tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"], default=0) < known)


def without_token_types(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a tokenizer give no token types, here and wherever it is loaded from once it is saved."""
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names


def in_body(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight is part of the body of a model, which a checkpoint must have, rather than of its head."""
    if model.base_model is not model:
        return name.startswith(f"{model.base_model_prefix}.")
    first = dict(model.named_children()).get(name.partition(".")[0])
    return first is not None and any(type(one).__name__ in ("ModuleList", "Embedding") for one in first.modules())


def summarize_last(model: PreTrainedModel) -> None:
    """Let a model that classifies a row by its last token (XLNet) find padding on the left, where it expects it."""
    if hasattr(model, "sequence_summary") and getattr(model.config, "summary_type", None) == "last":
        model.base_model.register_forward_pre_hook(_padded_left, with_kwargs=True)


def _padded_left(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs (batch, length) with each row's padding moved from its end to its beginning."""
    import torch

    mask = kwargs["attention_mask"]
    length = mask.shape[1]
    places = (torch.arange(length, device=mask.device) + mask.sum(dim=1, keepdim=True)) % length

    def moved(value: Any) -> Any:
        return value.gather(1, places) if isinstance(value, torch.Tensor) and value.shape == mask.shape else value

    return tuple(map(moved, args)), {name: moved(value) for name, value in kwargs.items()}


def check_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, described: str) -> None:
    """Raise `ModelError` unless the outputs for two rows together are those of each alone, which padding must not change."""
    import torch

    from ftr.train.padding import pad

    encoded = tokenizer([first for first, _ in PROBE], [second for _, second in PROBE])
    rows = [{name: encoded[name][place] for name in ("input_ids", "token_type_ids") if name in encoded} for place in range(len(PROBE))]
    kind = model.config.model_type
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            together, *alone = (_logits(model(**pad(batch, tokenizer))) for batch in (rows, *([row] for row in rows)))
            # Reformer takes other lengths in training than afterwards.
            model.train()(**pad(rows, tokenizer))
    except Exception as error:  # what a model does not like about its inputs it may say in any way
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise ModelError(
            f"{described}: this `{kind}` fails on two short texts ({first}). Check its files, or give another model."
        ) from error
    finally:
        model.eval()
    pairs = [(both[place], mine[0]) for place, outputs in enumerate(alone) for both, mine in zip(together, outputs, strict=True)]
    apart = max((_apart(both, mine) for both, mine in pairs), default=0.0)
    if not apart <= TOLERANCE:
        raise ModelError(
            f"{described}: the outputs of this `{kind}` for a text change with the texts beside it in a batch, by {apart:.1g} of their "
            "size: it takes padding for text. Give another model."
        )


def _apart(both: Tensor, alone: Tensor) -> float:
    """Return how far the outputs of a row in a batch, (padded length, ...), are from those of it alone, relative to their size."""
    return float((both[: alone.shape[0]] - alone).abs().max()) / max(float(alone.abs().max()), 1.0)


def _logits(outputs: Any) -> list[Tensor]:
    """Return the outputs that heads read."""
    return [outputs[name] for name in ("logits", "start_logits", "end_logits") if name in outputs]
