"""Plugin `huggingface`: pretrained models with known-good settings, and experiment trackers.

Any other hub id or directory works unregistered.
"""

import ftr
from ftr_plugins.trackers import ftr_trackers

__all__ = ["ftr_models", "ftr_trackers"]

OPTIONS = "ftr.config.schema:PretrainedOptions"


def _model(
    name: str,
    attribute: str,
    parameters: int,
    summary: str,
    *,
    max_length: int = 512,
    languages: str = "English",
    license: str = "",
) -> ftr.ModelSpec:
    return ftr.ModelSpec(
        name=name,
        target=f"ftr_plugins.models:{attribute}",
        options=OPTIONS,
        summary=summary,
        parameters=parameters,
        max_length=max_length,
        languages=languages,
        license=license,
    )


@ftr.hookimpl
def ftr_models() -> list[ftr.ModelSpec]:
    """Return the named models."""
    apache, mit = "apache-2.0", "mit"
    return [
        _model(
            "minilm",
            "MiniLM",
            22_713_216,
            "all-MiniLM-L6-v2, trains in minutes on a CPU; needs no hub",
            license=apache,
        ),
        _model("bert-base", "BertBase", 109_482_240, "BERT base, uncased", license=apache),
        _model("roberta-base", "RobertaBase", 124_645_632, "RoBERTa base", license=mit),
        _model("distilbert", "DistilBert", 66_362_880, "DistilBERT base, uncased", license=apache),
        # The repository of MPNet on the Hub names no license.
        _model("mpnet-base", "MpnetBase", 109_486_464, "MPNet base, uncased"),
        _model(
            "deberta-v3-small",
            "DebertaV3Small",
            141_304_320,
            "DeBERTa-v3 small; needs `ftr[sentencepiece]`",
            license=mit,
        ),
        _model(
            "deberta-v3-base",
            "DebertaV3Base",
            183_831_552,
            "DeBERTa-v3 base; needs `ftr[sentencepiece]`",
            license=mit,
        ),
        _model(
            "modernbert-base",
            "ModernBertBase",
            149_014_272,
            "ModernBERT base, for long texts and code",
            max_length=8192,
            license=apache,
        ),
        _model(
            "xlm-roberta-base",
            "XlmRobertaBase",
            278_043_648,
            "XLM-RoBERTa base",
            languages="100 languages",
            license=mit,
        ),
        _model(
            "mmbert-small",
            "MmBertSmall",
            140_493_696,
            "mmBERT small, a ModernBERT for many languages",
            max_length=8192,
            languages="1833 languages",
            license=mit,
        ),
        _model(
            "mmbert-base",
            "MmBertBase",
            306_939_648,
            "mmBERT base, a ModernBERT for many languages",
            max_length=8192,
            languages="1833 languages",
            license=mit,
        ),
        _model(
            "eurobert-210m",
            "EuroBert210m",
            211_766_016,
            "EuroBERT 210m, for long texts and code; not for question answering",
            max_length=8192,
            languages="15 languages",
            license=apache,
        ),
        _model("gpt2", "GPT2", 124_439_808, "GPT-2 small, a decoder", max_length=1024, license=mit),
        _model(
            "qwen3-0.6b",
            "Qwen3",
            596_049_920,
            "Qwen3 0.6B without instruction tuning, a decoder",
            max_length=32768,
            languages="119 languages",
            license=apache,
        ),
    ]
