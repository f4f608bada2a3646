"""Words into windows of tokens, and where in them each word is read."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ftr.plugin import ConfigError, EncodeSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
UNREAD = "word without a token"

Places = dict[int, int]
"""Of one window: the words that are read in it, each with the index of its first token."""


def encode_rows(
    rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, settings: EncodeSettings
) -> dict[str, list[Any]]:
    """Return columns of windows, as `ftr.plugin.Head.encode` describes.

    A sentence longer than `data.max_length` gives several windows that overlap by up to
    `data.stride` tokens; every word is read in just one of them, where it stands farthest from the
    edges. With targets, `labels` has the class at the first token of each such word and -100
    elsewhere; without, `words` and `places` say which words are read at which tokens.
    """
    room = settings.max_length - tokenizer.num_special_tokens_to_add()
    if room < 1:
        raise ConfigError(
            f"`data.max_length` = {settings.max_length} leaves no room for a word beside the "
            "special tokens: raise it."
        )
    encoded = tokenizer(
        [" ".join(words) for words in rows["tokens"]],
        truncation=True,
        max_length=settings.max_length,
        stride=min(settings.stride, room // 2),
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )
    windows: list[Encoding] = encoded.encodings
    owners: list[int] = encoded["overflow_to_sample_mapping"]
    places, notes = _places(windows, owners, rows["tokens"])
    columns: dict[str, list[Any]] = {
        "input_ids": encoded["input_ids"],
        "row": owners,
        "notes": notes,
    }
    if settings.targets:
        columns["labels"] = [
            _targets(len(window.ids), place, rows["tags"][owner])
            for window, place, owner in zip(windows, places, owners, strict=True)
        ]
    else:
        columns["words"] = [list(place) for place in places]
        columns["places"] = [list(place.values()) for place in places]
    return columns


def _places(
    windows: Sequence[Encoding], owners: Sequence[int], sentences: Sequence[Sequence[str]]
) -> tuple[list[Places], list[str]]:
    """Return the places of every window and a note for each, which is on the first window of a
    sentence.
    """
    places: list[Places] = [{} for _ in windows]
    notes = [""] * len(windows)
    first = 0
    for sentence, words in enumerate(sentences):
        last = bisect_right(owners, sentence)
        found = _readings(windows[first:last], words)
        for word, (window, token) in sorted(found.items()):
            places[first + window][word] = token
        if len(found) < len(words):
            notes[first] = UNREAD
        first = last
    return places, notes


def _readings(windows: Sequence[Encoding], words: Sequence[str]) -> dict[int, tuple[int, int]]:
    """Return for each word of a sentence the window and the token it is read at.

    A window may begin inside a word: that token is not the word's first, which begins at an earlier
    character.
    """
    starts = [0, *accumulate(len(word) + 1 for word in words)][: len(words)]
    best: dict[int, tuple[int, int, int, int]] = {}
    for number, window in enumerate(windows):
        seen: set[int] = set()
        for token, (begin, end) in enumerate(window.offsets):
            # The last character tells the word: some tokens begin with the space before it. Special
            # tokens have none.
            word = bisect_right(starts, end - 1) - 1
            if begin == end or word in seen:
                continue
            seen.add(word)
            reading = (begin, -min(token, len(window.ids) - 1 - token), number, token)
            best[word] = min(best.get(word, reading), reading)
    return {word: (number, token) for word, (_, _, number, token) in best.items()}


def _targets(length: int, places: Places, tags: Sequence[int]) -> list[int]:
    labels = [IGNORED] * length
    for word, token in places.items():
        labels[token] = tags[word]
    return labels
