"""Encode rows once per content: Arrow files named by a hash of their inputs, memory-mapped by every
reader.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.data.clean import GIVEN
from ftr.errors import DataError, RunError
from ftr.paths import expanded, writable
from ftr.registry.discovery import own_version
from ftr.registry.registry import code_hash
from ftr.terminal import show

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ftr.registry.discovery import PluginRecord
    from ftr.registry.protocols import EncodeSettings, Head, Row


TOKENS, UNKNOWN = "tokens", "unknown tokens"
MANY = 0.05
"""Share of unknown tokens above which a person is warned."""


def count_unknown(
    ids: np.ndarray[tuple[int], np.dtype[np.int64]], tokenizer: PreTrainedTokenizerBase
) -> Counter[str]:
    """Return how many of the token ids are `TOKENS` of the text, special ones left out, and
    `UNKNOWN` among them.

    Nothing is counted where the tokenizer has no unknown token, or uses it for something else as
    GPT-2's does.
    """
    import numpy as np

    unknown = tokenizer.unk_token_id
    others = [
        tokenizer.bos_token,
        tokenizer.eos_token,
        tokenizer.cls_token,
        tokenizer.sep_token,
        tokenizer.pad_token,
    ]
    if unknown is None or tokenizer.unk_token in others:
        return Counter()
    special = [one for one in tokenizer.all_special_ids if one != unknown]
    text = len(ids) - int(np.count_nonzero(np.isin(ids, special)))
    return Counter({TOKENS: text, UNKNOWN: int(np.count_nonzero(ids == unknown))})


def unknown_note(split: str, counts: Counter[str]) -> str | None:
    """Return the warning on a split whose text the model's vocabulary does not cover, or None."""
    if counts[UNKNOWN] <= MANY * counts[TOKENS]:
        return None
    return (
        f"{split}: {counts[UNKNOWN] / counts[TOKENS]:.0%} of the tokens are unknown to the model "
        f"({counts[UNKNOWN]} of {counts[TOKENS]}): its vocabulary does not cover this language or "
        "script. Choose another model with `model=`, such as a multilingual one"
    )


