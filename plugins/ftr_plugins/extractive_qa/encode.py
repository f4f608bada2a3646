"""Turns questions and contexts into overlapping windows of tokens, with the answer's place or the
tokens' offsets.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ftr.plugin import ConfigError, EncodeSettings, ModelError
from ftr_plugins.extractive_qa.spans import stripped

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


QUESTION_CUT = "question cut"
ANSWER_LOST = "answer in no window"
ANSWER_CLIPPED = "the tokenizer's offsets leave out letters of the answer"
ANSWER_WIDENED = "the answer is only part of its tokens"
ENOUGH = 20
"""Answers from which on those that do not read back are taken for a fault of the tokenizer."""
_PROBE = ("Who is it?", '\u00c9mile (A), born in 1815-16, so p.7 says: met "Ann" A. B.')


@dataclass(frozen=True, slots=True)
class NullToken:
    """Where the token stands whose logits mean "no answer".

    `index` counts from the start, or from the end when negative. It is the tokenizer's CLS token
    where it puts one. A causal model knows nothing yet at its first token, so without a CLS token
    it is the last one: the special token that closes the window, or else `append`, the id that is
    added to every window.
    """

    index: int
    append: int | None = None


def null_token(tokenizer: PreTrainedTokenizerBase) -> NullToken:
    """Find the null token from how the tokenizer joins two texts.

    Raises `ModelError` when there is none to use.
    """
    ids: list[int] = tokenizer("a", "b")["input_ids"]
    if tokenizer.cls_token_id in ids:
        first = ids.index(tokenizer.cls_token_id)
        return NullToken(first if 2 * first < len(ids) else first - len(ids))
    if ids and ids[-1] in tokenizer.all_special_ids:
        return NullToken(-1)
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id):
        if isinstance(token, int):
            return NullToken(-1, append=token)
    raise ModelError(
        f"The tokenizer `{tokenizer.name_or_path}` has no CLS, EOS, SEP or BOS token to stand for "
        "`no answer`; set one on it."
    )


def has_plain_windows(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the windows of `encode_rows` are those that a call of the tokenizer returns, with the
    null token in front.
    """
    state = tokenizer.backend_tokenizer.post_processor
    return null_token(tokenizer) == NullToken(0) and not _trims_letters(tokenizer, state)


def encode_rows(
    rows: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    max_question_length: int,
) -> dict[str, list[Any]]:
    """Return columns of windows, as `ftr.registry.protocols.Head.encode` describes.

    With targets: `start_positions` and `end_positions`, token indices of the first answer snapped
    out to whole tokens, or of the null token where the window does not hold all of it. Without:
    `null_position`, `context_start` (the index of the window's first context token) and
    `offset_start`, `offset_end` (characters of each context token). Raises `ConfigError` when
    `data.stride` leaves no room in a window, `ModelError` for a tokenizer without offsets.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer `{tokenizer.name_or_path}` has no fast version, and answer spans need "
            "its offsets."
        )
    null = null_token(tokenizer)
    check_room(tokenizer, settings, null, max_question_length)
    questions, cut = cut_questions(rows["question"], tokenizer, max_question_length)
    windows, columns = _windows(questions, rows["context"], tokenizer, settings, null)
    owners, nulls = columns["row"], [null.index % len(ids) for ids in columns["input_ids"]]
    notes = [
        [QUESTION_CUT] if cut[owner] and first else []
        for owner, first in zip(owners, _firsts(owners), strict=True)
    ]
    if settings.targets:
        spans = [_answer(answers) for answers in rows["answers"]]
        found = _targets(windows, owners, spans)
        _check_read_back(notes, owners, spans, found, rows["context"], tokenizer)
        columns["start_positions"] = [
            null if span is None else span[0] for span, null in zip(found, nulls, strict=True)
        ]
        columns["end_positions"] = [
            null if span is None else span[1] for span, null in zip(found, nulls, strict=True)
        ]
        _note_lost(notes, owners, spans, found)
    else:
        columns["null_position"] = nulls
        columns |= _offset_columns(windows)
    columns["notes"] = ["; ".join(parts) for parts in notes]
    return columns


def _windows(
    questions: list[str],
    contexts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    null: NullToken,
) -> tuple[list[Encoding], dict[str, list[Any]]]:
    """Return the windows as the tokenizer cut them, and the columns `input_ids` (null token
    included), `row` and token types.
    """
    with _truncating_right(tokenizer), _untrimmed(tokenizer):
        encoded = tokenizer(
            questions,
            contexts,
            truncation="only_second",
            max_length=settings.max_length - (null.append is not None),
            stride=settings.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
    columns: dict[str, list[Any]] = {
        "input_ids": list(encoded["input_ids"]),
        "row": list(encoded["overflow_to_sample_mapping"]),
    }
    if "token_type_ids" in encoded:
        columns["token_type_ids"] = list(encoded["token_type_ids"])
    if null.append is not None:
        columns["input_ids"] = [[*ids, null.append] for ids in columns["input_ids"]]
        if "token_type_ids" in columns:
            columns["token_type_ids"] = [[*types, types[-1]] for types in columns["token_type_ids"]]
    return list(encoded.encodings or ()), columns


def check_room(
    tokenizer: PreTrainedTokenizerBase,
    settings: EncodeSettings,
    null: NullToken,
    max_question_length: int,
) -> None:
    """Raise `ConfigError` unless a window with the longest question moves on by at least one
    token.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True) + (null.append is not None)
    room = settings.max_length - special - max_question_length
    if settings.stride < room:
        return
    if room <= 0:
        raise ConfigError(
            f"`data.max_length` = {settings.max_length} leaves no room for the context: a question "
            f"may take `head.max_question_length` = {max_question_length} tokens, and special "
            f"tokens take {special}. Give a longer `data.max_length`, or a shorter "
            "`head.max_question_length`."
        )
    raise ConfigError(
        f"`data.stride` = {settings.stride} is too long for `data.max_length` = "
        f"{settings.max_length}: a question of `head.max_question_length` = {max_question_length} "
        f"tokens and {special} special tokens leave {room} for the context. Give `data.stride` of "
        f"at most {room - 1}, or a longer `data.max_length`, or a shorter "
        "`head.max_question_length`."
    )


