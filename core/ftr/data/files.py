"""Bytes and text of files, compressed or not; errors name the file, the byte and the line."""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ftr.atomic import sha256, writing
from ftr.config.schema import EXCEL, PACKED
from ftr.data.rows import SourceFile
from ftr.errors import ConfigError, DataError, NoRowsError, did_you_mean, in_one_line
from ftr.paths import no_file

_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
_UNPACKERS: dict[bytes, tuple[str, Callable[[bytes], bytes], Callable[[Any], Any]]] = {
    _GZIP: ("gzip", gzip.decompress, lambda stream: gzip.GzipFile(fileobj=stream)),
    _BZIP2: ("bzip2", bz2.decompress, bz2.BZ2File),
    _XZ: ("xz", lzma.decompress, lzma.LZMAFile),
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


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Raises `DataError` where there is none, or it cannot be read."""
    if kind := no_file(path):
        raise DataError(
            f"`{path}` is {kind}, not a file: write the rows to one, or pipe them to `ftr predict "
            "RUN -`"
        )
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"file `{path}` does not exist.{_near_files(path)}") from None
    except OSError as error:
        raise _cannot_read(path, error) from None


def _cannot_read(path: Path, error: Exception) -> DataError:
    cause = getattr(error, "strerror", None) or in_one_line(error)
    return DataError(f"file `{path}` cannot be read: {cause}")


@contextlib.contextmanager
def unchanged(stream: BinaryIO, path: Path) -> Iterator[None]:
    """Raise `DataError` where the open file changes in size or time during the block."""

    def state() -> tuple[int, int]:
        status = os.fstat(stream.fileno())
        return status.st_size, status.st_mtime_ns

    before = state()
    yield
    if state() != before:
        raise DataError(
            f"file `{path}` changed while it was read: run the command again when nobody writes it"
        )


def empty(path: Path) -> NoRowsError:
    """Return the error of a file without content."""
    return NoRowsError(f"file `{path}` is empty")


def read_bytes(path: Path) -> tuple[bytes, SourceFile, str]:
    """Return the unpacked content of `path`, its record, and, for a zip archive, the name of the
    file in it. Raises `DataError`.
    """
    with open_file(path) as stream, unchanged(stream, path):
        try:
            packed = stream.read()
        except OSError as error:
            raise _cannot_read(path, error) from None
    content, inner = _unpacked(packed, path)
    if not content.strip():
        raise empty(path)
    return content, SourceFile(str(path), sha256(packed), len(packed)), inner


class ByteStream(io.RawIOBase):
    """The bytes of `stream`, an open file of any library; `position` is the number read so far."""

    def __init__(self, stream: Any, explain: Callable[[Exception], Exception]) -> None:
        """An error of reading is raised as `explain` returns it."""
        self._stream, self._explain = stream, explain
        self.position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; less is read only at the end."""
        view, filled = memoryview(buffer).cast("B"), 0
        try:
            while filled < len(view) and (chunk := self._stream.read(len(view) - filled)):
                view[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
                self.position += len(chunk)
        except DataError:
            raise
        except Exception as error:  # each file system raises what its own library raises
            raise self._explain(error) from None
        return filled


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An open file that is read in pieces: its unpacked content, and the name of the file in a zip
    archive. `raw` counts the bytes read of `size`, None if that is unknown.
    """

    stream: BinaryIO
    inner: str
    raw: ByteStream
    size: int | None
    source: Any = None
    """The open file itself, where it is not packed."""

    def random_access(self) -> Any:
        """Return the content as a file that can be read at any place; a temporary copy if need
        be. Raises `RunError` where the disk refuses that.
        """
        if self.source is not None and self.source.seekable():
            self.source.seek(0)
            return self.source
        return _copied(self.stream)


def _copied(stream: Any) -> Any:
    with writing(Path(tempfile.gettempdir()), "Free space, or set another folder with `TMPDIR`."):
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (it goes when it is closed)
        shutil.copyfileobj(stream, copy, _BLOCK)
        copy.seek(0)
    return copy


_BLOCK = 1 << 20
"""Bytes that are read at a time."""
_SNIFFED = 512


def unpacked_stream(source: Any, path: Path, size: int | None) -> Unpacked:
    """Return the content of the open file `source`, which has `size` bytes on disk.

    Raises `DataError`, also while the content is read.
    """
    if path.suffix.lower() in EXCEL:
        raise DataError(f"file `{path}` is {_EXCEL}")
    raw = ByteStream(source, lambda error: _cannot_read(path, error))
    packed = io.BufferedReader(raw, _BLOCK)
    start = packed.peek(_SNIFFED)
    if start.startswith(_ZIP):
        file = Unpacked(packed, "", raw, size, source).random_access()
        return _member_stream(file, path)
    mark = _packing(start)
    if mark is None:
        _refuse_tar(start, path)
        return Unpacked(packed, "", raw, size, source)
    kind, _, opened = _UNPACKERS[mark]
    content = ByteStream(opened(packed), lambda error: _damaged(path, kind, content, raw, error))
    stream = io.BufferedReader(content, _BLOCK)
    _refuse_tar(stream.peek(_SNIFFED), path)
    return Unpacked(stream, "", raw, size)


def _damaged(
    path: Path, kind: str, content: ByteStream, raw: ByteStream, error: Exception
) -> DataError:
    return _broken_pack(path, kind, raw.position, content.position, error)


def _broken_pack(
    path: Path, kind: str, packed: int, content: int | None, error: Exception
) -> DataError:
    size = ""
    if content is not None:
        size = f": {packed} bytes hold {content} bytes of content before it breaks off"
    return DataError(
        f"file `{path}` is a damaged or truncated {kind} file{size} ({error}). Fetch or pack it "
        "again"
    )


def _member_stream(file: Any, path: Path) -> Unpacked:
    try:
        archive = zipfile.ZipFile(file)
        inner = _only_name(archive, path)
        member, size = archive.open(inner), archive.getinfo(inner).file_size
    except (*_UNPACK_ERRORS, zipfile.BadZipFile) as error:
        raise _broken_zip(path, error) from None
    raw = ByteStream(member, lambda error: _broken_zip(path, error))
    return Unpacked(io.BufferedReader(raw, _BLOCK), inner, raw, size)


def decoded(
    start: bytes, stream: BinaryIO, path: Path, encoding: str, *, by_row: bool = True
) -> Iterator[str]:
    """Yield the text of a file in pieces, of `start` and of what follows it, as `decode` does.

    What `start` tells holds for all: raises `DataError` with byte and line.
    """
    name = _codec(encoding)
    escaped = by_row and name == "utf-8" and b"\0" not in start
    decoder = codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)(
        "surrogateescape" if escaped else "strict"
    )
    block, offset, lines, first = start, 0, 1, True
    while True:
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            place = error.start - waiting if isinstance(error, UnicodeDecodeError) else 0
            line = lines + block.count(b"\n", 0, max(place, 0))
            raise _undecodable(path, encoding, offset + place, line, block) from None
        if text:
            yield text.removeprefix("\ufeff") if first else text
            first = False
        offset, lines = offset + len(block), lines + block.count(b"\n")
        if not block:
            return
        block = stream.read(_BLOCK)


def decode(content: bytes, path: Path, encoding: str, *, by_row: bool = False) -> str:
    """Return the text, without a byte order mark.

    With `by_row` invalid UTF-8 becomes escapes, which the check of each row finds.

    Raises `DataError` with byte and line, `ConfigError` for an unknown encoding.
    """
    name = _codec(encoding)
    escaped = by_row and name == "utf-8" and b"\0" not in content
    try:
        return content.decode(
            "utf-8-sig" if name == "utf-8" else name, "surrogateescape" if escaped else "strict"
        ).removeprefix("\ufeff")
    except UnicodeError as error:
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, offset) + 1
        raise _undecodable(path, encoding, offset, line, content) from None


def _undecodable(path: Path, encoding: str, offset: int, line: int, content: bytes) -> DataError:
    return DataError(
        f"file `{path}` is not {encoding}: byte {offset}, on line {line}, cannot be decoded. "
        f"{_decoding_hint(content)}"
    )


def _codec(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)
    except (LookupError, ValueError):
        raise ConfigError(
            f"`dataset.encoding={encoding}` is not an encoding of Python; examples: utf-8, "
            "cp1252, utf-16"
        ) from None
    return name


def read_lines(path: Path, encoding: str) -> tuple[list[str], SourceFile]:
    """Return the lines of a text file and its record. Raises `DataError`."""
    content, source, _ = read_bytes(path)
    return lines_of(decode(content, path, encoding)), source


def lines_of(text: str) -> list[str]:
    r"""Return the lines, without `\n` or `\r\n`; a last line end begins no line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def split_lines(pieces: Iterable[str], *, universal: bool = False) -> Iterator[str]:
    r"""Yield the lines of a text in pieces, with their ends: `\n`, and `\r` too if `universal`."""
    newline, rest = "" if universal else "\n", []
    for piece in _parts(pieces):
        rest.append(piece)
        if "\n" in piece or (universal and "\r" in piece):
            lines = io.StringIO("".join(rest), newline=newline).readlines()
            # A `\r` at the end may be half of a `\r\n`.
            rest = [] if lines[-1].endswith("\n") else [lines.pop()]
            yield from lines
    if last := "".join(rest):
        yield from io.StringIO(last, newline=newline)


def _parts(pieces: Iterable[str]) -> Iterator[str]:
    """Yield a text in pieces of a limited size: `StringIO` takes four bytes for a character."""
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            yield piece[start : start + _BLOCK]


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
    mark = _packing(packed)
    if mark is not None:
        kind, unpack, _ = _UNPACKERS[mark]
        try:
            packed = unpack(packed)
        except _UNPACK_ERRORS as error:
            content = _unpacked_size(packed) if mark == _GZIP else None
            raise _broken_pack(path, kind, len(packed), content, error) from None
    _refuse_tar(packed, path)
    return packed, ""


def _packing(start: bytes) -> bytes | None:
    """Return the mark of the packing of a file that begins so."""
    mark = next((mark for mark in _UNPACKERS if start.startswith(mark)), None)
    # A text may begin with `BZh`.
    return None if mark == _BZIP2 and start[4:10] != b"1AY&SY" else mark


def _refuse_tar(start: bytes, path: Path) -> None:
    if start[257:262] == b"ustar":
        raise DataError(f"file `{path}` is a tar archive: unpack it, and give the folder")


def _only_member(packed: bytes, path: Path) -> tuple[bytes, str]:
    """Return the one file in a zip archive, and its name."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            name = _only_name(archive, path)
            return archive.read(name), name
    except (*_UNPACK_ERRORS, zipfile.BadZipFile) as error:
        raise _broken_zip(path, error) from None


def _only_name(archive: zipfile.ZipFile, path: Path) -> str:
    """Return the name of the one file in a zip archive; files that macOS adds do not count."""
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
    return own[0]


def _broken_zip(path: Path, error: Exception) -> DataError:
    return DataError(
        f"file `{path}` is a zip archive that cannot be read ({error}). Unpack it, or fetch it "
        "again"
    )


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
