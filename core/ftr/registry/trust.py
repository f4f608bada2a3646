"""What this user trusts: plugin files and settings that a training was started with, by hash.

A run or model that somebody sent names code, places and models too. ftr follows those names only
where this user chose the same before, or does so now. `trust.json` in the user's own folder keeps
the hashes of what was chosen; remove it to forget them all.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ftr.atomic import locked, replace_file, sha256
from ftr.paths import folder_of

CHECKED = "FTR_TRUST_CHECKED"
"""Set for processes on other machines: the command that started them has checked what it sends."""
BASES = "FTR_BASES"
"""Models that adapters may be for, separated as in `PATH`: a directory, a Hub id, `ID@REVISION`."""
FILE = "trust.json"
FORMAT = 1
_of_process: set[str] = set()
"""What was chosen in this process: a read-only home must not stop a run in the middle."""


def config_folder() -> Path | None:
    """Return the user's own folder (`FTR_CONFIG`, or `ftr` in `~/.config`); None without a home."""
    own, shared = os.environ.get("FTR_CONFIG"), os.environ.get("XDG_CONFIG_HOME", "")
    try:
        return (
            Path(own).expanduser()
            if own
            else (Path(shared) if Path(shared).is_absolute() else Path.home() / ".config") / "ftr"
        )
    except RuntimeError:  # this user has no home
        return None


def plugin(sha256: str) -> str:
    """Return the entry for a plugin file of this content."""
    return f"plugin:{sha256}"


def setting(key: str, value: object) -> str:
    """Return the entry for a value of a key."""
    text = json.dumps([key, value], sort_keys=True, default=str)
    return f"setting:{sha256(text)}"


def named_bases() -> list[list[str | None]]:
    """Return the models that `FTR_BASES` names, each as its directory or hub id and revision."""
    found: list[list[str | None]] = []
    for word in filter(None, os.environ.get(BASES, "").split(os.pathsep)):
        name, _, revision = word.partition("@")
        found.append(
            [str(Path(word).expanduser().resolve()), None]
            if Path(word).expanduser().is_dir()
            else [name, revision or None]
        )
    return found


def is_trusted(what: str) -> bool:
    """Whether this user has chosen `what`, which `plugin` or `setting` made."""
    return bool(os.environ.get(CHECKED)) or what in _of_process or what in _stored()


def remember(chosen: Iterable[str]) -> None:
    """Add entries that this user chose; for this process only where the folder is read-only.

    Raises `ConfigError` where `FTR_CONFIG` names a file.
    """
    folder_of("FTR_CONFIG")
    new = set(chosen)
    _of_process.update(new)
    folder = config_folder()
    if folder is None or new <= _stored():
        return
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder / f"{FILE}.lock"):
            record = {"format": FORMAT, "trusted": sorted(new | _stored())}
            replace_file(folder / FILE, json.dumps(record, indent=1).encode(), mode=0o600)


def _stored() -> set[str]:
    folder = config_folder()
    try:
        # A file that is damaged trusts nothing; the next training replaces it.
        known = json.loads((folder / FILE).read_text(encoding="utf-8"))["trusted"] if folder else []
        return {str(one) for one in known}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
