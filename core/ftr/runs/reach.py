"""Reaching the place a URI names with pyarrow or fsspec, and saying in plain words why it could not be reached."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from ftr.paths import expanded

CONNECT_SECONDS = 3
GCS_RETRY_SECONDS = 30  # pyarrow's own default is a quarter of an hour

ADVICE = (
    (
        re.compile(r"NO_SUCH_BUCKET|[Bb]ucket '[^']*' not found"),
        "there is no such bucket",
        "Make the bucket first, or correct its name",
    ),
    (
        re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED"),
        "no permission",
        "Give credentials that may list, read, write and delete there (S3: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or a profile)",
    ),
    (
        re.compile(r"NETWORK_CONNECTION|UNAVAILABLE|[Cc]onnection refused|[Cc]ould not (connect|resolve)|timed? ?out", re.ASCII),
        "nobody answers there",
        "Check the network and the address (`endpoint_override=` in the URI, or `AWS_ENDPOINT_URL`)",
    ),
)


def reach(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a path or URI, and the path in it. Raises what the file system's own library raises."""
    from pyarrow import fs

    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", uri)
    if scheme is None:
        return fs.LocalFileSystem(), str(expanded(uri).absolute())
    if scheme[1] in {"gs", "gcs"} and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GCS_RETRY_SECONDS}"
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except ValueError as error:
        if "Unrecognized filesystem type" not in str(error):
            raise
        from fsspec.core import url_to_fs

        other, root = url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(other)), root
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _bounded(filesystem)
    return filesystem, root


def _bounded(filesystem: Any) -> Any:
    """Make an S3 file system anew with what a URI cannot say: how long to wait, and one part of a large file in memory at a time."""
    rebuild, (options,) = filesystem.__reduce__()
    return rebuild(
        {
            **{key: value for key, value in options.items() if value not in ("", -1.0, None)},
            "connect_timeout": CONNECT_SECONDS,
            "background_writes": False,
            "allow_delayed_open": True,  # a small file is one request in place of three
        }
    )


def explained(error: Exception) -> str:
    """Say what an error of a file system means and how to mend it."""
    code = getattr(error, "errno", None)
    if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{os.strerror(code)}. Free space there, or give another place"
    if code in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{os.strerror(code)}. Give a place that this user may write to"
    found = advice(str(error))
    return f"{found[0]} ({first_line(str(error))}). {found[1]}" if found else f"{first_line(str(error)) or type(error).__name__}"


def advice(text: str) -> tuple[str, str] | None:
    """Return (cause, mend) for the errors of a remote place that most people meet."""
    return next(((cause, mend) for pattern, cause, mend in ADVICE if pattern.search(text)), None)


def first_line(text: str) -> str:
    """Return the start of a message that may be long."""
    line = text.strip().partition("\n")[0].rstrip(". ")
    return f"{line[:200]}…" if len(line) > 200 else line
