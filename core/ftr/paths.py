"""Checks of paths that users give: text that cannot be a path, and paths that are not files."""

import errno
import glob
import os
import re
import stat
import sys
from pathlib import Path

from ftr.errors import ConfigError, RequestError
from ftr.terminal import visible

SETTINGS_FILE = "ftr.yaml"
STDIN = "-"
"""What stands for stdin or stdout in place of a file."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HALF = re.compile("[\ud800-\udfff]")
_BYTE = re.compile("[\udc80-\udcff]")
"""What Python makes of a byte that is not of the encoding of file names (`surrogateescape`)."""
_OTHERS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def fault(text: str) -> str | None:
    """Return why text cannot be part of a path or of a UTF-8 file, or None."""
    if "\0" in text:
        return "has a NUL character, which is not allowed in paths and text: leave it out"
    if not _HALF.search(text):
        return None
    try:
        raw = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return "is not UTF-8 (it has half a character): type it again"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte `\\x{raw[error.start]:02x}`): rename that file or folder"
    return (
        f"cannot be read as {sys.getfilesystemencoding()}, the encoding of this locale: set "
        "`PYTHONUTF8=1`"
    )


def readable(text: str) -> str:
    r"""Return a name with what is not UTF-8 or would not be seen as escapes: a byte becomes
    `\xe9`.
    """
    return visible(_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text))


def expanded(given: str | Path, what: str = "path") -> Path:
    """Return a path with `~` replaced.

    Raises `RequestError` for text that cannot be a path and for the home of an unknown user.
    """
    text = str(given)
    trouble = fault(text)
    if trouble is None and max(map(len, os.fsencode(text).split(b"/"))) > 255:
        trouble = "is too long: a name has at most 255 bytes"
    if trouble is None and len(os.fsencode(text)) > 4095:
        trouble = "is too long: a path has at most 4,095 bytes"
    if trouble is None:
        try:
            return Path(text).expanduser()
        except RuntimeError:
            trouble = (
                "begins with the home folder of a user that this machine does not know: give the "
                "full path"
            )
    shown = f"{text[:59]}…" if "too long" in trouble else text
    raise RequestError(f"{what} `{readable(shown)}` {trouble}.")


def shown_path(path: Path) -> str:
    """Return a path to type here: relative below the working directory, else absolute."""
    relative = os.path.relpath(path)
    return str(path.absolute()) if relative.startswith(f"..{os.sep}..") else relative


def looks_like_path(text: str) -> bool:
    """Whether a text has the form of a path: a separator in it, or a dot or `~` at its start."""
    return "/" in text or "\\" in text or text.startswith((".", "~"))


def present(text: str) -> bool:
    """Whether there is a file or folder of that name."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or not valid text
        return False


def is_url(given: str) -> bool:
    """Whether an input or a dataset is a URL."""
    return _URL.match(given) is not None


def is_pattern(text: str) -> bool:
    """Whether a path that is given is a pattern (`*`, `?`, `[…]`) and not the name of a file."""
    return glob.has_magic(text) and not present(text)


def writable(folder: str | Path) -> bool:
    """Whether this user can write in a folder (`~` is the home folder), or create it."""
    given = os.path.expanduser(folder)  # noqa: PTH111 (`Path.expanduser` fails without a home folder)
    present = nearest(Path(given))
    return not given.startswith("~") and present.is_dir() and os.access(present, os.W_OK | os.X_OK)


def nearest(path: Path) -> Path:
    """Return a path, or the nearest one above it that exists."""
    return next(above for above in (path, *path.absolute().parents) if above.exists())


def folder_of(variable: str) -> Path | None:
    """Return the folder that an environment variable names; None where it is unset or empty.

    Raises `ConfigError` where it names a file.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    folder = expanded(given, f"`{variable}` (environment):")
    if not (present := nearest(folder)).is_dir():
        raise ConfigError(
            f"`{variable}` is `{readable(given)}` (environment), and `{present}` is a file: name a "
            "folder, or unset it."
        )
    return folder


def is_denied(error: OSError) -> bool:
    """Whether this user can never write in a place, so that the request is wrong; a full disk, for
    instance, is another matter.
    """
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)


def no_file(path: Path) -> str | None:
    """Return what a path is instead of a file; None for a file and a missing one. Never blocks.

    An open pipe of this process (`/dev/stdin`, `<(command)` of a shell) counts as a file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISFIFO(mode) and os.path.realpath(path).startswith("/proc/"):
        return None
    return next((name for holds, name in _OTHERS if holds(mode)), None)
