"""Tiny checkpoints with random weights and real tokenizers, so that tests need no download."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftr.atomic import sha256

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Family = Literal[
    "bert",
    "roberta",
    "distilbert",
    "gpt2",
    "modernbert",
    "deberta-v2",
    "xlm-roberta",
    "mpnet",
    "eurobert",
    "qwen3",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
BYTE_PAIRS: tuple[Family, ...] = ("roberta", "gpt2", "modernbert", "eurobert", "qwen3")
"""Families whose tokenizers know every text; those of the others know letters."""
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
    """Return the family's own kind of tokenizer over a vocabulary of a few hundred tokens; GPT-2's
    has no pad token, those of EuroBERT and Qwen3 pad with the end of a text, as the real ones do.

    Word pieces and unigrams know the letters of English, and the characters of `text`; byte pairs
    know every text.
    """
    import transformers

    length = {"model_max_length": POSITIONS}
    ends = ["<s>", "<pad>", "</s>", "<unk>"]
    if family in ("bert", "distilbert"):
        kind = transformers.BertTokenizer if family == "bert" else transformers.DistilBertTokenizer
        return kind(vocab=_word_pieces(BRACKETS, text), **length)
    if family == "mpnet":
        special = [*ends, "[UNK]", "<mask>"]
        return transformers.MPNetTokenizer(vocab=_word_pieces(special, text), **length)
    if family == "deberta-v2":
        special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        return transformers.DebertaV2Tokenizer(vocab=_unigrams(special, text), unk_id=3, **length)
    if family == "xlm-roberta":
        vocabulary = _unigrams([*ends, "<mask>"], text)
        return transformers.XLMRobertaTokenizer(vocab=vocabulary, **length)
    if family == "roberta":
        return transformers.RobertaTokenizer(**_byte_pairs([*ends, "<mask>"]), **length)
    if family == "qwen3":
        return transformers.Qwen2Tokenizer(**_byte_pairs(["<|endoftext|>"]), **length)
    if family == "gpt2":
        return transformers.GPT2Tokenizer(**_byte_pairs(["<|endoftext|>"]), **length)
    return _between(family)


def tiny_config(family: Family, vocab_size: int) -> PretrainedConfig:
    """Return a configuration of two layers, 32 wide, that takes sequences of 256 tokens."""
    from transformers import AutoConfig

    size: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
    }
    return AutoConfig.for_model(family, **{**size, **_SETTINGS.get(family, {})})


_END = {"bos_token_id": 0, "eos_token_id": 0}
# RoBERTa and MPNet count positions from the pad id plus one.
_OFFSET = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
_SETTINGS: Mapping[Family, Mapping[str, Any]] = {
    "roberta": {**_OFFSET, "type_vocab_size": 1},
    "xlm-roberta": {**_OFFSET, "type_vocab_size": 1},
    "mpnet": _OFFSET,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "gpt2": {"n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 2, **_END},
    # The rest as in the files of the pretrained models on the Hub.
    "modernbert": {
        "local_attention": 16,
        "global_attn_every_n_layers": 2,
        "classifier_pooling": "mean",
        "pad_token_id": 0,
        "bos_token_id": 2,
        "cls_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
    },
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "eurobert": {
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "mask_token_id": 2,
        "rope_theta": 250000,
    },
    "qwen3": {
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
}
"""What the configurations of the families have besides their sizes."""


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
        others = "" if known in BYTE_PAIRS else "".join(sorted(_letters(text) - _letters("")))
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


BRACKETS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def _word_pieces(special: list[str], text: str) -> dict[str, int]:
    letters = sorted(_letters(text))
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *_words()]
    return {piece: index for index, piece in enumerate(pieces)}


def _unigrams(special: list[str], text: str) -> list[tuple[str, float]]:
    """Return pieces with their log probabilities; `▁` is the space before a word."""
    letters = {*_letters(text), *(chr(code) for code in range(ord("A"), ord("Z") + 1))}
    pieces = {"▁": -3.0, **dict.fromkeys(sorted(letters), -8.0)}
    words = dict.fromkeys((f"▁{word}" for word in _words()), -6.0)
    return [*((token, 0.0) for token in special), *{**pieces, **words}.items()]


def _words() -> list[str]:
    return sorted({word for word in TEXT.split() if len(word) > 1})


def _between(family: Family) -> PreTrainedTokenizerBase:
    """Return a byte-pair tokenizer that has no class of its own: it puts a token before and after
    each text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if family == "eurobert":
        special = [first, last, mask] = ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"]
        names = {"bos_token": first, "eos_token": last, "pad_token": last, "mask_token": mask}
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        first, last = "[CLS]", "[SEP]"
        names = {f"{token[1:-1].lower()}_token": token for token in special}
    backend = Tokenizer(models.BPE(**_byte_pairs(special)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, special.index(token)) for token in (first, last)],
    )
    inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=inputs, model_max_length=POSITIONS, **names
    )


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
