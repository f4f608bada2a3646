"""The file systems behind paths and URLs, through pyarrow or fsspec."""

from __future__ import annotations

import re
from typing import Any

from ftr.paths import expanded

CONNECT_SECONDS = 3
GCS_RETRY_SECONDS = 30  # pyarrow's own default is a quarter of an hour


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a path or URI, and the path in it.

    Raises what the file system's own library raises.
    """
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
        filesystem = _with_limits(filesystem)
    return filesystem, root


def _with_limits(filesystem: Any) -> Any:
    """Return an S3 file system with settings that a URI cannot have: a time limit for connections,
    and only one part of a large file in memory.
    """
    rebuild, (options,) = filesystem.__reduce__()
    return rebuild(
        {
            **{key: value for key, value in options.items() if value not in ("", -1.0, None)},
            "connect_timeout": CONNECT_SECONDS,
            "background_writes": False,
            "allow_delayed_open": True,  # one request for a small file instead of three
        }
    )


def first_line(text: str) -> str:
    """Return the start of a message that may be long."""
    line = text.strip().partition("\n")[0].rstrip(". ")
    return f"{line[:200]}…" if len(line) > 200 else line
