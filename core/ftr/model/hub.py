"""A model that `ftr push` sent to the Hub, back on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from ftr.config.components import HUB_ID
from ftr.config.schema import HUB
from ftr.errors import ModelError, RequestError

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.onnx", "*.onnx?data")
"""Weights in safetensors and what is read with them: no pickles and no code."""


def is_hub(given: str | Path) -> bool:
    """Whether a model is named as `hub:owner/name` or `hub:owner/name@revision`."""
    return str(given).startswith(HUB)


def download(given: str) -> Path:
    """Return the directory of a model of the Hub, which is downloaded unless it is in the cache.

    Raises `RequestError` for a malformed name, `ModelError` where it cannot be had.
    """
    name, _, revision = given.removeprefix(HUB).partition("@")
    if not HUB_ID.fullmatch(name) or (revision and not re.fullmatch(r"[\w./-]+", revision)):
        raise RequestError(
            f"`{given}` is no model of the Hub: write `hub:owner/name` or "
            "`hub:owner/name@revision`."
        )
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED))
    except Exception as error:
        cause = (str(error).strip().splitlines() or [""])[0].rstrip(".:")
        raise ModelError(
            f"model `{given}` cannot be downloaded from the Hub ({type(error).__name__}: {cause}). "
            "Check the name and the network; a private model needs `hf auth login` or `HF_TOKEN`."
        ) from error
    return Path(found)
