"""Tags of runs and sweeps, and their removal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ftr import atomic
from ftr.errors import RequestError, RunError
from ftr.runs.directory import BEST, LOCK, RECORD, SWEEP, RunDirectory, hold, named
from ftr.study.directory import SweepDirectory

TAGS = "tags.json"
"""The tags of a run or sweep, in its directory: not in its record, which a training replaces."""
_TAG = re.compile(r"[^\W_][\w.:+-]{0,39}")
PARTS = (BEST, "ensemble", "trials", "members")
_MADE = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}")
"""The name that ftr gives a directory."""


def tags_of(path: Path) -> list[str]:
    """Return the tags in a directory. Raises `RequestError` where the file is damaged."""
    file = path / TAGS
    if not file.exists():
        return []
    try:
        found = atomic.read_json(file)
        if not all(_TAG.fullmatch(tag) for tag in found):
            raise ValueError("it is not a list of tags")
    except (OSError, ValueError, TypeError) as error:
        raise RequestError(
            f"`{file}` cannot be read: {error}. Remove it, and tag again."
        ) from error
    return [str(tag) for tag in found]


def tag(given: str | Path, names: Iterable[str], *, remove: bool = False) -> list[str]:
    """Add tags to a run or sweep, or remove them, and return all that it has then.

    Raises `RequestError` for a name that cannot be a tag, or one to remove that it does not have.
    """
    path, asked = found(given), list(names)
    for name in asked:
        if not _TAG.fullmatch(name):
            raise RequestError(
                f"`{name}` cannot be a tag: give a letter or digit, then letters, digits and "
                "`._:+-`, at most 40."
            )
    with contextlib.ExitStack() as stack:
        with atomic.writing(path):
            stack.enter_context(atomic.folder_locked(path))
        known = tags_of(path)
        if remove and (absent := [name for name in asked if name not in known]):
            raise RequestError(
                f"`{path}` has no tag `{absent[0]}`: its tags are {', '.join(known) or 'none'}."
            )
        tags = [name for name in dict.fromkeys([*known, *asked]) if not (remove and name in asked)]
        atomic.write_json(path / TAGS, tags)
    return tags


def found(given: str | Path) -> Path:
    """Return the directory of a run or sweep by its path, its name, or the start of its name.

    Raises `RequestError` where there is none, or more than one.
    """
    path = named(given)
    if path is None:
        RunDirectory.open(given)  # raises, and names those there are
        raise RequestError(f"`{given}` is not the directory of a run or sweep.")
    return path


def remove(given: Sequence[str | Path]) -> list[Path]:
    """Remove runs and sweeps, with all that is in their directories, and return these.

    Nothing is removed unless all can be. Raises `RequestError` for one that a process works on, for
    a part of a run or sweep, for a link, and for a folder that ftr did not make.
    """
    paths = list(dict.fromkeys(found(one) for one in given))
    for path in paths:
        _check_removable(path)
    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(hold(path))
        for path in paths:
            # Under another name at once: no half of a run is ever found.
            with atomic.writing(path, "Check who owns it."), atomic.workroom(path) as room:
                path.rename(room / path.name)
            if path.exists():
                raise RunError(f"`{path}` could not be removed.")
    return paths


def _check_removable(path: Path) -> None:
    whole = path.resolve()
    above = [whole.parent, whole.parent.parent]
    owner = next((one for one in above if any((one / name).is_file() for name in RECORDS)), None)
    cause = None
    if path.is_symlink():
        cause = f"is a link to `{whole}`: remove the link itself, or name the directory"
    elif owner is not None and (whole.name in PARTS or whole.parent.name in PARTS):
        cause = f"is a part of `{owner}`, which is removed as a whole"
    elif Path.cwd().resolve().is_relative_to(whole):
        cause = "is the folder you are in, or above it: leave it first"
    elif others := _runs_inside(whole):
        cause = f"is no run directory: it holds other runs, such as `{others[0]}`"
    elif not (_MADE.fullmatch(whole.name) or _has_record(whole)):
        cause = "has neither the name nor the record of a run: remove it yourself"
    elif held := [lock for lock in whole.rglob(LOCK) if atomic.is_locked(lock)]:
        cause = f"is being worked on (`{held[0].parent}`): wait for it to end, or stop it"
    if cause is not None:
        raise RequestError(f"`{path}` {cause}.")


RECORDS = (RECORD, SWEEP)


def _runs_inside(path: Path) -> list[Path]:
    return [
        entry
        for entry in path.iterdir()
        if entry.name not in PARTS
        and not entry.is_symlink()  # which is removed, and not what it leads to
        and any((entry / name).is_file() for name in RECORDS)
    ]


def _has_record(path: Path) -> bool:
    kind = SweepDirectory if (path / SWEEP).is_file() else RunDirectory
    try:
        kind(path).read()
    except RequestError:
        return False
    return True