def cut_questions(
    questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int
) -> tuple[list[str], list[bool]]:
    """Strip the questions, cut them to `limit` tokens, and return them with which ones were cut."""
    texts = [question.strip() for question in questions]
    cut = [False] * len(texts)
    pending = list(range(len(texts)))
    while pending:
        encoded = tokenizer(
            [texts[index] for index in pending],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        ends = [
            offsets[limit - 1][1] if len(offsets) > limit else None
            for offsets in encoded["offset_mapping"]
        ]
        # A text cut inside a word may give other tokens, and more of them: cut until it holds.
        longer = [(index, end) for index, end in zip(pending, ends, strict=True) if end is not None]
        for index, end in longer:
            texts[index] = texts[index][: min(end, len(texts[index]) - 1)]
            cut[index] = True
        pending = [index for index, _ in longer]
    return texts, cut


@contextmanager
def _truncating_right(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    side = tokenizer.truncation_side
    tokenizer.truncation_side = "right"
    try:
        yield
    finally:
        tokenizer.truncation_side = side


@contextmanager
def _untrimmed(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Make offsets include the white space before a token, where those of the tokenizer leave out
    letters.

    `trim_offsets` of byte-level tokenizers drops one character for the space that a token begins
    with. Where `add_prefix_space` added that space, as after `Whitespace`, it drops a letter. Spans
    are stripped by the text later.
    """
    backend = tokenizer.backend_tokenizer
    given = backend.post_processor
    if not _trims_letters(tokenizer, given):
        yield
        return
    changed = copy.copy(given)
    changed.__setstate__(
        given.__getstate__().replace(b'"trim_offsets":true', b'"trim_offsets":false')
    )
    backend.post_processor = changed
    try:
        yield
    finally:
        backend.post_processor = given


def _trims_letters(tokenizer: PreTrainedTokenizerBase, processor: Any) -> bool:
    state: bytes = b"" if processor is None else processor.__getstate__()
    return b'"trim_offsets":true' in state and _leaves_out(tokenizer, state)


_leaving_out: MutableMapping[PreTrainedTokenizerBase, tuple[bytes, bool]] = WeakKeyDictionary()


def _leaves_out(tokenizer: PreTrainedTokenizerBase, state: bytes) -> bool:
    """Whether a letter is in no token's offsets, or the first token has none; tried once for each
    `state` of the post-processor.
    """
    known = _leaving_out.get(tokenizer)
    if known is None or known[0] != state:
        window = tokenizer(*_PROBE, return_offsets_mapping=True, verbose=False).encodings[0]
        first, count = _context(window)
        offsets = window.offsets[first : first + count]
        covered = {place for start, end in offsets for place in range(start, end)}
        missing = any(
            place not in covered for place, letter in enumerate(_PROBE[1]) if not letter.isspace()
        )
        known = _leaving_out[tokenizer] = (
            state,
            missing or bool(offsets and offsets[0][0] == offsets[0][1]),
        )
    return known[1]


def _answer(answers: Any) -> tuple[int, int] | None:
    """Return the first answer as characters [start, end) of the context, without white space around
    it.
    """
    if not answers or not len(answers["text"]):
        return None
    text, start = str(answers["text"][0]), int(answers["answer_start"][0])
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def _context(window: Encoding) -> tuple[int, int]:
    """Return the index of the first context token and how many there are; they stand together."""
    sequence = window.sequence_ids
    count = sequence.count(1)
    return (sequence.index(1) if count else 0), count


def _targets(
    windows: Sequence[Encoding], owners: Sequence[int], spans: Sequence[tuple[int, int] | None]
) -> list[tuple[int, int, int, int] | None]:
    firsts = _firsts(owners)
    lasts = [*firsts[1:], True]
    return [
        _target(window, spans[owner], *edges)
        for window, owner, *edges in zip(windows, owners, firsts, lasts, strict=True)
    ]


def _target(
    window: Encoding, span: tuple[int, int] | None, is_first: bool, is_last: bool
) -> tuple[int, int, int, int] | None:
    """Return the first and last token of the answer, and their characters [start, end); None where
    the window lacks some of it.
    """
    first, count = _context(window)
    if span is None or not count:
        return None
    start, end = span
    offsets = np.asarray(window.offsets[first : first + count])
    # The characters of a window run on without a hole, but for white space and what the tokenizer
    # drops, at the ends of a text too.
    if (offsets[0, 0] > start and not is_first) or (offsets[-1, 1] < end and not is_last):
        return None
    after, before = np.flatnonzero(offsets[:, 1] > start), np.flatnonzero(offsets[:, 0] < end)
    if not after.size or not before.size or after[0] > before[-1]:
        return None
    return (
        first + int(after[0]),
        first + int(before[-1]),
        int(offsets[after[0], 0]),
        int(offsets[before[-1], 1]),
    )


def _offset_columns(windows: Sequence[Encoding]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"context_start": [], "offset_start": [], "offset_end": []}
    for window in windows:
        first, count = _context(window)
        offsets = np.asarray(window.offsets[first : first + count], dtype=np.int64).reshape(-1, 2)
        columns["context_start"].append(first)
        columns["offset_start"].append(offsets[:, 0].tolist())
        columns["offset_end"].append(offsets[:, 1].tolist())
    return columns


def _firsts(owners: Sequence[int]) -> list[bool]:
    return [index == 0 or owners[index - 1] != owner for index, owner in enumerate(owners)]


def _check_read_back(
    notes: list[list[str]],
    owners: Sequence[int],
    spans: Sequence[tuple[int, int] | None],
    found: Sequence[tuple[int, int, int, int] | None],
    contexts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Note answers that lose letters as tokens, and those that gain some where most do, as in a
    text without spaces.

    Raises `ModelError` where most answers lose letters.
    """
    seen, clipped, widened = set[int](), list[str](), list[int]()
    for index, (owner, place) in enumerate(zip(owners, found, strict=True)):
        span, text = spans[owner], contexts[owner]
        if span is None or place is None or owner in seen:
            continue
        seen.add(owner)
        start, end = stripped(text, *place[2:])
        if start > span[0] or end < span[1]:
            clipped.append(f"`{text[slice(*span)]}` becomes `{text[start:end]}`")
            notes[index].append(ANSWER_CLIPPED)
        elif (start, end) != stripped(text, *span):
            widened.append(index)
    if len(seen) >= ENOUGH and 2 * len(clipped) > len(seen):
        raise ModelError(
            f"the offsets of the tokenizer `{tokenizer.name_or_path}` leave out letters of "
            f"{len(clipped)} of {len(seen)} answers: {clipped[0]}. Choose another model, or "
            "correct the pre-tokenizer and the normalizer in its `tokenizer.json`."
        )
    if len(seen) >= ENOUGH and 2 * len(widened) > len(seen):
        for index in widened:
            notes[index].append(ANSWER_WIDENED)


def _note_lost(
    notes: list[list[str]],
    owners: Sequence[int],
    spans: Sequence[tuple[int, int] | None],
    found: Sequence[tuple[int, ...] | None],
) -> None:
    """Note, on its first window, every row whose answer no window holds: the loss takes it for
    unanswerable.
    """
    held = {owner for owner, span in zip(owners, found, strict=True) if span is not None}
    for index, (owner, first) in enumerate(zip(owners, _firsts(owners), strict=True)):
        if first and spans[owner] is not None and owner not in held:
            notes[index].append(ANSWER_LOST)
