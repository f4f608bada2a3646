"""Tiny checkpoints of many architectures with random weights, and a small fast tokenizer made by
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXT = (
    "the old mill stands by the river near the village and was built by two brothers in 1803 . it "
    "ground wheat for the bakers until a flood broke the wheel in the spring of 1911 . who built "
    "the mill ? when did the flood come ? where is the river ? this film is good , not bad ; the "
    "story was great and the acting was poor . i loved it , they hated it . boring funny long "
    "short sweet movie"
)
STANDARD = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
DECODER = {**STANDARD, "num_key_value_heads": 1, "head_dim": 16}
GPT = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2}
BART = {"d_model": 32, "max_position_embeddings": 128} | {
    f"{side}_{name}": number
    for side in ("encoder", "decoder")
    for name, number in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
}
T5 = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
ROBERTA = {**STANDARD, "type_vocab_size": 1}
DEBERTA = {**STANDARD, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
DECODERS: Mapping[str, dict[str, Any]] = {
    "gpt2": GPT,
    "gptj": {**GPT, "rotary_dim": 8},
    "gpt_bigcode": GPT,
    "openai-gpt": GPT,
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
    },
    "gpt_neox": STANDARD,
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 128},
    "falcon": STANDARD,
    "phi": STANDARD,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "mixtral",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "glm",
            "gpt_oss",
        ),
        DECODER,
    ),
}
ENCODERS: Mapping[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("bert", "mpnet", "fnet", "ernie", "megatron-bert", "nomic_bert", "splinter", "canine"),
        STANDARD,
    ),
    **dict.fromkeys(
        (
            "roberta",
            "camembert",
            "xlm-roberta",
            "xlm-roberta-xl",
            "data2vec-text",
            "ibert",
            "yoso",
            "gte",
        ),
        ROBERTA,
    ),
    **dict.fromkeys(("t5", "mt5", "umt5"), T5),
    **dict.fromkeys(("bart", "mbart", "mvp", "plbart"), BART),
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 64,
        "max_position_embeddings": 128,
    },
    "electra": {**STANDARD, "embedding_size": 16},
    "albert": {**STANDARD, "embedding_size": 16},
    "deberta": DEBERTA,
    "deberta-v2": {
        **DEBERTA,
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "modernbert": {**STANDARD, "local_attention": 16, "global_attn_every_n_layers": 2},
    "eurobert": STANDARD,
    "longformer": {**ROBERTA, "attention_window": [8, 8]},
    "big_bird": {**STANDARD, "block_size": 4, "num_random_blocks": 1},
    "bigbird_pegasus": {**BART, "block_size": 4},
    "convbert": {**STANDARD, "embedding_size": 32, "conv_kernel_size": 3},
    "nystromformer": {**STANDARD, "segment_means_seq_len": 64, "num_landmarks": 8},
    "reformer": {},
    "rembert": {**STANDARD, "input_embedding_size": 16},
    "roformer": {**STANDARD, "embedding_size": 32},
    "mobilebert": {
        **STANDARD,
        "intra_bottleneck_size": 16,
        "embedding_size": 16,
        "true_hidden_size": 16,
    },
    "squeezebert": {**STANDARD, "embedding_size": 32},
    "luke": {**ROBERTA, "entity_vocab_size": 8, "entity_emb_size": 16},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "led": {
        **BART,
        "attention_window": 8,
        "max_encoder_position_embeddings": 128,
        "max_decoder_position_embeddings": 128,
    },
}
SEPARATED = {
    "xlnet": ("$A:0 [SEP]:0 [CLS]:2", "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2"),
    "longformer": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
}


def word_tokenizer(kind: str = "bert", **settings: Any) -> PreTrainedTokenizerBase:
    """Return a tokenizer of whole words and single letters that gives token types, as BERT's
    does.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({*TEXT.split(), *"abcdefghijklmnopqrstuvwxyz0123456789"})
    vocabulary = {
        word: number
        for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    }
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    single, pair = SEPARATED.get(
        kind, ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
    )
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=names, **{**tokens, **settings}
    )


def byte_tokenizer(**settings: Any) -> PreTrainedTokenizerBase:
    """Return a byte-pair tokenizer without a pad token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator([TEXT], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", **settings
    )


def checkpoint(kind: str, folder: Path, auto: type[Any] | None = None, **config: Any) -> Path:
    """Save a tiny checkpoint of a kind, its backbone alone unless `auto` is another class, and
    return its folder.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    tokenizer = byte_tokenizer() if kind in DECODERS else word_tokenizer(kind)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    if kind in ENCODERS:
        ids = {
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "sep_token_id": 3,
            "cls_token_id": 2,
        }
    settings = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), **{**ids, **{**DECODERS, **ENCODERS}[kind], **config}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = (auto or AutoModel).from_config(settings)
    with torch.no_grad():
        for weight in model.parameters():
            # Otherwise positions and padding hardly show in the outputs.
            weight.mul_(3.0 if weight.dim() > 1 else 1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
