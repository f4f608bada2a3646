"""Text for stdout and stderr: control characters made visible, secrets masked, libraries silenced.

A process that reads settings remembers their secrets, so that a record with masks can be completed
(`unmasked`), and so that a message which quotes a secret can be masked. A secret of fewer than six
letters is masked by its key alone: it might be part of other words.
"""

import contextlib
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

MASK = "***"
_NAME = (
    r"(?:(?:\w+_)?(?:hub|hf|auth|access|api|bearer|refresh|session|security|sas|user|id)_)?token"
    r"|(?:\w+_)?(?:password|passwd|pwd|passphrase|secret|api_?key|secret_?key|access_?key|access_key_id|private_key|account_key|credentials?)"
)
_KEY = re.compile(_NAME, re.IGNORECASE)
_FORMS = (
    (re.compile(r"(?<=://)[^\s/?#@'\"`]+@"), f"{MASK}@"),
    (
        re.compile(r"(?<=://)[^\s?@:/'\"`]+:[^\s?@'\"`]+@"),
        f"{MASK}@",
    ),  # a secret key of S3 may hold a `/`
    (
        re.compile(rf"((?:^|[?&\s'\"`.,{{])(?:{_NAME})=['\"]?)[^\s&'\"`,;}}]+", re.IGNORECASE),
        rf"\g<1>{MASK}",
    ),
    (
        re.compile(
            r"([?&](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|sig|signature)=)[^\s&'\"`]+",
            re.IGNORECASE,
        ),
        rf"\g<1>{MASK}",
    ),  # signed URLs
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}"), MASK),
)
_MASKED = re.compile(r"^\*\*\*$|://\*\*\*@|=\*\*\*")
_SHORTEST = 6
_known: dict[str, str] = {}


def is_secret(key: str) -> bool:
    """Whether a dotted key holds a secret by its name: `trainer.hub_token`, `head.api_key`."""
    return _KEY.fullmatch(key.rpartition(".")[2].replace("-", "_")) is not None


def mask(text: str) -> str:
    """Return text without secrets: those of this process's settings, credentials of URIs,
    `password=…`, tokens of the Hub.
    """
    for key, secret in list(_known.items()):
        if is_secret(key) and len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    if "=" in text or "://" in text or "hf_" in text:
        for form, masked_form in _FORMS:
            text = form.sub(masked_form, text)
    return text


def masked(value: Any, key: str = "") -> Any:
    """Return a copy of plain data, such as a record, without secrets.

    `origins`, which has the names of keys alone, stays.
    """

    def hidden(text: str, place: str) -> str:
        return MASK if text and is_secret(place) else mask(text)

    return _mapped(value, key, hidden, skip="origins")


def remember(key: str, value: object) -> None:
    """Note the secrets among the settings of this process; `value` may be a mapping of further
    keys.
    """

    def noted(text: str, place: str) -> str:
        found = is_secret(place) or any(form.search(text) for form, _ in _FORMS)
        if text and found and not _MASKED.search(text):
            _known[place] = text
        return text

    _mapped(value, key, noted)


def known_secrets() -> dict[str, str]:
    """Return the secrets among the settings of this process by key, for `remember` in another one.

    Do not write them to any file.
    """
    return dict(_known)


def unmasked(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of a record with the secrets that this process knows, and the dotted
    keys of those it does not.
    """
    lost: list[str] = []

    def restored(text: str, place: str) -> str:
        if not _MASKED.search(text):
            return text
        real = _known.get(place)
        if real is None or masked(real, place) != text:
            lost.append(place)
            return text
        return real

    return _mapped(config, "", restored), lost


def _mapped(
    value: Any, key: str, change: Callable[[str, str], str], skip: str | None = None
) -> Any:
    """Return a copy of plain data with every text replaced by `change(text, dotted key)`, except
    below the name `skip`.
    """
    if isinstance(value, Mapping):
        return {
            name: item if name == skip else _mapped(item, _below(key, name), change, skip)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mapped(item, key, change, skip) for item in value]
    return change(value, key) if isinstance(value, str) else value


def _below(key: str, name: object) -> str:
    """Return the dotted key of `name` in `key`; the name of a component has the key of the
    component itself, and its options stand below that.
    """
    if name == "name" and key in ("dataset", "model", "head"):
        return key
    return f"{key}.{name}" if key and name != "options" else key or str(name)


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text without control characters and changes of direction: an escape becomes
    `\u001b`.

    Line ends and tabs stay. JSON has such characters only inside strings, where they read back
    unchanged.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print text for a person, at once, to stderr unless another stream is given."""
    print(visible(mask(text)), file=stream or sys.stderr, end=end, flush=True)


def answer(text: str) -> None:
    """Print what a command answers on stdout. Nothing is masked: JSON reads back exactly."""
    print(visible(text))


def quiet_libraries() -> None:
    """Turn off the progress bars and advice of the libraries; errors still raise."""
    import datasets
    import transformers

    if os.environ.get("WANDB_MODE") == "offline":
        # Its import prints that, to stdout, where answers alone belong.
        with contextlib.redirect_stdout(sys.stderr):
            importlib.import_module("transformers.integrations.integration_utils")
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
