"""Datasets behind URLs: each file is fetched once into the cache, and read there.

Messages, records and notes name the URL, without its secrets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ftr import atomic
from ftr.config.components import FILES, SPLITS
from ftr.data.encode import cache_folder
from ftr.data.filesystem import open_filesystem
from ftr.data.remote import explained, matching
from ftr.data.rows import Loaded
from ftr.data.shards import joined, natural
from ftr.errors import ConfigError, DataError, FtrError
from ftr.paths import is_url
from ftr.terminal import mask

FOLDER = "downloads"
ABOUT = "about.json"
_BLOCK = 1 << 20
_SECONDS = 60
"""Seconds without a byte after which a web server counts as gone."""
_VERSIONS = ("ETag", "blob_id", "Content-MD5", "Digest", "generation", "etag", "md5Hash")
_TIMES = ("Last-Modified", "last_modified", "LastModified", "mtime", "modified", "updated")
_ADVICE = "Free space, or set another folder with `data.cache=` or `FTR_CACHE`."
_ABSENT = "there is no such file"
_URLS: dict[str, str] = {}
"""The file in the cache -> its URL as messages show it, of those that this process uses."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a file system tells of the content of a file; `tag` is empty where it tells nothing."""

    size: int | None
    tag: str


def local_dataset(
    name: str, options: Mapping[str, Any], cache: Path | None = None
) -> tuple[str, dict[str, Any]]:
    """Return a dataset of files with their places in the cache instead of URLs, fetched if need be.

    `cache` is by default that of the user. Raises `DataError` for a URL that cannot be read, and
    where the disk has too little room for all that must be fetched, `RequestError` for a URL of an
    unknown kind.
    """
    keys = [key for key in (*SPLITS, "labels_file") if _urls_in(options.get(key))]
    if not keys and not is_url(name):
        return name, dict(options)
    found = {key: _expanded(options[key]) for key in keys}
    if is_url(name):
        if options.get("train") is not None:
            raise ConfigError(
                f"`dataset={mask(name)}` is the training file, so `dataset.train` contradicts it"
            )
        found["train"] = _expanded(name)
        name = FILES
    wanted = [one for several in found.values() for one in several if is_url(one)]
    places = _fetched(list(dict.fromkeys(wanted)), cache or cache_folder(None, "runs"))
    local = {key: [places.get(one, one) for one in several] for key, several in found.items()}
    return name, {
        **options,
        **{key: several[0] if len(several) == 1 else several for key, several in local.items()},
    }


def with_urls(loaded: Loaded) -> Loaded:
    """Return what was read, with URLs as the paths of files that were fetched."""
    loaded.sources = [
        replace(source, path=_URLS.get(source.path, source.path)) for source in loaded.sources
    ]
    loaded.notes = [_named(note) for note in loaded.notes]
    return loaded


@contextlib.contextmanager
def urls_named() -> Iterator[None]:
    """Let errors name the URL of a file that was fetched, and not its place in the cache."""
    try:
        yield
    except FtrError as error:
        error.args = (_named(str(error.args[0])), *error.args[1:])
        raise


def _named(text: str) -> str:
    for path, url in _URLS.items():
        text = text.replace(path, url)
    return text


def _urls_in(value: object) -> bool:
    several = [value] if isinstance(value, str) else value
    return isinstance(several, Sequence) and any(is_url(str(one)) for one in several)


def _expanded(given: str | Sequence[str]) -> list[str]:
    """Return the URLs that a URL, a pattern or a list names; a pattern has no gaps."""
    if not isinstance(given, str):
        return [url for one in given for url in (matching(one) if is_url(one) else [one])]
    found = matching(given)
    if len(found) > 1:
        by_path = {Path(unquote(urlsplit(url).path)): url for url in found}
        joined(list(by_path))
        found = [by_path[path] for path in sorted(by_path, key=natural)]
    return found


def _fetched(urls: Sequence[str], cache: Path) -> dict[str, str]:
    """Return the place in the cache of each URL; what is not there is fetched."""
    versions = {url: version_of(url) for url in urls}
    places = {url: _place(url, cache) for url in urls}
    missing = [url for url in urls if not _is_there(places[url], versions[url])]
    _check_space(missing, versions, cache)
    if missing:
        atomic.clear_leftovers(cache / FOLDER, deep=False)
    for url in missing:
        folder = places[url].parent
        with contextlib.ExitStack() as stack:
            with atomic.writing(folder, _ADVICE):
                folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(atomic.locked(folder.with_name(f"{folder.name}.lock")))
            if not _is_there(places[url], versions[url]):
                _fetch(url, versions[url], places[url])
    _URLS.update({str(places[url]): mask(url) for url in urls})
    return {url: str(place) for url, place in places.items()}


