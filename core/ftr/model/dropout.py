"""Dropout whose masks are cheap to draw on a CPU, for modules and for attention probabilities.

torch draws a CPU mask with one Bernoulli call an element from a serial generator: on a
22M-parameter BERT with sequences of 192 that is a third of a training step. Here one 64-bit draw
gives four 16-bit lanes, each compared with the threshold, so a mask costs about a sixth. The
probability is met to 2^-17, the scaling uses the probability that is really drawn, and the numbers
come from torch's own generator, so seeds and saved generator states work as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftr.model.transformers_private import attention_functions

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LANES = 4
LEVELS = 1 << 16
CPU_ATTENTION = "ftr_cpu"
SPECIAL = ("softcap", "s_aux", "cache")
"""What some models ask of attention besides, which is not written out here."""


def scaled_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """Return a mask of `shape`: 0 with probability `p`, else 1 / (1 - p), `p` rounded to a multiple
    of 2^-16.
    """
    kept = round((1.0 - p) * LEVELS)
    if kept == 0:
        return torch.zeros(shape, dtype=dtype)
    count = shape.numel()
    words = torch.empty((count + LANES - 1) // LANES, dtype=torch.int64)
    words.random_(-(2**63), None)
    lanes = words.view(torch.int16)[:count].view(shape)
    return (
        (lanes < kept - LEVELS // 2).to(dtype).mul_(LEVELS / kept)
        if kept < LEVELS
        else torch.ones(shape, dtype=dtype)
    )


def cheap_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero elements of `x` with probability `p` and scale the rest by 1 / (1 - p); `x` itself when
    not training.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return nn.functional.dropout(x, p)
    return x * scaled_mask(x.shape, p, x.dtype)


class CheapDropout(nn.Dropout):
    """`nn.Dropout` with the cheap masks; has no parameters, so checkpoints are the same with and
    without it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply dropout to `input` of any shape."""
        return cheap_dropout(input, self.p, self.training)


def use_cheap_dropout(model: PreTrainedModel) -> None:
    """Replace every plain `nn.Dropout` of `model` by a `CheapDropout` with the same probability."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                cheap = CheapDropout(child.p)
                cheap.train(child.training)
                setattr(parent, name, cheap)


def register_cpu_attention() -> str:
    """Make the attention `ftr_cpu` known to transformers and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    eager_mask, *_ = attention_functions()
    AttentionInterface.register(CPU_ATTENTION, cpu_attention)
    AttentionMaskInterface.register(CPU_ATTENTION, eager_mask)
    return CPU_ATTENTION


def cpu_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention over `(batch, heads, length, size)` tensors with an additive mask; returns `(batch,
    length, heads, size)`.

    Without dropout it is torch's fused attention. With dropout that would fall back to a slower
    path, so the probabilities are written out and dropped with a cheap mask.
    """
    _, repeat_kv, sdpa_attention_forward = attention_functions()
    special = any(kwargs.get(name) is not None for name in SPECIAL)
    if dropout == 0.0 or query.device.type != "cpu" or special:
        output, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, weights
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * (
        query.size(-1) ** -0.5 if scaling is None else scaling
    )
    for bias in (attention_mask, kwargs.get("position_bias")):
        if bias is not None:
            scores = scores + bias[..., : key.shape[-2]]
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    output = torch.matmul(cheap_dropout(weights, dropout, True), value)
    return output.transpose(1, 2).contiguous(), None
