"""A small BERT that reads Chinese one character at a time; its vocabulary is a file of this
package, its weights a seed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le, Lt, MultipleOf

from ftr.plugin import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = Path(__file__).parent / "data" / "vocabulary.txt"
POSITIONS = 256
HEADS = 8


class HanziBert(Model):
    """A model without a checkpoint: every method of `ftr.plugin.Model` is its own."""

    def __init__(
        self,
        layers: Annotated[int, Ge(1), Le(12), "layers of the model"] = 2,
        width: Annotated[
            int, Ge(8), Le(1024), MultipleOf(8), "size of a hidden state, in eight heads"
        ] = 96,
        dropout: Annotated[float, Ge(0), Lt(1), "dropout of hidden states and attention"] = 0.1,
        seed: Annotated[
            int,
            Ge(0),
            Lt(2**32),
            "seed of the weights below the head; the run has that of the head",
        ] = 0,
    ) -> None:
        """Take the keys `model.*`; nothing is built before `load`."""
        super().__init__()
        self.layers, self.width, self.dropout, self.seed = layers, width, dropout, seed

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return a BERT tokenizer: every Chinese character is a token, other words are spelled out
        letter by letter.
        """
        from transformers import BertTokenizer

        tokens = VOCABULARY.read_text(encoding="utf-8").splitlines()
        vocabulary = {token: number for number, token in enumerate(tokens)}
        return BertTokenizer(vocab=vocabulary, model_max_length=POSITIONS)

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return `auto_class` over the weights that follow from `seed`.

        Weights that only `auto_class` has (the head) are drawn from torch's generator, as for any
        pretrained model.
        """
        import torch
        from transformers import AutoModel, BertConfig

        tokenizer = self.tokenizer()
        settings = BertConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=HEADS,
            intermediate_size=2 * self.width,
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            **config,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
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
            "vocabulary_sha256": hashlib.sha256(VOCABULARY.read_bytes()).hexdigest(),
            "layers": self.layers,
            "width": self.width,
            "dropout": self.dropout,
            "seed": self.seed,
        }
