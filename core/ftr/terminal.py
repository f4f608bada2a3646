"""Text for stdout and stderr: control characters made visible, secrets masked, libraries silenced.

A process that reads settings remembers their secrets, so that a record with masks can be completed
(`unmasked`), and so that a message which quotes a secret can be masked. What is too short to be
found in a text without harm is masked by its key alone.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
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
    if isinstance(value, Mapping):
        return {
            name: item if name == "origins" else masked(item, str(name))
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, key) for item in value]
    if isinstance(value, str):
        return MASK if value and is_secret(key) else mask(value)
    return value


def remember(key: str, value: object) -> None:
    """Note the secrets among the settings of this process; `value` may be a mapping of further
    keys.
    """
    found = _texts(value, key)
    _known.update(
        (place, text)
        for place, text in found
        if text and (is_secret(place) or _formed(text)) and not _MASKED.search(text)
    )


def known_secrets() -> dict[str, str]:
    """Return the secrets among the settings of this process by key, for `remember` in another one.
    They may be sent to its memory, not written anywhere.
    """
    return dict(_known)


def unmasked(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of a record with the secrets that this process knows, and the dotted
    keys of those it does not.
    """
    lost: list[str] = []

    def restored(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: restored(item, _below(key, name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [restored(item, key) for item in value]
        if not isinstance(value, str) or not _MASKED.search(value):
            return value
        real = _known.get(key)
        if real is None or masked(real, key) != value:
            lost.append(key)
            return value
        return real

    return restored(config, ""), lost


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, _below(key, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, str):
        yield key, value


def _formed(text: str) -> bool:
    return any(form.search(text) for form, _ in _FORMS)


def _below(key: str, name: object) -> str:
    """Return the dotted key of `name` in `key`; the options of a component stand below the
    component itself.
    """
    return f"{key}.{name}" if key and name != "options" else key or str(name)


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text in which a terminal finds nothing to obey: escape sequences, BEL, CR and changes
    of direction become `\u001b`.

    Line ends and tabs stay. In JSON such characters stand only inside strings, where they read back
    as what they were.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print text for a person, at once, to stderr unless another stream is given."""
    print(visible(mask(text)), file=stream or sys.stderr, end=end, flush=True)


def answer(text: str) -> None:
    """Print what a command answers on stdout. Nothing is masked: JSON reads back exactly."""
    print(visible(text))


def quiet_libraries() -> None:
    """Turn off the libraries' own progress bars, advice and retries: ftr has its own line, and
    errors still raise.
    """
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
