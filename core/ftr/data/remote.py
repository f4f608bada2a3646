"""Files behind a URL: `s3://`, `https://`, `hf://` and others of fsspec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ftr.data.filesystem import first_line, open_filesystem
from ftr.data.stream import Source
from ftr.errors import DataError, RequestError
from ftr.terminal import mask

_PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "huggingface_hub",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "oci": "ocifs",
    "dropbox": "dropboxdrivefs",
    "gdrive": "gdrivefs",
}
"""The package that fsspec needs for a scheme."""


def matching(given: str) -> list[str]:
    """Return the URLs that a pattern (`s3://bucket/part-*.csv`) matches, sorted; a URL without one
    as it is.

    Raises `RequestError` for a web server, which lists no files, `DataError` where nothing matches,
    and what `open_url` raises.
    """
    path, question, query = given.partition("?")
    if not any(one in path for one in "*["):
        return [given]
    if path.startswith(("http://", "https://")):
        raise RequestError(f"`{mask(given)}`: a web server lists no files: give each URL.")
    with explained(given):
        found = _matching(path, question + query)
    if not found:
        raise DataError(f"`{mask(given)}` matches no file.")
    return found


def _matching(pattern: str, query: str) -> list[str]:
    from fsspec.core import url_to_fs
    from fsspec.implementations.arrow import ArrowFSWrapper

    scheme = pattern.partition("://")[0]
    if scheme == "hf":
        filesystem, inside = url_to_fs(pattern)
    else:
        # The pattern itself would not do: pyarrow checks the path of a URI.
        fixed = pattern[: min(pattern.find(one) for one in "*[" if one in pattern)].rpartition("/")
        arrow, folder = open_filesystem(fixed[0] + query)
        filesystem = ArrowFSWrapper(arrow)
        inside = folder + pattern[len(fixed[0]) :]
    found = filesystem.glob(inside, detail=True)
    files = sorted(name for name, about in found.items() if about["type"] == "file")
    return [f"{scheme}://{one.partition('://')[2] or one}{query}" for one in files]


def open_url(given: str) -> Source:
    """Open the file behind a URL.

    Raises `RequestError` for a scheme whose package is not installed, `DataError` for a file that
    cannot be read. Secrets in the URL are masked.
    """
    path = Path(PurePosixPath(urlsplit(given).path).name or given.partition("://")[0].lower())
    with explained(given):
        file, size = _open(given)
    return Source(path, file, size)


@contextlib.contextmanager
def explained(given: str) -> Iterator[None]:
    """Raise what a file system raises as an error of ours that names the URL."""
    scheme = given.partition("://")[0].lower()
    try:
        yield
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        how = f"`pip install {package}`" if package else first_line(mask(str(error)))
        raise RequestError(
            f"`{mask(given)}`: a package for `{scheme}://` is not installed: {how}."
        ) from None
    except Exception as error:  # each file system raises what its own library raises
        cause = first_line(mask(str(error).replace(given, mask(given)))) or type(error).__name__
        if isinstance(error, ValueError) and "rotocol" in str(error):
            raise RequestError(
                f"`{mask(given)}`: `{scheme}://` is not known: {cause}. Give a file, or a URL such "
                "as `s3://…`, `https://…` or `hf://datasets/…`."
            ) from None
        raise DataError(
            f"`{mask(given)}` cannot be read: {cause}. Check the address and the network, and for "
            "private files the credentials."
        ) from None


def _open(given: str) -> tuple[Any, int | None]:
    if given.startswith(("http://", "https://", "hf://")):
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(given)
        file = filesystem.open(path, "rb")
        size = getattr(file, "size", None)
    else:
        filesystem, path = open_filesystem(given)
        file = filesystem.open_input_file(path)
        size = file.size()
    return file, int(size) if size else None
