"""A small BERT that reads Chinese one character at a time; its vocabulary is a file of this
package, its weights a seed.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ftr_chinese_sentiment.options import HanziOptions

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerBase

POSITIONS = 256
HEADS = 8


class HanziBert:
    """Implements `ftr.registry.protocols.Model`."""

    def __init__(self, options: BaseModel | None = None) -> None:
        """Take the options; nothing is built before `load`."""
        self.options = options if isinstance(options, HanziOptions) else HanziOptions()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return a BERT tokenizer: every Chinese character is a token, other words are spelled out
        letter by letter.
        """
        from transformers import BertTokenizer

        vocabulary = {token: number for number, token in enumerate(_vocabulary().splitlines())}
        return BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS)

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` over the weights that follow from `options.seed`.

        Weights that only `auto_class` has (the head) are drawn from torch's generator, as for any
        pretrained model.
        """
        import torch
        from transformers import AutoModel

        settings = self._config(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed)
            body = AutoModel.from_config(settings)
        model: PreTrainedModel = auto_class.from_config(settings)
        # Heads for tokens have no pooler, so that the body has weights to spare.
        model.base_model.load_state_dict(body.state_dict(), strict=False)
        return model.eval()

    def max_length(self) -> int:
        """Return the number of positions."""
        return POSITIONS

    def describe(self) -> dict[str, Any]:
        """Return the sha256 of the vocabulary and the options, from which all weights follow."""
        return {
            "source": "hanzi-bert",
            "vocabulary_sha256": hashlib.sha256(_vocabulary().encode()).hexdigest(),
            **self.options.model_dump(),
        }

    def _config(self, values: dict[str, Any]) -> BertConfig:
        from transformers import BertConfig

        width, tokenizer = self.options.width, self.tokenizer()
        return BertConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            hidden_size=width,
            num_hidden_layers=self.options.layers,
            num_attention_heads=HEADS,
            intermediate_size=2 * width,
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=self.options.dropout,
            attention_probs_dropout_prob=self.options.dropout,
            **values,
        )


def _vocabulary() -> str:
    return (
        files("ftr_chinese_sentiment")
        .joinpath("data", "vocabulary.txt")
        .read_text(encoding="utf-8")
    )
