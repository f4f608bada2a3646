"""Padding the features of a batch to their longest, for any head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ftr.errors import ModelError
from ftr.registry.protocols import Feature

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def pad(features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return `input_ids`, `attention_mask` and, where the features have them, `token_type_ids`:
    (batch, longest).

    Padding is on the right, whatever side the tokenizer prefers: offsets and targets count from the
    left. The mask comes from lengths, not from ids, because the pad token of a decoder is a
    real one as well. Raises `ModelError` when the tokenizer has no pad token.
    """
    import torch

    filler = tokenizer.pad_token_id
    if not isinstance(filler, int):
        raise ModelError(
            f"the tokenizer `{tokenizer.name_or_path}` has no pad token: set `pad_token` on it."
        )
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    batch = {
        "input_ids": _padded(features, "input_ids", mask, filler),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if "token_type_ids" in features[0]:
        batch["token_type_ids"] = _padded(
            features, "token_type_ids", mask, tokenizer.pad_token_type_id
        )
    return batch


def _padded(
    features: Sequence[Feature], name: str, mask: npt.NDArray[np.bool_], value: int
) -> Tensor:
    import torch

    cells = np.full(mask.shape, value, dtype=np.int64)
    cells[mask] = np.concatenate(
        [np.asarray(feature[name], dtype=np.int64) for feature in features]
    )
    return torch.from_numpy(cells)
