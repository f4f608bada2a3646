"""Text for stdout and stderr: control characters made visible, secrets masked, colours where a
person looks, libraries silenced.

A process that reads settings remembers their secrets, so that a record with masks can be completed
(`unmasked`), and so that a message which quotes a secret can be masked. A secret of fewer than six
letters is masked by its key alone: it might be part of other words.
"""

import contextlib
import importlib
import logging
import os
import re
import secrets
import sys
import textwrap
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


STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "magenta": 35, "cyan": 36}
"""Colours of the terminal's own palette: its user has chosen them for the background."""
LIVE: list[Any] = []
"""What is drawn on the terminal, each with a context `hidden` in which something is printed."""
_MARK = secrets.token_hex(8)
_MARKED = re.compile(rf"\x1b{_MARK}(\d+)m")
FALLBACK_COLUMNS = 80
VERBOSITY = "FTR_VERBOSITY"
"""Set by `--quiet` (-1) and `--verbose` (1), for this process and those that it starts."""


def verbosity() -> int:
    """Return -1 with `--quiet`, 1 with `--verbose`, else 0."""
    return {"-1": -1, "1": 1}.get(os.environ.get(VERBOSITY, ""), 0)


def is_live(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal whose cursor can be moved."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colours(stream: TextIO | None) -> bool:
    """Whether to write colours to a stream: `NO_COLOR` forbids them, `FORCE_COLOR` makes them
    through a pipe too; an empty variable is none.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_live(stream)


def columns_of(stream: TextIO | None = None) -> int | None:
    """Return the columns of a terminal, stdout unless another is given; None of anything else.

    `COLUMNS` sets those of stdout.
    """
    asked = os.environ.get("COLUMNS", "") if stream is None else ""
    stream = stream or sys.stdout
    if stream is None or not stream.isatty():
        return None
    with contextlib.suppress(OSError, ValueError):
        size = int(asked) if asked.isdecimal() else os.get_terminal_size(stream.fileno()).columns
        return size or FALLBACK_COLUMNS
    return FALLBACK_COLUMNS


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return text with a colour of `STYLES` for stdout, or for another stream, where that has
    colours.

    The mark is of this process alone: no text of data can be one. `show` and `answer` make it a
    colour; measure and pad a text before.
    """
    if not text or not has_colours(stream or sys.stdout):
        return text
    return f"\x1b{_MARK}{STYLES[style]}m{text}\x1b{_MARK}0m"


def painted(text: str) -> str:
    """Return text as it is printed: `visible`, with the colours of `styled`."""
    pieces = _MARKED.split(text)
    pieces[::2] = map(visible, pieces[::2])
    pieces[1::2] = (f"\x1b[{code}m" for code in pieces[1::2])
    return "".join(pieces)


def show(
    text: str, stream: TextIO | None = None, *, end: str = "\n", level: int = 0, style: str = ""
) -> None:
    """Print text for a person, at once, to stderr unless another stream is given.

    `level` is the least verbosity that prints it: -1 for errors, 1 for details. Lines that are too
    long for a terminal break between words.
    """
    if verbosity() < level:
        return
    stream = stream or sys.stderr
    text = mask(text)
    if end == "\n":
        text = fitted(text, stream)
    if not style:
        start = _START.match(text)
        if start:
            head, style = start[0], "red" if "error" in start[0] else "magenta"
            text = styled(head, style, stream) + text[len(head) :]
    else:
        text = styled(text, style, stream)
    with contextlib.ExitStack() as stack:
        for drawn in LIVE:
            stack.enter_context(drawn.hidden())
        print(painted(text), file=stream, end=end, flush=True)


def fitted(text: str, stream: TextIO | None = None) -> str:
    """Return text whose lines break between words where they are too long for a terminal, stdout
    unless another is given.

    Commands in backticks, paths, and the parts of `a · b` stay whole; lines with colours stay.
    """
    columns = columns_of(stream)
    if columns is None:
        return text
    return "\n".join(
        line if len(line) <= columns or "\x1b" in line else _broken(line, columns)
        for line in text.split("\n")
    )


def _broken(line: str, columns: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    parts = line.split(" · ")
    if len(parts) > 1 and max(map(len, parts)) + len(indent) + 2 <= columns:
        whole = "\0· ".join(part.replace(" ", "\0") for part in parts)
    else:
        whole = re.sub("`[^`]*`", lambda found: found[0].replace(" ", "\0"), line)
    lines = textwrap.wrap(
        whole,
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )
    return "\n".join(lines).replace("\0", " ")


_START = re.compile(r"(?:ftr: )?(?:error|warning|note|interrupted):")


def answer(text: str) -> None:
    """Print what a command answers on stdout. Nothing is masked: JSON reads back exactly."""
    print(painted(text))


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
