"""Encode rows once per content: Arrow files named by a hash of all that they depend on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftr import atomic
from ftr.atomic import sha256
from ftr.config.components import create_component
from ftr.data.arrow import RowBatches, columns_of, pieces, write_stream
from ftr.data.clean import GIVEN
from ftr.data.workers import Piece, in_processes
from ftr.errors import ConfigError, DataError, RunError
from ftr.paths import expanded, folder_of, is_denied, nearest, writable
from ftr.registry.discovery import own_version
from ftr.registry.registry import code_hash, get_registry
from ftr.terminal import show

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from ftr.config.schema import Component, RunConfig
    from ftr.registry.discovery import PluginRecord
    from ftr.registry.protocols import EncodeSettings, Head, Row
    from ftr.registry.registry import Registry


TOKENS, UNKNOWN = "tokens", "unknown tokens"
MANY = 0.05
"""Share of unknown tokens that is reported."""


def count_unknown(
    ids: np.ndarray[tuple[int], np.dtype[np.int64]], tokenizer: PreTrainedTokenizerBase
) -> Counter[str]:
    """Return how many of the token ids are `TOKENS` of the text, special ones left out, and
    `UNKNOWN` among them.

    Nothing is counted if the tokenizer has no unknown token, or uses it for something else as GPT-2
    does.
    """
    import numpy as np

    unknown = tokenizer.unk_token_id
    names = ("bos_token", "eos_token", "cls_token", "sep_token", "pad_token")
    if unknown is None or tokenizer.unk_token in [getattr(tokenizer, name) for name in names]:
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
"""Rows of a piece: those that a head gets at a time."""
TRIED = 4
"""Pieces that tell how much disk the features of a split need."""
RECORD, ROWS, FEATURES = "split.json", "rows.arrow", "features.arrow"
FORMAT = 2
"""Of the folder of a split; since 2 its record has the sha256 of its files."""
OWN_CACHE = "~/.cache/ftr"
BESIDE_RUNS = ".ftr-cache"
"""The cache folder within `output` if the home folder is read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSplit:
    """The Arrow files of a split's rows and features, counts, and notes of the head (`question cut:
    3`).
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
    """Return the cache folder: `data.cache`, else `FTR_CACHE`, else `~/.cache/ftr`, or a folder in
    `output` if that cannot be written.
    """
    if not asked:
        own = Path(OWN_CACHE).expanduser() if writable(OWN_CACHE) else None
        return folder_of("FTR_CACHE") or own or expanded(output, "`output`:") / BESIDE_RUNS
    folder = expanded(asked, "`data.cache`:")
    if not (present := nearest(folder)).is_dir():
        raise ConfigError(
            f"`data.cache` is `{folder}`, and `{present}` is a file: name a folder.",
            keys=["data.cache"],
        )
    return folder


def encode_rows(
    config: RunConfig,
    registry: Registry,
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    rows: Sequence[Row],
    spread: Spread | None = None,
    tick: Tick | None = None,
) -> StoredSplit:
    """Encode rows with the head of `config`, or find them in its cache: see `store_split`."""
    identity = head_identity(registry, config.head, head)
    folder = cache_folder(config.data.cache, config.output)
    recipe = Recipe(config.head, tokenizer, settings, identity)
    return store_split(
        rows, head, tokenizer, settings, folder, identity, recipe=recipe, spread=spread, tick=tick
    )


DATA_KEYS = ("dataset", "data", "head", "model", "cv")
"""Groups of keys that decide which rows are encoded, and how."""


def data_key(config: RunConfig) -> str:
    """Return what decides the encoded rows of a configuration: equal keys, equal `cache_key`s."""
    dumped = config.model_dump(mode="json", include={*DATA_KEYS, "task"})
    return json.dumps(dumped, sort_keys=True)


def cache_key(
    rows: str, tokenizer: PreTrainedTokenizerBase, settings: EncodeSettings, identity: str
) -> str:
    """Return the name of a folder of encoded rows. They are reused if and only if it is equal.

    `rows` is the sha256 of the rows, `identity` what `code_identity` returns.
    """
    parts = [rows, _tokenizer_identity(tokenizer), repr(settings), identity, str(FORMAT)]
    return sha256("\n".join(parts))[:32]


def code_identity(
    head: type[Head], options: dict[str, Any], version: str, plugin: PluginRecord | None = None
) -> str:
    """Name the code behind an encoding: head, options, versions, and the source of its plugin."""
    digest = code_hash([head], plugin)
    return json.dumps(
        [head.__module__, head.__qualname__, options, version, own_version(), digest],
        sort_keys=True,
    )


def head_identity(registry: Registry, component: Component, head: Head) -> str:
    """Name the code behind a head of this process: see `code_identity`."""
    plugin = registry.find("head", component.name).plugin
    return code_identity(type(head), component.options, plugin.version, plugin)


def _tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        text = repr(tokenizer) + json.dumps(tokenizer.get_vocab(), sort_keys=True)
    else:
        # How the last call cut and padded is part of the state too; each call of a head sets it.
        state = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
        text = json.dumps(state, sort_keys=True)
    # The backend does not know whether the tokenizer returns token types.
    more = f"{tokenizer.special_tokens_map}\n{tokenizer.model_input_names}"
    parts = [type(tokenizer).__qualname__, code_hash([type(tokenizer)]), text, more]
    return sha256("\n".join(parts))


class Encoded(NamedTuple):
    """Features of a piece of rows, the notes of the head, and counts of tokens."""

    table: pa.Table
    notes: Counter[str]
    tokens: Counter[str]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes features of rows, the same in every process."""

    head: Head
    tokenizer: PreTrainedTokenizerBase
    settings: EncodeSettings

    def __call__(self, start: int, rows: Sequence[Row]) -> Encoded:
        """Encode the piece of rows that begins at number `start`.

        Raises `DataError` where the head leaves out a row.
        """
        import pyarrow as pa

        columns = head_columns(rows, self.head, self.tokenizer, self.settings)
        notes = Counter(note for note in columns.pop("notes", []) if note)
        owners = columns["row"]
        if sorted(set(owners)) != list(range(len(rows))) or sorted(owners) != list(owners):
            raise DataError(
                "the head's `encode` must give every row at least one feature, in order: rows "
                f"{start} to {start + len(rows) - 1}."
            )
        columns["row"] = [start + owner for owner in owners]
        table = pa.table(columns)
        ids = table["input_ids"].combine_chunks().flatten().to_numpy()
        return Encoded(table, notes, count_unknown(ids, self.tokenizer))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What another process, here or on another node, makes an `Encoder` from."""

    component: Component
    tokenizer: PreTrainedTokenizerBase
    settings: EncodeSettings
    identity: str

    def encoder(self) -> Encoder:
        """Return the encoder of the process that made the recipe.

        Raises `DataError` where other code would run here.
        """
        registry = get_registry()
        head: Head = create_component(registry, "head", self.component)
        if head_identity(registry, self.component, head) != self.identity:
            raise DataError(f"the code of head `{self.component.name}` differs here.")
        return Encoder(head, self.tokenizer, self.settings)


Tick = Callable[[int], None]
Spread = Callable[[Recipe, Iterator[Piece], int], Generator[Encoded | Piece]]
"""Encodes pieces of so many rows elsewhere, in their order, or gives them back: see
`in_processes`.
"""


def store_split(
    rows: Sequence[Row],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    folder: Path,
    identity: str,
    *,
    recipe: Recipe | None = None,
    spread: Spread | None = None,
    tick: Tick | None = None,
) -> StoredSplit:
    """Encode `rows`, or find them encoded, and return their files.

    Long ones are encoded by `spread`, by default processes on all cores, if there is a `recipe`.
    `tick` is called with the number of rows that are done.
    The folder appears whole or not at all, so several processes may store the same split at once.
    Raises `ConfigError` where the disk has too little room or the cache may not be written,
    `RunError` when writing fails.
    """
    batches = RowBatches(rows)
    place = folder / "encoded" / cache_key(batches.sha256, tokenizer, settings, identity)
    encoder = Encoder(head, tokenizer, settings)
    try:
        found = stored(place)
        if found is not None:
            return found
        discard(place)
        atomic.clear_leftovers(place.parent, deep=False)
        with (
            atomic.workroom(place) as fresh,
            contextlib.closing(_encode(rows, encoder, recipe, spread)) as encoded,
        ):
            first = list(islice(encoded, TRIED))
            _check_room(batches, [one.table.nbytes for one in first], place.parent)
            write_stream(str(fresh / ROWS), batches)
            record = {"row_count": len(rows), "sha256": batches.sha256}
            del batches
            record |= _write_features(fresh / FEATURES, chain(first, encoded), tick)
            record["files"] = {
                name: [(fresh / name).stat().st_size, sha256(fresh / name)]
                for name in (ROWS, FEATURES)
            }
            (fresh / RECORD).write_text(json.dumps(record), encoding="utf-8")
            _publish(fresh, place)
        found = stored(place)
    except OSError as error:
        denied = is_denied(error)
        raise (ConfigError if denied else RunError)(
            f"cannot write encoded rows to `{place}`: {error.strerror or error}. "
            f"{'Set' if denied else 'Free space, or set'} another folder with `data.cache=` or "
            "`FTR_CACHE`."
        ) from error
    if found is None:
        raise RunError(
            f"encoded rows were written to `{place}` and cannot be read back: set another "
            "folder with `data.cache=`."
        )
    return replace(found, from_cache=False)


def _encode(
    rows: Sequence[Row], encoder: Encoder, recipe: Recipe | None, spread: Spread | None
) -> Generator[Encoded]:
    """Yield the pieces of rows encoded, in their order."""
    left = pieces(rows, ROWS_PER_CALL)
    if recipe is None:
        for piece in left:
            yield encoder(*piece)
        return
    how = spread or in_processes
    with contextlib.closing(how(recipe, left, len(rows))) as found:
        for one in found:
            # What cannot be encoded elsewhere fails here with its own error.
            yield one if isinstance(one, Encoded) else encoder(*one)


def _check_room(batches: RowBatches, made: Sequence[int], folder: Path) -> None:
    """Raise `ConfigError` where the disk has less room than rows and features need, as far as the
    bytes of the first pieces tell.
    """
    first = RowBatches(batches.rows[: len(made) * ROWS_PER_CALL])
    share = batches.bytes / max(first.bytes, 1)
    needed, free = batches.bytes + sum(made) * share, shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"the encoding of {len(batches.rows):,} rows needs about {needed / 1e6:,.1f} MB, and "
            f"the disk of `{folder}` has {free / 1e6:,.1f} MB free. Free space, or set another "
            "folder with `data.cache=`.",
            keys=("data.cache",),
        )


def _write_features(path: Path, encoded: Iterator[Encoded], tick: Tick | None) -> dict[str, Any]:
    notes, tokens = Counter[str](), Counter[str]()

    def tables() -> Iterator[pa.Table]:
        for piece, one in enumerate(encoded):
            if tick is not None:
                tick(piece * ROWS_PER_CALL)
            notes.update(one.notes)
            tokens.update(one.tokens)
            yield one.table

    count = write_stream(str(path), tables())
    if tokens[UNKNOWN]:
        notes.update(tokens)
    return {"feature_count": count, "notes": dict(notes)}


def _publish(fresh: Path, place: Path) -> None:
    atomic.to_disk(fresh)
    try:
        fresh.rename(place)
    except OSError:
        # Another process may have finished the same content first; its files are the same.
        if not place.is_dir():
            raise
    atomic.sync(place.parent)


def stored(place: Path) -> StoredSplit | None:
    """Return the split in a folder; None if it is missing or its files are not as written."""
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        files = record.pop("files")
        for name in (ROWS, FEATURES):
            size, digest = files[name]
            if (place / name).stat().st_size != size or sha256(place / name) != digest:
                return None
        return StoredSplit(
            rows=str(place / ROWS), features=str(place / FEATURES), from_cache=True, **record
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def discard(place: Path) -> None:
    """Remove a folder of encoded rows if it is damaged, and print that."""
    if not os.path.lexists(place):
        return
    with atomic.folder_locked(place.parent):
        if stored(place) is None and os.path.lexists(place):
            show(f"ftr: `{place}` is damaged, and is encoded again")
            with atomic.workroom(place) as old:
                place.rename(old / place.name)


def head_columns(
    rows: Sequence[Row],
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
) -> dict[str, list[Any]]:
    """Return the columns of features that the head makes of rows, and their `length` in tokens."""
    given = {name: cells for name, cells in columns_of(rows).items() if name != GIVEN}
    columns = head.encode(given, tokenizer, settings)
    columns["length"] = [len(ids) for ids in columns["input_ids"]]
    return columns
