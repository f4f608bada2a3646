"""What a question answering model should beat: the span that stands nearest to the words of the
question.

In the manner of the sliding window of Richardson et al. 2013 ("MCTest") that SQuAD's authors set
beside their model, over the sentences of the passage and all short spans in them instead of given
candidates.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ftr.data.clean import WORD
from ftr.plugin import Prediction, Row
from ftr_plugins.extractive_qa.threshold import best_threshold

OVERLAP = "overlap"
MOST_ROWS = 5000
"""Training rows that the no-answer threshold is chosen on at most, a seeded sample."""
COMMON = 1.2
"""Words of less weight, in more than three of ten passages, neither begin nor end an answer."""
PER_WORD = 0.5
"""What each word between a span and the next word of the question costs."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_BREAK = re.compile(r"[,;:()\[\]]")

Token = tuple[int, int, str]
"""A word of a passage: its characters [start, end), and itself in lower case."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a passage, and the share of the question's weight that their
    sentence has, 0 to 1.
    """

    start: int
    end: int
    share: float


def baselines(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
) -> dict[str, dict[str, list[Prediction]]]:
    """Return the answers of the best-overlap span for each split.

    Words weigh their inverse frequency among the training passages. Of the sentence that has most
    of the question's weight, the span of words that are not in the question is taken whose weight,
    over the root of its length, less 0.5 for each word between it and the nearest word of the
    question, is greatest; spans are at most as long as training answers are on average. Where
    training rows have no answer, a question gets none if the sentence's share of its weight is
    below a threshold with the best F1 on training rows.
    """
    find = _finder(train)
    threshold = _threshold(train, find)
    return {
        OVERLAP: {
            split: [_decoded(row, find(row), threshold) for row in rows]
            for split, rows in heldout.items()
        }
    }


def _finder(train: Sequence[Row]) -> Callable[[Row], Span]:
    """Return what finds the span of a row, knowing the words and the answers of training rows."""
    passages = list(dict.fromkeys(row["context"] for row in train))
    counts = Counter(
        word for passage in passages for word in {match.lower() for match in WORD.findall(passage)}
    )
    lengths = [len(WORD.findall(text)) for row in train for text in row["answers"]["text"]]
    longest = max(1, math.ceil(sum(lengths) / len(lengths))) if lengths else 1

    def weight(word: str) -> float:
        return math.log((len(passages) + 1) / (counts[word] + 1))

    sentences = lru_cache(maxsize=1024)(_sentences)

    def find(row: Row) -> Span:
        asked = {word.lower() for word in WORD.findall(row["question"])}
        every = sum(map(weight, asked))
        parts = sentences(row["context"])
        shares = [
            sum(weight(word) for word in asked & {word for _, _, word in tokens}) / (every or 1.0)
            for tokens in parts
        ]
        best = max(range(len(parts)), key=lambda number: shares[number])
        start, end = _best_span(row["context"], parts[best], asked, longest, weight)
        return Span(start, end, shares[best])

    return find


def _sentences(passage: str) -> list[list[Token]]:
    """Return the words of each sentence that has any; of a passage without words, the whole as
    one.
    """
    found: list[list[Token]] = []
    at = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(passage)), len(passage)]:
        tokens = [
            (match.start(), match.end(), match[0].lower())
            for match in WORD.finditer(passage, at, end)
        ]
        if tokens:
            found.append(tokens)
        at = end
    return found or [[(0, len(passage), passage.lower())]]


def _best_span(
    passage: str, tokens: list[Token], asked: set[str], longest: int, weight: Callable[[str], float]
) -> tuple[int, int]:
    weights = [weight(word) for _, _, word in tokens]
    known = [
        number
        for number, (_, _, word) in enumerate(tokens)
        if word in asked and weights[number] > COMMON
    ]
    best, place = -math.inf, (tokens[0][0], tokens[-1][1])
    for first in range(len(tokens)):
        if weights[first] < COMMON:
            continue
        for last in range(first, min(first + longest, len(tokens))):
            if tokens[last][2] in asked or (
                last > first and _BREAK.search(passage, tokens[last - 1][1], tokens[last][0])
            ):
                break
            if weights[last] < COMMON:
                continue
            away = min(
                (min(abs(number - first), abs(number - last)) for number in known), default=0
            )
            value = sum(weights[first : last + 1]) / math.sqrt(last + 1 - first) - PER_WORD * away
            if value > best:
                best, place = value, (tokens[first][0], tokens[last][1])
    return place


def _threshold(train: Sequence[Row], find: Callable[[Row], Span]) -> float | None:
    if all(row["answers"]["text"] for row in train):
        return None
    rows = random.Random(0).sample(list(train), MOST_ROWS) if len(train) > MOST_ROWS else train
    spans = [find(row) for row in rows]
    answers = [row["context"][span.start : span.end] for row, span in zip(rows, spans, strict=True)]
    return best_threshold(
        [row["answers"]["text"] for row in rows], answers, [1.0 - span.share for span in spans]
    )


def _decoded(row: Row, span: Span, threshold: float | None) -> Prediction:
    text = row["context"][span.start : span.end]
    none = threshold is not None and 1.0 - span.share > threshold
    return {
        "id": row["id"],
        "answer": "" if none else text,
        "score": span.share,
        "start": None if none else span.start,
        "end": None if none else span.end,
        "no_answer_score": 1.0 - span.share,
        "best_answer": text,
    }
