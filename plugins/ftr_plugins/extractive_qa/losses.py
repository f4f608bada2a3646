"""The cross entropy of a position among the tokens of a window, whatever it is padded to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def position_losses(logits: Tensor, positions: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Return the cross entropy of each of `positions`, shape (batch,), over the tokens that `mask`
    has, in fp32.

    `logits` and `mask` have the shape (batch, length). With smoothing e over n tokens the target is
    1 - e + e / n at the position and e / n elsewhere (Szegedy et al. 2016, "Rethinking the
    Inception Architecture").
    """
    logs = logits.float().masked_fill(~mask, -math.inf).log_softmax(dim=-1)
    losses = -logs.gather(1, positions[:, None])[:, 0]
    if not smoothing:
        return losses
    spread = -logs.masked_fill(~mask, 0.0).sum(dim=-1) / mask.sum(dim=-1)
    return (1.0 - smoothing) * losses + smoothing * spread
