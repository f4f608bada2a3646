"""Inputs of `ftr predict` behind a URL: `s3://`, `https://`, `hf://` and others of fsspec."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ftr.cluster.location import first_line, open_filesystem
from ftr.data.stream import Source
from ftr.errors import DataError, RequestError
from ftr.terminal import mask

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
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


def is_url(given: str) -> bool:
    """Whether an input is a URL."""
    return _URL.match(given) is not None


def open_url(given: str) -> Source:
    """Open the file behind a URL.

    Raises `RequestError` for a scheme whose package is not installed, `DataError` for a file that
    cannot be read. Secrets in the URL are masked.
    """
    scheme = given.partition("://")[0].lower()
    path = Path(PurePosixPath(urlsplit(given).path).name or scheme)
    try:
        file, size = _open(given)
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
    return Source(path, file, size)


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
