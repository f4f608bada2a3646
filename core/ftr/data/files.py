"""Bytes and text of files, packed or not, with errors that name the file, the byte and the line."""

import codecs
import gzip
import hashlib
import zlib
from pathlib import Path

from ftr.data.rows import SourceFile
from ftr.errors import ConfigError, DataError
from ftr.paths import no_file
from ftr.suggest import near

_GZIP_MAGIC = b"\x1f\x8b"
_BINARY_MARKS = {
    b"PAR1": "a Parquet file: give `dataset.format=parquet`",
    b"PK\x03\x04": "a zip archive (or an Excel file): unpack it, or save it as CSV",
    b"BZh": "packed with bzip2: unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz: unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it, or pack it with gzip",
}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path) -> tuple[bytes, SourceFile]:
    """Return the content of `path`, unpacked if it is gzip, and its record. Raises `DataError`."""
    if kind := no_file(path):
        raise DataError(f"`{path}` is {kind}, not a file: write the rows to one, or pipe them to `ftr predict RUN -`")
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"file `{path}` does not exist.{_near_files(path)}") from None
    except OSError as error:
        raise DataError(f"file `{path}` cannot be read: {error.strerror or error}") from None
    source = SourceFile(str(path), hashlib.sha256(packed).hexdigest(), len(packed))
    content = _unpack(packed, path) if packed.startswith(_GZIP_MAGIC) else packed
    if not content.strip():
        raise DataError(f"file `{path}` is empty")
    return content, source


def decode(content: bytes, path: Path, encoding: str) -> str:
    """Return the text, without a byte order mark. Raises `DataError` with byte and line, `ConfigError` for an unknown encoding."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError(f"`dataset.encoding={encoding}` is no encoding Python knows; examples: utf-8, cp1252, utf-16") from None
    try:
        return content.decode("utf-8-sig" if name == "utf-8" else name).removeprefix("\ufeff")
    except UnicodeError as error:
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, offset) + 1
        raise DataError(
            f"file `{path}` is not {encoding}: byte {offset}, on line {line}, cannot be decoded. {_decoding_hint(content)}"
        ) from None


def _decoding_hint(content: bytes) -> str:
    for mark, kind in _BINARY_MARKS.items():
        if content.startswith(mark):
            return f"It is {kind}"
    wide = content.startswith(_UTF16_MARKS)
    if b"\0" in content and not wide:
        return "It seems to be a binary file, not text"
    return f"Give its encoding, for example `dataset.encoding={'utf-16' if wide else 'cp1252'}`"


def bare_name(path: Path) -> str:
    """Return the file name without `.gz`, in lower case."""
    return path.name.lower().removesuffix(".gz")


def _unpack(packed: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(packed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        whole = _unpacked_size(packed)
        raise DataError(
            f"file `{path}` is a damaged or truncated gzip file: {len(packed)} bytes hold {whole} bytes of content before it breaks off "
            f"({error}). Fetch or pack it again"
        ) from None


def _unpacked_size(packed: bytes) -> int:
    size = 0
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for start in range(0, len(packed), 1 << 16):
            size += len(unpacker.decompress(packed[start : start + (1 << 16)]))
    except zlib.error:
        pass
    return size


def _near_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f" Nor does the folder `{path.parent}`"
    names = [other.name for other in path.parent.iterdir()]
    matches = near(path.name, names)
    return f" Did you mean `{path.parent / matches[0]}`?" if matches else ""
