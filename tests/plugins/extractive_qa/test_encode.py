"""Windows hold the answer where the targets say, for tokenizers with and without CLS, word pieces
and bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ConfigError, ModelError
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import FAMILIES, Family, tiny_tokenizer
from ftr_plugins.extractive_qa.encode import NullToken, cut_questions, encode_rows, null_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MILL = (
    "The old mill stands by the river. It was built in 1803 by two brothers, and ground wheat "
    "until the flood of 1911. "
)
CAFE = (
    "  \tThe café \U0001f600\u200d\U0001f525 of Zoë—“L'Été”—opened in\nİzmir; naïve e\u0301tudes "
    "and 東京タワー followed.  "
)


@pytest.fixture(params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    family: Family = request.param
    # Unigrams join what they do not know into one token.
    made = tiny_tokenizer(family, CAFE if family in ("deberta-v2", "xlm-roberta") else "")
    if family == "gpt2":
        made.pad_token = made.eos_token
    return made


def rows(*cases: tuple[str, str, str | None]) -> dict[str, list[Any]]:
    """Make a batch of (question, context, answer); the answer is searched in the context."""
    answers: list[dict[str, list[Any]]] = [
        {"text": [], "answer_start": []}
        if answer is None
        else {"text": [answer], "answer_start": [context.index(answer)]}
        for _, context, answer in cases
    ]
    return {
        "id": [str(n) for n in range(len(cases))],
        "question": [question for question, _, _ in cases],
        "context": [context for _, context, _ in cases],
        "answers": answers,
    }


def both(
    batch: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    stride: int,
    question: int = 16,
) -> list[dict[str, Any]]:
    """Encode with and without targets and return one merged dict per window."""
    merged: dict[str, list[Any]] = {}
    for targets in (False, True):
        settings = EncodeSettings(max_length=length, stride=stride, targets=targets)
        merged |= encode_rows(batch, tokenizer, settings, question)
    return [dict(zip(merged, values, strict=True)) for values in zip(*merged.values(), strict=True)]


def target_text(window: dict[str, Any], context: str) -> str | None:
    """Return the text the targets cover, None for the null token."""
    if window["start_positions"] == window["null_position"]:
        assert window["end_positions"] == window["null_position"]
        return None
    first, last = (
        window[name] - window["context_start"] for name in ("start_positions", "end_positions")
    )
    return context[window["offset_start"][first] : window["offset_end"][last]]


@pytest.mark.parametrize("answer", ["The", "old mill", "1803", "two brothers", "flood of 1911"])
def test_targets_cover_the_answer_in_every_window_that_holds_it(
    tokenizer: PreTrainedTokenizerBase, answer: str
) -> None:
    context = "Millers say little. " * 6 + MILL + "And so on, they say. " * 6
    windows = both(rows(("who built it ?", context, answer)), tokenizer, 64, 20)
    start = context.index(answer)
    held = 0
    for window in windows:
        assert len(window["input_ids"]) <= 64
        text = target_text(window, context)
        if window["offset_start"][0] <= start and start + len(answer) <= window["offset_end"][-1]:
            held += 1
            assert text is not None and text.strip() == answer
        else:
            assert text is None
    assert 0 < held < len(windows)
    assert all(window["notes"] == "" for window in windows)


@pytest.mark.parametrize(
    "answer",
    [
        "café",
        "\U0001f600\u200d\U0001f525",
        "Zoë",
        "“L'Été”",
        "İzmir",
        "e\u0301tudes",
        "東京タワー",
        "The",
    ],
)
def test_offsets_are_characters_of_the_original_text(
    tokenizer: PreTrainedTokenizerBase, answer: str
) -> None:
    window = both(rows(("where ?", CAFE, answer)), tokenizer, 250, 20)[0]
    text = target_text(window, CAFE)
    assert text is not None and text.strip() == answer


def test_an_answer_inside_a_word_is_widened_to_whole_tokens() -> None:
    tokenizer = tiny_tokenizer("bert")
    context = "the brothers built the mill"
    window = both(rows(("who ?", context, "rother")), tokenizer, 64, 8)[0]
    assert target_text(window, context) == "brothers"


def test_white_space_around_an_answer_is_not_part_of_it(tokenizer: PreTrainedTokenizerBase) -> None:
    context = "  the mill  stands"
    window = both(rows(("what ?", context, "  the mill  ")), tokenizer, 64, 8)[0]
    text = target_text(window, context)
    assert text is not None and text.strip() == "the mill"


def test_unanswerable_questions_point_at_the_null_token(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = both(rows(("who ?", MILL * 3, None), ("when ?", MILL, "1803")), tokenizer, 64, 10)
    assert {target_text(window, MILL * 3) for window in windows if window["row"] == 0} == {None}
    assert "1803" in {
        (target_text(window, MILL) or "").strip() for window in windows if window["row"] == 1
    }


def test_every_context_token_is_in_some_window_and_windows_overlap_by_the_stride(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    context = (MILL * 4).strip()
    windows = both(rows(("who ?", context, None)), tokenizer, 64, 12)
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    seen = [
        tuple(pair)
        for window in windows
        for pair in zip(window["offset_start"], window["offset_end"], strict=True)
    ]
    assert set(seen) == set(whole)
    for before, after in pairwise(windows):
        assert before["offset_start"][-12:] == after["offset_start"][:12]


def test_the_null_token_is_the_cls_token_where_there_is_one() -> None:
    for family in ("bert", "roberta", "distilbert"):
        tokenizer = tiny_tokenizer(family)
        for window in both(rows(("who ?", MILL, "1803")), tokenizer, 64, 8):
            assert window["input_ids"][window["null_position"]] == tokenizer.cls_token_id


def test_a_cls_token_at_the_end_is_found_there() -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = tiny_tokenizer("bert")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP] [CLS]",
        pair="$A [SEP] $B:1 [SEP]:1 [CLS]:2",
        special_tokens=[("[SEP]", 3), ("[CLS]", 2)],
    )
    assert null_token(tokenizer) == NullToken(-1)
    for window in both(rows(("who ?", MILL * 2, "1803")), tokenizer, 64, 8):
        assert window["null_position"] == len(window["input_ids"]) - 1


def test_a_decoder_gets_its_end_token_as_null_token_at_the_end_of_every_window() -> None:
    tokenizer = tiny_tokenizer("gpt2")
    windows = both(rows(("who ?", MILL * 3, "1803")), tokenizer, 64, 8)
    assert len(windows) > 1
    for window in windows:
        assert window["null_position"] == len(window["input_ids"]) - 1
        assert window["input_ids"][-1] == tokenizer.eos_token_id
        assert len(window["offset_start"]) == window["null_position"] - window["context_start"]


def test_a_tokenizer_without_any_special_token_is_refused() -> None:
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.eos_token = tokenizer.bos_token = None
    with pytest.raises(ModelError, match="has no CLS, EOS, SEP or BOS token"):
        null_token(tokenizer)


def test_a_long_question_is_cut_and_noted_once(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = both(
        rows(("who built the mill " * 20, MILL * 2, "1803"), ("who ?", MILL, "1803")),
        tokenizer,
        64,
        8,
        question=10,
    )
    assert windows[0]["notes"] == "question cut"
    assert [window["notes"] for window in windows].count("question cut") == 1
    assert all(len(window["input_ids"]) <= 64 for window in windows)
    assert any(
        (target_text(window, MILL * 2) or "").strip() == "1803"
        for window in windows
        if window["row"] == 0
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "text",
    [
        "brotherhoods of millers",
        "\U0001f600\U0001f525\U0001f600",
        "Zoë Été İzmir",
        "    who    ?   ",
    ],
)
def test_a_cut_question_has_no_more_tokens_than_allowed(
    tokenizer: PreTrainedTokenizerBase, text: str, limit: int
) -> None:
    texts, cut = cut_questions([text, "who"], tokenizer, limit)
    assert len(tokenizer(texts[0], add_special_tokens=False)["input_ids"]) <= limit
    assert text.strip().startswith(texts[0])
    assert cut[0] == (texts[0] != text.strip())


def test_an_answer_longer_than_any_window_is_noted() -> None:
    tokenizer = tiny_tokenizer("bert")
    windows = both(rows(("what ?", MILL * 3, (MILL * 2).strip())), tokenizer, 48, 8)
    assert {target_text(window, MILL * 3) for window in windows} == {None}
    assert [window["notes"] for window in windows] == ["answer in no window"] + [""] * (
        len(windows) - 1
    )


def test_a_stride_that_leaves_no_room_is_refused_by_name(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    with pytest.raises(ConfigError) as error:
        encode_rows(
            rows(("who ?", MILL, None)), tokenizer, EncodeSettings(max_length=64, stride=60), 16
        )
    for part in (
        "`data.stride` = 60",
        "`data.max_length` = 64",
        "`head.max_question_length` = 16",
        "Give `data.stride` of at most",
    ):
        assert part in str(error.value)


def test_windows_too_short_for_any_context_are_refused_by_name(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    with pytest.raises(
        ConfigError, match=r"leaves no room for the context: .* Give a longer `data\.max_length`"
    ):
        encode_rows(
            rows(("who ?", MILL, None)), tokenizer, EncodeSettings(max_length=10, stride=0), 16
        )


def test_a_tokenizer_that_truncates_left_gives_the_same_windows_and_keeps_its_side(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    batch = rows(("who ?", MILL * 3, "1803"))
    expected = both(batch, tokenizer, 64, 8)
    tokenizer.truncation_side = tokenizer.padding_side = "left"
    assert both(batch, tokenizer, 64, 8) == expected
    assert tokenizer.truncation_side == "left"


def test_a_context_that_gives_no_tokens_gives_one_window_with_only_a_null_token() -> None:
    window = both(rows(("who ?", "\u200b\u200b", None)), tiny_tokenizer("bert"), 64, 8)[0]
    assert (window["offset_start"], window["start_positions"]) == ([], window["null_position"])


def byte_level(
    whitespace: bool, prefix: bool, trim: bool, normalizer: Any = None
) -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer whose tokens are words, with the pre-tokenizer before it or
    not.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), level]) if whitespace else level
    )
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([MILL] * 4, trainer)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix
    )
    if normalizer is not None:
        made.normalizer = normalizer
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
    )


@pytest.mark.parametrize("whitespace", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("trim", [True, False])
def test_answers_keep_their_first_letter_whatever_comes_before_the_bytes(
    whitespace: bool, prefix: bool, trim: bool
) -> None:
    tokenizer = byte_level(whitespace, prefix, trim)
    post = tokenizer.backend_tokenizer.post_processor.__getstate__()
    context = "Été " + MILL * 2
    for answer in ("Été", "old mill", "1803", "two brothers", "It"):
        first, *_ = both(rows(("who ?", context, answer)), tokenizer, 80, 10)
        assert (target_text(first, context) or "").strip() == answer
    assert tokenizer.backend_tokenizer.post_processor.__getstate__() == post


def test_a_tokenizer_that_drops_letters_is_reported_and_refused_where_most_answers_suffer() -> None:
    from tokenizers import Regex, normalizers

    tokenizer = byte_level(True, False, True, normalizers.Replace(Regex(r"\bm"), ""))
    few = encode_rows(
        rows(("what ?", MILL, "mill"), ("when ?", MILL, "1803")),
        tokenizer,
        EncodeSettings(max_length=80, stride=8),
        16,
    )
    assert [note for note in few["notes"] if note] == [
        "the tokenizer's offsets leave out letters of the answer"
    ]
    with pytest.raises(
        ModelError, match=r"leave out letters of 25 of 25 answers: `mill` becomes `ill`"
    ):
        encode_rows(
            rows(*[("what ?", MILL, "mill")] * 25),
            tokenizer,
            EncodeSettings(max_length=80, stride=8),
            16,
        )
