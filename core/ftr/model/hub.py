"""A model that `ftr push` sent to the Hub, back on this machine."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from ftr.config.components import HUB_ID
from ftr.config.schema import HUB
from ftr.errors import ModelError, RequestError

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.onnx", "*.onnx?data")
"""Weights in safetensors and what is read with them: no pickles and no code."""

CONNECT_SECONDS = 10.0
"""How long a connection may take, as in `huggingface_hub`."""


def hub_address() -> tuple[str, int]:
    """Return host and port of the Hub, or of `HF_ENDPOINT`."""
    parts = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def is_reachable() -> bool:
    """Whether the Hub can be connected to. Behind a proxy it is taken to be, and offline mode is
    left to `huggingface_hub`.

    `huggingface_hub` asks for a file that is not in its cache six times, with 23 seconds of pauses;
    without a network that is too long.
    """
    if getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True
    for pause in (1.0, 0.0):
        try:
            socket.create_connection(hub_address(), timeout=CONNECT_SECONDS).close()
        except TimeoutError:
            return False
        except OSError:
            time.sleep(pause)
        else:
            return True
    return False


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
