"""Plugin `huggingface`: pretrained models with known-good settings.

Any other hub id or directory works unregistered.
"""

import ftr

OPTIONS = "ftr.config.schema:PretrainedOptions"


def _model(name: str, attribute: str, summary: str) -> ftr.ModelSpec:
    return ftr.ModelSpec(
        name=name, target=f"ftr_plugins.models:{attribute}", options=OPTIONS, summary=summary
    )


@ftr.hookimpl
def ftr_models() -> list[ftr.ModelSpec]:
    """Return the named models."""
    return [
        _model(
            "minilm",
            "MiniLM",
            "all-MiniLM-L6-v2, 22M parameters, trains in minutes on a CPU; needs no hub",
        ),
        _model("bert-base", "BertBase", "BERT base, uncased English, 110M parameters"),
        _model("roberta-base", "RobertaBase", "RoBERTa base, English, 125M parameters"),
        _model("distilbert", "DistilBert", "DistilBERT base, uncased English, 66M parameters"),
        _model("gpt2", "GPT2", "GPT-2 small, a decoder, 124M parameters"),
    ]