ROWS_PER_CALL = 1000
RECORD, ROWS, FEATURES = "split.json", "rows.arrow", "features.arrow"
FORMAT = 2
"""Of the folder of a split; since 2 its record has the sha256 of its files."""
OWN_CACHE = "~/.cache/ftr"
BESIDE_RUNS = ".ftr-cache"
"""The cache folder within `output` where the home folder is read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSplit:
    """Where a split lies: Arrow files of rows and features; counts; what the head noted (`question
    cut: 3`).
    """

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


def cache_folder(asked: str | None, output: str) -> Path:
    """Return the cache folder: `data.cache`, else `FTR_CACHE`, else `~/.cache/ftr`, or one in
    `output` where that cannot be written.
    """
    chosen = asked or os.environ.get("FTR_CACHE") or (OWN_CACHE if writable(OWN_CACHE) else None)
    return (
        expanded(chosen, "`data.cache`:") if chosen else expanded(output, "`output`:") / BESIDE_RUNS
    )


def store_split(
    rows: Sequence[Row],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    folder: Path,
    identity: str,
) -> StoredSplit:
    """Encode `rows`, or find them encoded, and return where they lie.

    `identity` names the code that encodes (head, options, versions). The files appear whole or not
    at all, so several processes may store the same split at once. Raises `RunError` when the folder
    is not writable.
    """
    table = _table(rows)
    digest = _digest(table)
    parts = [digest, _tokenizer_identity(tokenizer), repr(settings), identity, str(FORMAT)]
    place = folder / "encoded" / sha256("\n".join(parts))[:32]
    try:
        found = stored(place)
        if found is not None:
            return found
        discard(place)
        _write(table, rows, head, tokenizer, settings, place, digest)
        found = stored(place)
        if found is None:
            raise RunError(
                f"encoded rows were written to `{place}` and cannot be read back: set another "
                "folder with `data.cache=`."
            )
        return replace(found, from_cache=False)
    except OSError as error:
        raise RunError(
            f"cannot write encoded rows to `{place}`: {error.strerror or error}. Free space, or "
            "set another folder with `data.cache=`."
        ) from error


def stored(place: Path) -> StoredSplit | None:
    """Return the split in a folder that was written before; None where there is none, or its files
    are not those that were written.
    """
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        files = record.pop("files")
        if any(
            (place / name).stat().st_size != files[name][0]
            or sha256(place / name) != files[name][1]
            for name in (ROWS, FEATURES)
        ):
            return None
        return StoredSplit(
            rows=str(place / ROWS), features=str(place / FEATURES), from_cache=True, **record
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def discard(place: Path) -> None:
    """Remove a folder of encoded rows that is damaged, and say so; one that another process has
    just made anew stays.
    """
    if not os.path.lexists(place):
        return
    with atomic.folder_locked(place.parent):
        if stored(place) is None and os.path.lexists(place):
            show(f"ftr: `{place}` is damaged, and is encoded again")
            with atomic.workroom(place) as old:
                place.rename(old / place.name)


def _write(
    table: pa.Table,
    rows: Sequence[Row],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    place: Path,
    digest: str,
) -> None:
    notes: Counter[str] = Counter()
    atomic.clear_leftovers(place.parent, deep=False)
    with atomic.workroom(place) as fresh:
        _write_stream(fresh / ROWS, [table])
        count = _write_stream(fresh / FEATURES, _encode(rows, head, tokenizer, settings, notes))
        files = {
            name: [(fresh / name).stat().st_size, sha256(fresh / name)] for name in (ROWS, FEATURES)
        }
        record = {
            "row_count": len(rows),
            "feature_count": count,
            "sha256": digest,
            "notes": dict(notes),
            "files": files,
        }
        (fresh / RECORD).write_text(json.dumps(record), encoding="utf-8")
        atomic.to_disk(fresh)
        try:
            fresh.rename(place)
        except OSError:
            # Another process may have finished the same content first; its files are the same.
            if not place.is_dir():
                raise
        atomic.sync(place.parent)


def _encode(
    rows: Sequence[Row],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    notes: Counter[str],
) -> Iterator[pa.Table]:
    import pyarrow as pa

    tokens: Counter[str] = Counter()
    for start in range(0, len(rows), ROWS_PER_CALL):
        batch = rows[start : start + ROWS_PER_CALL]
        columns = head.encode(
            {name: [row.get(name) for row in batch] for name in _names(batch) if name != GIVEN},
            tokenizer,
            settings,
        )
        notes.update(note for note in columns.pop("notes", []) if note)
        owners = columns["row"]
        if sorted(set(owners)) != list(range(len(batch))) or sorted(owners) != list(owners):
            raise DataError(
                "the head's `encode` must give every row at least one feature, in order: rows "
                f"{start} to {start + len(batch) - 1}."
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
    return sha256(sink.getvalue())


def _tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = repr(tokenizer)
    if backend is not None:
        # How the last call cut and padded is part of the state as well; each call of a head sets it
        # anew.
        state = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
        text = json.dumps(state, sort_keys=True)
    else:
        text += json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # Whether it gives token types is no part of the backend.
    more = f"{tokenizer.special_tokens_map}\n{tokenizer.model_input_names}"
    parts = [type(tokenizer).__qualname__, code_hash([type(tokenizer)]), text, more]
    return sha256("\n".join(parts))


def code_identity(
    head: type[Head], options: dict[str, Any], version: str, plugin: PluginRecord | None = None
) -> str:
    """Name the code behind an encoding: head, options, versions, and the source of the head's
    classes and of its whole plugin.
    """
    digest = code_hash([head], plugin)
    return json.dumps(
        [head.__module__, head.__qualname__, options, version, own_version(), digest],
        sort_keys=True,
    )
