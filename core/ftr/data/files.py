"""Bytes and text of files, compressed or not; errors name the file, the byte and the line."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ftr.atomic import sha256
from ftr.config.schema import EXCEL, PACKED
from ftr.data.rows import SourceFile
from ftr.errors import ConfigError, DataError, did_you_mean
from ftr.paths import no_file

_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
_UNPACKERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    _GZIP: ("gzip", gzip.decompress),
    _BZIP2: ("bzip2", bz2.decompress),
    _XZ: ("xz", lzma.decompress),
}
_UNPACK_ERRORS = (EOFError, OSError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)
_EXCEL = "an Excel file: save it as CSV (UTF-8), and give that"
_SPREADSHEETS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
_PACKED_TWICE = "packed twice: unpack it, and give the file that is in it"
_BINARY_MARKS = {
    b"PAR1": "a Parquet file: give `dataset.format=parquet`",
    b"ARROW1": "an Arrow file: give `dataset.format=arrow`",
    b"\xd0\xcf\x11\xe0": _EXCEL,
    **dict.fromkeys((_GZIP, _ZIP, _XZ), _PACKED_TWICE),
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it, or pack it with gzip",
}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path) -> tuple[bytes, SourceFile, str]:
    """Return the unpacked content of `path`, its record, and, for a zip archive, the name of the
    file in it. Raises `DataError`.
    """
    if kind := no_file(path):
        raise DataError(
            f"`{path}` is {kind}, not a file: write the rows to one, or pipe them to `ftr predict "
            "RUN -`"
        )
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"file `{path}` does not exist.{_near_files(path)}") from None
    except OSError as error:
        raise DataError(f"file `{path}` cannot be read: {error.strerror or error}") from None
    content, inner = _unpacked(packed, path)
    if not content.strip():
        raise DataError(f"file `{path}` is empty")
    return content, SourceFile(str(path), sha256(packed), len(packed)), inner


def decode(content: bytes, path: Path, encoding: str, *, by_row: bool = False) -> str:
    """Return the text, without a byte order mark.

    With `by_row` invalid UTF-8 becomes escapes, which the check of each row finds.

    Raises `DataError` with byte and line, `ConfigError` for an unknown encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except (LookupError, ValueError):
        raise ConfigError(
            f"`dataset.encoding={encoding}` is not an encoding of Python; examples: utf-8, "
            "cp1252, utf-16"
        ) from None
    escaped = by_row and name == "utf-8" and b"\0" not in content
    try:
        return content.decode(
            "utf-8-sig" if name == "utf-8" else name, "surrogateescape" if escaped else "strict"
        ).removeprefix("\ufeff")
    except UnicodeError as error:
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, offset) + 1
        raise DataError(
            f"file `{path}` is not {encoding}: byte {offset}, on line {line}, cannot be decoded. "
            f"{_decoding_hint(content)}"
        ) from None


def read_lines(path: Path, encoding: str) -> tuple[list[str], SourceFile]:
    """Return the lines of a text file and its record. Raises `DataError`."""
    content, source, _ = read_bytes(path)
    return lines_of(decode(content, path, encoding)), source


def lines_of(text: str) -> list[str]:
    r"""Return the lines, without `\n` or `\r\n`; a last line end begins no line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def bare_name(path: Path) -> str:
    """Return the file name without `.gz` and its like, in lower case."""
    name = path.name.lower()
    return name.removesuffix(next((ending for ending in PACKED if name.endswith(ending)), ""))


def _decoding_hint(content: bytes) -> str:
    for mark, kind in _BINARY_MARKS.items():
        if content.startswith(mark):
            return f"It is {kind}"
    wide = content.startswith(_UTF16_MARKS)
    if b"\0" in content and not wide:
        return "It seems to be a binary file, not text"
    text = content.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= letter <= "\udcff" for letter in text)
    if not wide and broken < sum(letter > "\x7f" for letter in text) - broken:
        # Another encoding would garble the letters that are right.
        return (
            f"Most of it is UTF-8: correct the bytes that are not ({broken}); if all of it has "
            "another encoding, give `dataset.encoding=`"
        )
    return f"Give its encoding, for example `dataset.encoding={'utf-16' if wide else 'cp1252'}`"


def _unpacked(packed: bytes, path: Path) -> tuple[bytes, str]:
    """Return the content, and the name of the file in a zip archive."""
    if path.suffix.lower() in EXCEL:
        raise DataError(f"file `{path}` is {_EXCEL}")
    if packed.startswith(_ZIP):
        return _only_member(packed, path)
    mark = next((mark for mark in _UNPACKERS if packed.startswith(mark)), None)
    if mark == _BZIP2 and packed[4:10] != b"1AY&SY":  # a text may begin with `BZh`
        mark = None
    if mark is not None:
        kind, unpack = _UNPACKERS[mark]
        try:
            packed = unpack(packed)
        except _UNPACK_ERRORS as error:
            size = ""
            if mark == _GZIP:
                size = (
                    f": {len(packed)} bytes hold {_unpacked_size(packed)} bytes of content before "
                    "it breaks off"
                )
            raise DataError(
                f"file `{path}` is a damaged or truncated {kind} file{size} ({error}). Fetch or "
                "pack it again"
            ) from None
    if packed[257:262] == b"ustar":
        raise DataError(f"file `{path}` is a tar archive: unpack it, and give the folder")
    return packed, ""


def _only_member(packed: bytes, path: Path) -> tuple[bytes, str]:
    """Return the one file in a zip archive, and its name; files that macOS adds do not count."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if any(name in _SPREADSHEETS for name in names):
                raise DataError(f"file `{path}` is {_EXCEL}")
            own = [
                name
                for name in names
                if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
            ]
            if len(own) != 1:
                raise DataError(
                    f"file `{path}` is a zip archive of {len(own)} files: unpack it, and give the "
                    "folder or one of the files"
                )
            return archive.read(own[0]), own[0]
    except (*_UNPACK_ERRORS, zipfile.BadZipFile) as error:
        raise DataError(
            f"file `{path}` is a zip archive that cannot be read ({error}). Unpack it, or fetch it "
            "again"
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
    return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
