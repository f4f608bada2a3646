"""A model made ready for this machine, and the engine around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftr.errors import ConfigError, in_one_line
from ftr.train.dropout import register_cpu_attention, use_cheap_dropout
from ftr.train.hardware import numerics_for
from ftr.train.inference import Engine
from ftr.train.lora import adapted
from ftr.train.warm import build_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftr.config.models import RunConfig
    from ftr.registry import Registry
    from ftr.train.hardware import Numerics


def build_engine(registry: Registry, config: RunConfig, labels: tuple[str, ...], numerics: Numerics, *, warm: bool) -> Engine:
    """Build head, tokenizer and a model that is yet to be trained; `warm` keeps what the next training in this process needs too."""
    parts = build_parts(registry, config, labels, keep=warm)
    model = adapted(parts.model, config, parts.source) if config.train.lora.rank else parts.model
    return Engine(
        model=ready(model, numerics),
        head=parts.head,
        tokenizer=parts.tokenizer,
        labels=labels,
        precision=numerics.precision,
        eval_batch=config.train.eval_batch,
    )


def ready(model: PreTrainedModel, numerics: Numerics) -> PreTrainedModel:
    """Set attention and dropout of a model for this machine and move it to its device."""
    attention = numerics_for(model, numerics).attention
    try:
        model.set_attn_implementation(register_cpu_attention() if attention == "cpu" else attention)
    except (ValueError, ImportError) as error:
        cause = in_one_line(error).partition(". ")[0].removesuffix(" yet")
        raise ConfigError(f"`train.attention={attention}`: {cause}. Use `eager` or `auto`.") from error
    if numerics.device == "cpu":
        use_cheap_dropout(model)
    return model.to(numerics.device)