def _place(url: str, cache: Path) -> Path:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name or name in (".", "..") or "\0" in name:
        raise DataError(f"`{mask(url)}` names no file")
    return cache.absolute() / FOLDER / atomic.sha256(url)[:20] / name


def _is_there(place: Path, version: Version) -> bool:
    try:
        about = json.loads((place.parent / ABOUT).read_text(encoding="utf-8"))
        size = place.stat().st_size
        known = about["version"], about["size"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(version.tag) and known == (version.tag, size) and version.size in (None, size)


def _check_space(missing: Sequence[str], versions: Mapping[str, Version], cache: Path) -> None:
    """Raise `DataError` with the numbers where the disk has too little room."""
    needed = sum(versions[url].size or 0 for url in missing)
    folder = next(above for above in (cache, *cache.absolute().parents) if above.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"`{mask(missing[0])}`{more} to fetch: {needed / 1e6:,.1f} MB, and `{cache}` has "
            f"{free / 1e6:,.1f} MB free. {_ADVICE}"
        )


def _fetch(url: str, version: Version, place: Path) -> None:
    """Write the file behind a URL to its place, whole or not at all, with what is known of it."""
    digest, size = hashlib.sha256(), 0
    with atomic.writing(place.parent, _ADVICE), atomic.new_folder(place.parent) as fresh:
        with explained(url):
            stream = _opened(url)
        with contextlib.closing(stream), (fresh / place.name).open("wb") as file:
            while True:
                with explained(url):
                    block = stream.read(_BLOCK)
                if not block:
                    break
                file.write(block)
                digest.update(block)
                size += len(block)
        if version.size not in (None, size):
            raise DataError(
                f"`{mask(url)}` ended after {size:,} of {version.size:,} bytes, and nothing of it "
                "is kept: run the command again"
            )
        if version_of(url) != version:
            raise DataError(
                f"`{mask(url)}` changed while it was fetched, and nothing of it is kept: run the "
                "command again when nobody writes it"
            )
        about = {
            "url": mask(url),
            "version": version.tag,
            "size": size,
            "sha256": digest.hexdigest(),
        }
        atomic.write_json(fresh / ABOUT, about)


def version_of(url: str) -> Version:
    """Return what the file system of a URL tells of its content. Raises as `local_dataset`."""
    with explained(url):
        found = _version(url)
    if found is None:
        raise DataError(
            f"`{mask(url)}` is a folder: name its files by a pattern, such as "
            f"`dataset.train={mask(url).partition('?')[0].rstrip('/')}/*.csv`"
        )
    return found


def _version(url: str) -> Version | None:
    """Return the version of a file; None for a folder."""
    if _of_fsspec(url):
        filesystem, path = _fsspec(url)
        filesystem.invalidate_cache()
        try:
            about: Mapping[str, Any] = filesystem.info(path)
        except FileNotFoundError:
            raise FileNotFoundError(_ABSENT) from None
        if about.get("type") == "directory":
            return None
        lfs = about.get("lfs")
        tags = [lfs["sha256"]] if isinstance(lfs, Mapping) and "sha256" in lfs else []
        tags += [str(about[key]) for key in (*_VERSIONS, *_TIMES) if about.get(key)]
        size = about.get("size")
        return Version(None if size is None else int(size), " ".join(tags))
    from pyarrow.fs import FileType

    filesystem, path = open_filesystem(url)
    found = filesystem.get_file_info(path)
    if found.type == FileType.NotFound:
        raise FileNotFoundError(_ABSENT)
    if found.type != FileType.File:
        return None
    with filesystem.open_input_stream(path) as stream:
        tag = (stream.metadata() or {}).get(b"ETag", b"").decode(errors="replace")
    return Version(found.size, f"{tag} {found.mtime_ns or ''}".strip())


def _opened(url: str) -> Any:
    if _of_fsspec(url):
        filesystem, path = _fsspec(url)
        return filesystem.open(path, "rb", block_size=0)  # one request, read to its end
    filesystem, path = open_filesystem(url)
    return filesystem.open_input_stream(path)


def _of_fsspec(url: str) -> bool:
    return url.lower().startswith(("http://", "https://", "hf://"))


def _fsspec(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if url.lower().startswith("http"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
        options = {
            "client_kwargs": {"timeout": timeout},
            "headers": {"Accept-Encoding": "identity"},
        }
    filesystem, path = url_to_fs(url, **options)
    return filesystem, path
