"""How much of a text a tokenizer does not know: its unknown tokens, counted, and the warning where they are many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

TOKENS, UNKNOWN = "tokens", "unknown tokens"
MANY = 0.05
"""Share of unknown tokens above which a person is warned."""


def count_unknown(ids: np.ndarray[tuple[int], np.dtype[np.int64]], tokenizer: PreTrainedTokenizerBase) -> Counter[str]:
    """Return how many of the token ids are `TOKENS` of the text, special ones left out, and `UNKNOWN` among them.

    Nothing is counted where the tokenizer has no unknown token, or uses it for something else as GPT-2's does.
    """
    import numpy as np

    unknown = tokenizer.unk_token_id
    others = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token]
    if unknown is None or tokenizer.unk_token in others:
        return Counter()
    special = [one for one in tokenizer.all_special_ids if one != unknown]
    text = len(ids) - int(np.count_nonzero(np.isin(ids, special)))
    return Counter({TOKENS: text, UNKNOWN: int(np.count_nonzero(ids == unknown))})


def unknown_note(split: str, counts: Counter[str]) -> str | None:
    """Return the warning on a split whose text the model's vocabulary does not cover, or None."""
    if counts[UNKNOWN] <= MANY * counts[TOKENS]:
        return None
    return (
        f"{split}: {counts[UNKNOWN] / counts[TOKENS]:.0%} of the tokens are unknown to the model ({counts[UNKNOWN]} of {counts[TOKENS]}): "
        "its vocabulary does not cover this language or script. Choose another model with `model=`, such as a multilingual one"
    )
