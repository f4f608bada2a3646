"""Tiny checkpoints with random weights and real tokenizers, so that tests need no download."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftr.atomic import sha256

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Family = Literal["bert", "roberta", "distilbert", "gpt2"]
FAMILIES: tuple[Family, ...] = get_args(Family)
POSITIONS = 256

TEXT = (
    "the old mill stands by the river near the village and was built by two brothers in 1803 . it "
    "ground wheat for the bakers until a flood broke the wheel in the spring of 1911 . who built "
    "the mill ? when did the flood come ? where is the river ? what did the bakers want ? this "
    "film is good , not bad ; the story was great and the acting was poor . i loved it , they "
    "hated it . a very long and boring movie with a bad ending . a short , sweet and funny film "
    "that everyone should see . "
)


def tiny_tokenizer(family: Family, text: str = "") -> PreTrainedTokenizerBase:
    """Return the family's own tokenizer class over a vocabulary of a few hundred tokens; GPT-2's
    has no pad token.

    Word pieces know the letters of English, and the characters of `text`; byte pairs know every
    text.
    """
    from transformers import BertTokenizer, DistilBertTokenizer, GPT2Tokenizer, RobertaTokenizer

    if family == "bert":
        return BertTokenizer(vocab=_word_pieces(text), model_max_length=POSITIONS)
    if family == "distilbert":
        return DistilBertTokenizer(vocab=_word_pieces(text), model_max_length=POSITIONS)
    if family == "roberta":
        return RobertaTokenizer(
            **_byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), model_max_length=POSITIONS
        )
    return GPT2Tokenizer(**_byte_pairs(["<|endoftext|>"]), model_max_length=POSITIONS)


def tiny_config(family: Family, vocab_size: int) -> PretrainedConfig:
    """Return a configuration of two layers, 32 wide, that takes sequences of 256 tokens."""
    from transformers import BertConfig, DistilBertConfig, GPT2Config, RobertaConfig

    size: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    if family == "bert":
        return BertConfig(vocab_size=vocab_size, max_position_embeddings=POSITIONS, **size)
    if family == "roberta":
        # RoBERTa counts positions from the pad id plus one.
        return RobertaConfig(
            vocab_size=vocab_size,
            max_position_embeddings=POSITIONS + 2,
            type_vocab_size=1,
            pad_token_id=1,
            **size,
        )
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=vocab_size,
            max_position_embeddings=POSITIONS,
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=64,
        )
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=POSITIONS,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )


def tiny_checkpoint(family: Family, folder: Path, seed: int = 0, text: str = "") -> Path:
    """Save configuration, random weights and tokenizer of a tiny model into `folder` and return it.

    The vocabulary holds the characters of `text` too.
    """
    import torch
    from transformers import AutoModel

    tokenizer = tiny_tokenizer(family, text)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(tiny_config(family, len(tokenizer)))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class TinyModels(Mapping[str, Path]):
    """Family -> directory of its tiny checkpoint, made when first asked for; not to be changed."""

    def __init__(self, folder: Path) -> None:
        """Keep the checkpoints in `folder`."""
        self._folder = folder

    def __getitem__(self, family: str) -> Path:
        return self.knowing(family, "")

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)

    def knowing(self, family: str, text: str) -> Path:
        """Return a checkpoint of `family` whose vocabulary holds the characters of `text`, whatever
        the script.
        """
        known = next((name for name in FAMILIES if name == family), None)
        if known is None:
            raise KeyError(f"there is no tiny `{family}`: the families are {', '.join(FAMILIES)}")
        others = (
            "" if known in ("roberta", "gpt2") else "".join(sorted(_letters(text) - _letters("")))
        )
        name = f"{known}-{sha256(others)[:8]}" if others else known
        folder = self._folder / name
        return folder if folder.is_dir() else tiny_checkpoint(known, folder, text=others)


def _letters(text: str) -> set[str]:
    """Return the characters that word pieces are made of: those of ASCII, and of `text` as the
    tokenizer spells it.
    """
    import unicodedata

    ascii_letters = {chr(code) for code in range(33, 127) if not chr(code).isupper()}
    spelled = unicodedata.normalize("NFD", text.lower())
    return ascii_letters | {
        letter
        for letter in spelled
        if not letter.isspace() and unicodedata.category(letter) not in ("Mn", "Cc", "Cf")
    }


def _word_pieces(text: str) -> dict[str, int]:
    letters = sorted(_letters(text))
    words = sorted({word for word in TEXT.split() if len(word) > 1})
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        *words,
    ]
    return {piece: index for index, piece in enumerate(pieces)}


def _byte_pairs(special: list[str]) -> dict[str, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}
