"""Attention on a GPU whose mask is made without waiting for the device.

To choose a kernel, transformers looks into the mask of every pass for padding, on the device: the
host waits there until all earlier work is done. Whether a batch has padding is known on the host,
where it was made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ftr.model.transformers_private import attention_functions, sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GPU_ATTENTION = "ftr_gpu"
_batch: ContextVar[tuple[torch.Size, bool] | None] = ContextVar("_batch", default=None)
"""Shape of the mask of the batch under way, and whether it has padding."""


def use_gpu_attention(model: PreTrainedModel) -> None:
    """Give a model of transformers torch's fused attention with `batch_mask`.

    Other models may change the mask that they are given: they keep that of transformers.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    if not type(model).__module__.startswith("transformers."):
        return
    *_, sdpa_attention_forward = attention_functions()
    AttentionInterface.register(GPU_ATTENTION, sdpa_attention_forward)
    AttentionMaskInterface.register(GPU_ATTENTION, batch_mask)
    model.set_attn_implementation(GPU_ATTENTION)


@contextlib.contextmanager
def known_padding(mask: Tensor | None) -> Iterator[None]:
    """Within, `batch_mask` knows whether a batch has padding; `mask` is its attention mask, of
    shape (batch, length), on the host.
    """
    known = None if mask is None or mask.device.type != "cpu" else (mask.shape, not mask.all())
    token = _batch.set(known)
    try:
        yield
    finally:
        _batch.reset(token)


def batch_mask(*arguments: Any, attention_mask: Tensor | None = None, **options: Any) -> Any:
    """Return the mask of `sdpa` of transformers: None where the batch has no padding, so that the
    kernels for that can be used.
    """
    if attention_mask is not None and not torch.compiler.is_compiling():
        known = _batch.get()
        if known is not None and known[0] == attention_mask.shape:
            if known[1]:
                options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
            else:
                attention_mask = None
    return sdpa_mask(*arguments, attention_mask=attention_mask, **options)
