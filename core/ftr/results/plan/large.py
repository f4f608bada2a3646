"""Data that does not fit into memory, in files that are read at once: told from their sizes and a
sample of their rows before they are read.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

from ftr.config.components import FILES, SPLITS, file_options
from ftr.config.parse import Layer, validated
from ftr.config.schema import HUB, FileOptions, Format, RunConfig
from ftr.data.downloads import local_dataset
from ftr.data.encode import cache_folder
from ftr.data.files import bare_name
from ftr.data.infer import first_text
from ftr.data.layout import find_files, format_of
from ftr.data.multilabel import set_column
from ftr.data.pieces import IN_PIECES
from ftr.data.prepare import prepare_rows
from ftr.data.read import load_rows
from ftr.errors import DataError, FtrError, counted
from ftr.model.components import make_head
from ftr.paths import present
from ftr.registry.registry import Registry
from ftr.terminal import mask
from ftr.train.costs import memory_now, peak_since, size

LARGE = 64_000_000
"""Bytes of files (unpacked) from which a sample is read first."""
WHOLE_RATIO = 8.0
"""Bytes of memory for a byte of a format whose first rows alone cannot be read: 6 to 9 of the JSON
of SQuAD.
"""
PACKED_RATIO = 4.0
"""Bytes in a packed file for one of it, where its first part alone cannot be unpacked."""


def check_sizes(given: Layer, available: int) -> None:
    """Raise `DataError` where a file alone is larger than the memory: it is not opened."""
    for key in ("dataset", *(f"dataset.{split}" for split in SPLITS)):
        text = given[key].text if key in given else None
        path = Path(text).expanduser() if text and present(text) else None
        large = path and path.is_file() and path.stat().st_size > available
        if path and large and _is_at_once(path, "auto"):
            raise DataError(
                f"`{key}={text}`: the file has {size(path.stat().st_size)}, more than the "
                f"{size(available)} of memory, and files of its format are read at once. "
                f"{_ADVICE}"
            )


_LESS = "Give a part of the rows, or use a machine with more memory."
_ADVICE = f"CSV, TSV, JSON lines and Parquet are read in pieces. {_LESS}"


def _is_at_once(path: Path, form: Format) -> bool:
    """Whether a file is read at once, by its format."""
    try:
        return (format_of(path) if form == "auto" else form) not in IN_PIECES
    except DataError:  # the reader knows more about it
        return True


def check_readable(config: RunConfig, registry: Registry, available: int) -> None:
    """Raise `DataError` with the arithmetic where reading the files of a dataset takes more memory
    than there is, by a sample of the largest; small ones are not looked at.
    """
    name = config.dataset.name
    if registry.has("dataset", name) or name.startswith(HUB):
        return
    head = make_head(registry, config.head)
    cache = cache_folder(config.data.cache, config.output)
    name, given = local_dataset(name, config.dataset.options, cache)
    options = validated(file_options(head.schema), given, {}, "dataset.")
    paths = [path for one in find_files(name, options, []).values() for path in one.paths]
    at_once = set_column(head.schema) is not None  # all rows tell what the labels are
    sizes = {
        path: unpacked(path)
        for path in paths
        if path.is_file() and (at_once or _is_at_once(path, options.format))
    }
    total = sum(sizes.values())
    if total < LARGE:
        return
    largest = max(sizes, key=lambda path: sizes[path])
    each, how = _memory_for_a_byte(config, registry, largest, options)
    if total * each <= available:
        return
    raise DataError(
        f"`dataset={mask(config.dataset.name)}`: "
        f"{counted(len(sizes), 'file')} of {size(total)} in all "
        f"(unpacked) would take about {size(total * each)} of memory to read ({how}), and "
        f"there is {size(available)}. {_LESS if at_once else _ADVICE}"
    )


def unpacked(path: Path) -> int:
    """Return about how many bytes a file holds, by its size and, of a gzip, its first part."""
    total = path.stat().st_size
    if bare_name(path) == path.name.lower():
        return total
    with path.open("rb") as stream:
        first = stream.read(1 << 20)
    try:
        content = len(zlib.decompressobj(wbits=31).decompress(first))
        return int(total * content / max(len(first), 1))
    except zlib.error:  # another packer
        return int(total * PACKED_RATIO)


def _memory_for_a_byte(
    config: RunConfig, registry: Registry, path: Path, options: FileOptions
) -> tuple[float, str]:
    """Return the memory that reading and preparing takes for a byte, and how that is known."""
    whole = f"{WHOLE_RATIO:g} bytes for each byte, as measured for such files"
    try:
        form = options.format if options.format != "auto" else format_of(path)
        text = first_text(path, options) if form in ("csv", "tsv", "jsonl", "text") else None
        if not text:
            return WHOLE_RATIO, whole
        content = text.encode(errors="surrogatepass")
        taken = _sampled(config, registry, bare_name(path), content)
    except FtrError:  # such as a sample with too many bad rows; reading all of it explains more
        return WHOLE_RATIO, whole
    each = max(taken / len(content), 1.0)
    return each, f"a sample of {size(len(content))} took {size(taken)}, {each:.1f} for each byte"


def _sampled(config: RunConfig, registry: Registry, name: str, content: bytes) -> int:
    """Return the bytes of memory that reading and preparing `content` takes."""
    from ftr.train.inference import trim_memory

    head = make_head(registry, config.head)
    with tempfile.TemporaryDirectory(prefix="ftr-plan-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        options = {
            **config.dataset.options,
            "train": str(path),
            "validation": "none",
            "test": "none",
            "labels_file": "none",
            "encoding": "utf-8",
        }
        trim_memory()
        before = memory_now()
        peak_since(reset=True)
        loaded = load_rows(FILES, options, registry, head.schema)
        prepare_rows(loaded, head, config.data)
        return max(peak_since() - before, len(content))
