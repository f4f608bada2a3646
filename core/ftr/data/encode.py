"""Encoding rows once per content: Arrow files named by a hash of all that goes into them, memory-mapped by every reader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.data.cleaner import GIVEN
from ftr.data.unknown import UNKNOWN, count_unknown
from ftr.errors import DataError, RunError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ftr.protocols import EncodeSettings, Head, Row

ROWS_PER_CALL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSplit:
    """Where a split lies: Arrow files of rows and features; counts; what the head noted (`question cut: 3`)."""

    rows: str
    features: str
    row_count: int
    feature_count: int
    sha256: str
    notes: dict[str, int]
    from_cache: bool

    def open(self) -> tuple[Dataset, Dataset]:
        """Memory-map both files and return (rows, features)."""
        from datasets import Dataset

        return Dataset.from_file(self.rows), Dataset.from_file(self.features)


def cache_folder(asked: str | None) -> Path:
    """Return the cache folder: `data.cache`, else `FTR_CACHE`, else `~/.cache/ftr`."""
    return Path(asked or os.environ.get("FTR_CACHE") or Path.home() / ".cache" / "ftr").expanduser()


def store_split(
    rows: Sequence[Row], head: Head, tokenizer: PreTrainedTokenizerBase, settings: EncodeSettings, folder: Path, identity: str
) -> StoredSplit:
    """Encode `rows`, or find them encoded, and return where they lie.

    `identity` names the code that encodes (head, options, versions). The files appear whole or not at all, so
    several processes may store the same split at once. Raises `RunError` when the folder is not writable.
    """
    table = _table(rows)
    digest = _digest(table)
    key = hashlib.sha256("\n".join([digest, _tokenizer_identity(tokenizer), repr(settings), identity]).encode()).hexdigest()[:32]
    place = folder / "encoded" / key
    record = place / "split.json"
    from_cache = record.is_file()
    try:
        if not from_cache:
            _write(table, rows, head, tokenizer, settings, place, digest)
        known = json.loads(record.read_text(encoding="utf-8"))
        return StoredSplit(rows=str(place / "rows.arrow"), features=str(place / "features.arrow"), from_cache=from_cache, **known)
    except OSError as error:
        raise RunError(
            f"cannot write encoded rows to `{place}`: {error.strerror or error}. Free space, or set another folder with `data.cache=`."
        ) from error


def _write(
    table: pa.Table, rows: Sequence[Row], head: Head, tokenizer: PreTrainedTokenizerBase, settings: EncodeSettings, place: Path, digest: str
) -> None:
    notes: Counter[str] = Counter()
    fresh = place.with_name(f"{place.name}.new-{os.getpid()}")
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        _write_stream(fresh / "rows.arrow", [table])
        count = _write_stream(fresh / "features.arrow", _encode(rows, head, tokenizer, settings, notes))
        record = {"row_count": len(rows), "feature_count": count, "sha256": digest, "notes": dict(notes)}
        (fresh / "split.json").write_text(json.dumps(record), encoding="utf-8")
        fresh.rename(place)
    except OSError:
        # Another process may have finished the same content first; its files are the same.
        if not (place / "split.json").is_file():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _encode(
    rows: Sequence[Row], head: Head, tokenizer: PreTrainedTokenizerBase, settings: EncodeSettings, notes: Counter[str]
) -> Iterator[pa.Table]:
    import pyarrow as pa

    tokens: Counter[str] = Counter()
    for start in range(0, len(rows), ROWS_PER_CALL):
        batch = rows[start : start + ROWS_PER_CALL]
        columns = head.encode({name: [row.get(name) for row in batch] for name in _names(batch) if name != GIVEN}, tokenizer, settings)
        notes.update(note for note in columns.pop("notes", []) if note)
        owners = columns["row"]
        if sorted(set(owners)) != list(range(len(batch))) or sorted(owners) != list(owners):
            raise DataError(
                f"the head's `encode` must give every row at least one feature, in order: rows {start} to {start + len(batch) - 1}."
            )
        columns["row"] = [start + owner for owner in owners]
        columns["length"] = [len(ids) for ids in columns["input_ids"]]
        table = pa.table(columns)
        tokens += count_unknown(table["input_ids"].combine_chunks().flatten().to_numpy(), tokenizer)
        yield table
    if tokens[UNKNOWN]:
        notes.update(tokens)


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _table(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    names = _names(rows)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _write_stream(path: Path, tables: Sequence[pa.Table] | Iterator[pa.Table]) -> int:
    import pyarrow as pa

    count, writer, first = 0, None, None
    for table in tables:
        if writer is None:
            writer = pa.ipc.new_stream(path, table.schema)
        writer.write_table(table.cast(first := first or table.schema))
        count += table.num_rows
    if writer is not None:
        writer.close()
    return count


def _digest(table: pa.Table) -> str:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = repr(tokenizer)
    if backend is not None:
        # How the last call cut and padded is part of the state as well; each call of a head sets it anew.
        state = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
        text = json.dumps(state, sort_keys=True)
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{text}\n{tokenizer.special_tokens_map}".encode()).hexdigest()


def code_identity(head: type[Head], options: dict[str, Any], version: str) -> str:
    """Name the code behind an encoding: head, options, plugin version, and the source files beside the head's."""
    source = sys.modules[head.__module__].__file__
    digest = hashlib.sha256()
    if source:
        for path in sorted(Path(source).parent.glob("*.py")):
            digest.update(path.read_bytes())
    return json.dumps([head.__module__, head.__qualname__, options, version, digest.hexdigest()], sort_keys=True)
