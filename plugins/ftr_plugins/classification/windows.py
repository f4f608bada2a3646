"""Texts longer than the model: read in windows, and the windows' predictions averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftr.plugin import DataError, EncodeSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

LEAST_ROOM = 4
"""A window has room for the text in at least one of so many tokens, the rest is for the pair."""


def in_windows(
    columns: dict[str, list[Any]],
    rows: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
) -> dict[str, list[Any]]:
    """Return the columns of features with each row that was cut (it has a note) in windows instead.

    Windows of `max_length` tokens share `stride` tokens, or half of their text where that is less;
    each has the targets of its row. Of a pair, the first text is read in windows, each with the
    whole second text. Raises `DataError` for a second text that leaves too little room.
    """
    count = len(columns["row"])
    whole = {name: values for name, values in columns.items() if name != "notes"}
    cut = [number for number in range(count) if columns["notes"][number]]
    windows = dict(_windows(cut, rows, tokenizer, settings))
    found: dict[str, list[Any]] = {name: [] for name in columns}
    for number in range(count):
        feature = {name: values[number] for name, values in whole.items()}
        for window in windows.get(number, [{}]):
            for name, value in {**feature, **window, "notes": ""}.items():
                found[name].append(value)
    return found


def averaged(records: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the class probabilities of a row from those of its windows, (classes,) each: the mean
    of their logarithms, normalized to a sum of 1. Those of a single window are unchanged.
    """
    if len(records) == 1:
        return records[0]
    tiny = np.finfo(np.float32).tiny  # a class without votes has no logarithm
    logs = np.log(np.maximum(np.stack(records), tiny).astype(np.float64)).mean(axis=0)
    shares = np.exp(logs - logs.max())
    mean: NDArray[np.float32] = (shares / shares.sum()).astype(np.float32)
    return mean


def _windows(
    numbers: Sequence[int],
    rows: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield each of the rows by its number, with its windows."""
    seconds = rows.get("text_pair") or [None] * len(rows["text"])
    alone = [number for number in numbers if not seconds[number]]
    groups = [([number], seconds[number]) for number in numbers if seconds[number]]
    if alone:
        groups.append((alone, None))
    for group, second in groups:
        room = settings.max_length - tokenizer.num_special_tokens_to_add(pair=second is not None)
        if second is not None:
            room -= len(tokenizer(second, add_special_tokens=False)["input_ids"])
            _check_room(room, rows, group[0], settings)
        texts = [rows["text"][number] for number in group]
        encoded = tokenizer(
            texts,
            None if second is None else [second],
            truncation="only_first",
            max_length=settings.max_length,
            stride=min(settings.stride, room // 2),
            return_overflowing_tokens=True,
        )
        kept = [key for key in ("input_ids", "token_type_ids") if key in encoded]
        found: dict[int, list[dict[str, Any]]] = {}
        for place, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            found.setdefault(group[owner], []).append({key: encoded[key][place] for key in kept})
        yield from found.items()


def _check_room(
    room: int, rows: dict[str, list[Any]], number: int, settings: EncodeSettings
) -> None:
    if LEAST_ROOM * room >= settings.max_length:
        return
    name = rows["id"][number] if "id" in rows else number
    raise DataError(
        f"row `{name}`: its `text_pair` leaves {max(room, 0)} of `data.max_length` = "
        f"{settings.max_length} tokens for `text`, and `head.windows=true` keeps it whole. Raise "
        "`data.max_length`, shorten the `text_pair`, or leave `head.windows` out"
    )
