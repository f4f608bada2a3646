"""Finds the best spans of every window of a batch at once, and merges the windows of one
question.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


class WindowRecord(TypedDict):
    """What is kept of one window: its null score, and its best spans in order of falling score.

    `start` and `end` are characters [start, end) of the row's context; the three arrays have one
    length, at most `n_best`.
    """

    null: float
    score: NDArray[np.float32]
    start: NDArray[np.int32]
    end: NDArray[np.int32]


class Answer(TypedDict):
    """The best span of a row: `text` is "" and the rest None when no window has any span."""

    text: str
    start: int | None
    end: int | None
    diff: float | None
    probability: float
    null_probability: float


def search(
    start: Tensor, end: Tensor, features: Sequence[Mapping[str, Any]], n_best: int, max_length: int
) -> list[WindowRecord]:
    """Return the record of each window from its start and end logits (batch x tokens).

    Scores every span of at most `max_length` context tokens through a band (batch x tokens x
    max_length), so the result is the exact top `n_best`, not the best pairs among the best starts
    and the best ends.
    """
    import torch

    device, length = start.device, start.shape[1]
    start, end = start.float(), end.float()
    first = torch.tensor([feature["context_start"] for feature in features], device=device)[:, None]
    count = torch.tensor([len(feature["offset_start"]) for feature in features], device=device)[
        :, None
    ]
    null = torch.tensor([feature["null_position"] for feature in features], device=device)[:, None]
    null_scores = (start.gather(1, null) + end.gather(1, null))[:, 0]

    place = torch.arange(length, device=device)[None, :]
    outside = (place < first) | (place >= first + count)
    width = min(max_length, length)
    ends = torch.nn.functional.pad(
        end.masked_fill(outside, -torch.inf), (0, width - 1), value=-torch.inf
    )
    band = start.masked_fill(outside, -torch.inf)[:, :, None] + ends.unfold(1, width, 1)
    scores, flat = band.flatten(1).topk(min(n_best, length * width), dim=1)
    from_token = flat // width - first
    to_token = from_token + flat % width
    return _records(
        features,
        null_scores.cpu().numpy(),
        scores.cpu().numpy(),
        from_token.cpu().numpy(),
        to_token.cpu().numpy(),
    )


def _records(
    features: Sequence[Mapping[str, Any]],
    nulls: NDArray[np.float32],
    scores: NDArray[np.float32],
    from_tokens: NDArray[np.int64],
    to_tokens: NDArray[np.int64],
) -> list[WindowRecord]:
    records: list[WindowRecord] = []
    for feature, null, score, begin, stop in zip(
        features, nulls, scores, from_tokens, to_tokens, strict=True
    ):
        real = np.isfinite(score)
        records.append(
            {
                "null": float(null),
                "score": score[real],
                "start": np.asarray(feature["offset_start"], dtype=np.int32)[begin[real]],
                "end": np.asarray(feature["offset_end"], dtype=np.int32)[stop[real]],
            }
        )
    return records


def merge(context: str, records: Sequence[WindowRecord], n_best: int) -> Answer:
    """Return the best span over the windows of one row.

    As in the official BERT script for SQuAD v2.0, the null score of a row is the least of its
    windows, and `diff` is that score less the best span's. Probabilities are a softmax over the
    `n_best` spans and the null score.
    """
    null = min(record["null"] for record in records)
    score = np.concatenate([record["score"] for record in records]).astype(np.float64)
    start = np.concatenate([record["start"] for record in records])
    end = np.concatenate([record["end"] for record in records])
    spans: dict[tuple[int, int], float] = {}
    for index in np.argsort(-score, kind="stable"):
        span = stripped(context, int(start[index]), int(end[index]))
        # Windows overlap: the same span counts once, at its best score.
        if span[0] < span[1] and span not in spans:
            spans[span] = float(score[index])
            if len(spans) == n_best:
                break
    if not spans:
        return {
            "text": "",
            "start": None,
            "end": None,
            "diff": None,
            "probability": 0.0,
            "null_probability": 1.0,
        }
    (begin, stop), best = next(iter(spans.items()))
    shares = _softmax([null, *spans.values()])
    return {
        "text": context[begin:stop],
        "start": begin,
        "end": stop,
        "diff": null - best,
        "probability": float(shares[1]),
        "null_probability": float(shares[0]),
    }


def stripped(context: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the white space around it, and with the marks that belong to its last
    letter.

    Byte-level tokens carry the space before them. Normalizers join a letter and its marks, or drop
    the marks, and the token's offsets then end at the letter.
    """
    text = context[start:end]
    start, end = start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))
    while (
        start < end < len(context)
        and context[end] > "\u02ff"
        and _belongs_to_the_letter_before(context[end])
    ):
        end += 1
    return start, end


def _belongs_to_the_letter_before(letter: str) -> bool:
    """Whether it is a combining mark, or a vowel or final of a Korean syllable that is spelled in
    parts.
    """
    return unicodedata.category(letter).startswith("M") or "\u1160" <= letter <= "\u11ff"


def _softmax(scores: Sequence[float]) -> NDArray[np.float64]:
    powers = np.exp(np.asarray(scores) - max(scores))
    return np.asarray(powers / powers.sum())
