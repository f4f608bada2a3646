"""Answers survive the way through tokens, whatever a tokenizer's parts make of its offsets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ModelError
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import TEXT, tiny_checkpoint
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.spans import stripped
from trainings import QUESTIONS, write_squad

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

PASSAGES = {
    'Émile (born in 1815) met “Ann” and "Bob"; p.7 says so. A. B. left the ﬁne café on 12-13 May, '
    "in İzmir.": (
        *(
            "Émile",
            "Émile (born",
            "1815",
            "born in 1815",
            "Ann",
            "“Ann”",
            "Bob",
            "7",
            "A",
            "A. B.",
            "ﬁne",
            "ﬁne café",
            "12-13 May",
            "İzmir",
        ),
        "İzmir.",
    ),
    "A cat saw the cafe\u0301, nai\u0308ve \u1112\u1161\u11ab e\u0301tude, 12,500 km, ½ Ｆｕｌｌ ™ "
    "cafe\u0301": (
        *(
            "A",
            "A cat",
            "cafe\u0301",
            "nai\u0308ve",
            "\u1112\u1161\u11ab",
            "e\u0301tude",
            "12,500",
            "½",
            "Ｆｕｌｌ",
            "™",
        ),
    ),
    "  \tLéa met\n\nBob \U0001f600\u200d\U0001f525 at 北京大学 in 東京. \U0001f600": (
        *("Léa", "Léa met\n\nBob", "\U0001f600\u200d\U0001f525", "北京大学", "東京", "東京."),
    ),
    "1815": ("1815",),
}
CASES = [
    (passage, answer, start)
    for passage, answers in PASSAGES.items()
    for answer in answers
    for start in sorted({passage.index(answer), passage.rindex(answer)})
]
ROWS: list[dict[str, Any]] = [
    # The millers put most answers into windows after the first.
    {
        "id": f"{n}-{shift}",
        "question": "who is it ?",
        "context": before + passage,
        "answers": {"text": [answer], "answer_start": [start + shift]},
    }
    for n, (passage, answer, start) in enumerate(CASES)
    for before in ("", "Millers say little. " * 9)
    for shift in (len(before),)
]


def byte_pairs(
    before: tuple[str, ...], added: bool, *, post_added: bool | None = None, trim: bool = True
) -> PreTrainedTokenizerFast:
    """Make a byte-level tokenizer: `before` names what splits before it; `added` is
    `add_prefix_space`, of the post-processor too.
    """
    from tokenizers import models, pre_tokenizers, processors, trainers

    splits = [getattr(pre_tokenizers, name)() for name in before]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=added)
    post_added = added if post_added is None else post_added
    made = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=post_added
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    return trained(
        models.BPE(), pre_tokenizers.Sequence([*splits, byte_level]), trainer, processor=made
    )


def pieces(
    kind: str, splits: PreTokenizer, normalizer: Normalizer | None
) -> PreTrainedTokenizerFast:
    """Make a tokenizer that knows every single character of the passages, and a few words:
    `WordPiece` or `Unigram`.
    """
    from tokenizers import models, trainers

    special = ["<s>", "</s>", "<pad>", "<unk>"]
    if kind == "WordPiece":
        word_pieces = trainers.WordPieceTrainer(
            vocab_size=300, special_tokens=special, show_progress=False
        )
        return trained(models.WordPiece(unk_token="<unk>"), splits, word_pieces, normalizer)
    unigrams = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    return trained(models.Unigram(), splits, unigrams, normalizer)


def trained(
    model: Any,
    splits: PreTokenizer,
    trainer: Any,
    normalizer: Normalizer | None = None,
    processor: Any = None,
) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = splits
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    letters = (
        ""
        if processor
        else " ".join(letter for passage in PASSAGES for letter in passage if not letter.isspace())
    )
    tokenizer.train_from_iterator([TEXT, letters], trainer)
    template = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    tokenizer.post_processor = processor or template
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>"} | (
        {} if processor else {"unk": "<unk>"}
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()}
    )


def answers_of_a_perfect_model(
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the predictions for `ROWS` from logits that are high at the targets, and the notes of
    training.
    """
    import torch

    head, rows = ExtractiveQAHead(), {name: [row[name] for row in ROWS] for name in ROWS[0]}
    targets = head.encode(rows, tokenizer, EncodeSettings(max_length=96, stride=24, targets=True))
    plain = head.encode(rows, tokenizer, EncodeSettings(max_length=96, stride=24, targets=False))
    assert plain["input_ids"] == targets["input_ids"]
    records: list[list[Any]] = [[] for _ in ROWS]
    for n, owner in enumerate(plain["row"]):
        logits = torch.zeros(2, 1, len(plain["input_ids"][n]))
        logits[0, 0, targets["start_positions"][n]] = logits[1, 0, targets["end_positions"][n]] = 9
        feature = {name: values[n] for name, values in plain.items()}
        records[owner] += head.reduce(
            {"start_logits": logits[0], "end_logits": logits[1]}, [feature]
        )
    return [head.decode(row, found, {}, ()) for row, found in zip(ROWS, records, strict=True)], set(
        targets["notes"]
    )


def check_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    before = tokenizer.backend_tokenizer.to_str()
    predictions, notes = answers_of_a_perfect_model(tokenizer)
    expected = [
        (row["id"], row["answers"]["text"][0], row["answers"]["answer_start"][0]) for row in ROWS
    ]
    assert [(one["id"], one["answer"], one["start"]) for one in predictions] == expected
    assert notes == {""}
    parts = ("normalizer", "pre_tokenizer", "post_processor")
    now = json.loads(tokenizer.backend_tokenizer.to_str())
    assert {part: now[part] for part in parts} == {part: json.loads(before)[part] for part in parts}


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("post_added", [True, False])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize(
    "before",
    [
        (),
        ("Whitespace",),
        ("WhitespaceSplit",),
        ("Digits",),
        ("Punctuation",),
        ("BertPreTokenizer",),
    ],
)
def test_byte_level_tokenizers_keep_the_first_letters_of_answers(
    before: tuple[str, ...], added: bool, post_added: bool, trim: bool
) -> None:
    check_answers(byte_pairs(before, added, post_added=post_added, trim=trim))


def test_a_byte_level_step_within_a_sequence_of_post_processors_is_found() -> None:
    from tokenizers.processors import ByteLevel, Sequence

    tokenizer = byte_pairs(("Whitespace",), True)
    steps = [
        ByteLevel(add_prefix_space=True, trim_offsets=True),
        tokenizer.backend_tokenizer.post_processor,
    ]
    tokenizer.backend_tokenizer.post_processor = Sequence(steps)
    check_answers(tokenizer)


def test_a_post_processor_set_later_is_tried_again() -> None:
    from tokenizers.processors import RobertaProcessing

    tokenizer = byte_pairs(("Whitespace",), True, trim=False)
    check_answers(tokenizer)
    tokenizer.backend_tokenizer.post_processor = RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=True, add_prefix_space=True
    )
    check_answers(tokenizer)


@pytest.mark.parametrize(
    "names",
    [("NFC",), ("NFKC",), ("NFD",), ("NFKC", "Lowercase"), ("NFD", "StripAccents", "Lowercase")],
)
def test_byte_level_tokenizers_with_normalizers_that_change_lengths(names: tuple[str, ...]) -> None:
    from tokenizers import normalizers

    tokenizer = byte_pairs(("Whitespace",), True)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [getattr(normalizers, name)() for name in names]
    )
    check_answers(tokenizer)


@pytest.mark.parametrize(
    "names",
    [
        ("BertNormalizer",),
        ("NFKC", "BertNormalizer"),
        ("NFD", "StripAccents", "Lowercase"),
        ("Strip",),
    ],
)
def test_word_pieces_with_normalizers_that_change_lengths(names: tuple[str, ...]) -> None:
    from tokenizers import normalizers, pre_tokenizers

    normalizer = normalizers.Sequence([getattr(normalizers, name)() for name in names])
    check_answers(pieces("WordPiece", pre_tokenizers.BertPreTokenizer(), normalizer))


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
@pytest.mark.parametrize("normal", [None, "NFKC"])
@pytest.mark.parametrize("splits", [True, False])
def test_sentence_pieces(scheme: Any, normal: str | None, splits: bool) -> None:
    from tokenizers import normalizers, pre_tokenizers

    steps: list[PreTokenizer] = [pre_tokenizers.WhitespaceSplit()] if splits else []
    metaspace = pre_tokenizers.Sequence([*steps, pre_tokenizers.Metaspace(prepend_scheme=scheme)])
    check_answers(pieces("Unigram", metaspace, getattr(normalizers, normal)() if normal else None))


def dropping(letters: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer whose normalizer drops letters, so that no token's offsets have them."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    return pieces(
        "WordPiece", pre_tokenizers.BertPreTokenizer(), normalizers.Replace(Regex(letters), "")
    )


def test_answers_that_lose_letters_are_noted_and_the_others_kept() -> None:
    _, notes = answers_of_a_perfect_model(dropping("[m1]"))
    assert notes == {"", "the tokenizer's offsets leave out letters of the answer"}


def test_a_tokenizer_that_loses_letters_of_most_answers_is_refused_with_an_example() -> None:
    message = (
        r"the offsets of the tokenizer `` leave out letters of \d+ of \d+ answers: `.+` becomes "
        r"`.*`\. Choose another model"
    )
    with pytest.raises(ModelError, match=message):
        answers_of_a_perfect_model(dropping(r"(?<=[ (“\"])[\w“]"))


def test_tokens_that_reach_beyond_most_answers_are_noted() -> None:
    """As where words are not told apart, and every token is a line."""
    from tokenizers import Regex, pre_tokenizers

    _, notes = answers_of_a_perfect_model(
        pieces("WordPiece", pre_tokenizers.Split(Regex("\n"), "removed"), None)
    )
    assert "the answer is only part of its tokens" in notes


def test_the_command_refuses_such_a_tokenizer_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftr.cli.main import main

    file = tiny_checkpoint("bert", tmp_path / "model") / "tokenizer.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    first_letters = {
        "type": "Replace",
        "pattern": {"Regex": r"\b[a-z0-9](?=[a-z0-9])"},
        "content": "",
    }
    state["normalizer"] = {"type": "Sequence", "normalizers": [state["normalizer"], first_letters]}
    file.write_text(json.dumps(state), encoding="utf-8")
    settings = file.with_name("tokenizer_config.json")
    plain = json.loads(settings.read_text(encoding="utf-8")) | {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }
    settings.write_text(json.dumps(plain), encoding="utf-8")
    keys = {
        **QUESTIONS,
        "dataset": write_squad(tmp_path / "mill.json"),
        "model": file.parent,
        "output": tmp_path / "runs",
    }
    assert main(["run", *(f"{key}={value}" for key, value in keys.items())]) == 2
    shown = capsys.readouterr().err
    assert "leave out letters of" in shown and "Traceback" not in shown


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        (" cafe\u0301 ", (0, 5), "cafe\u0301"),
        ("cafe\u0301", (0, 4), "cafe\u0301"),
        ("\u1112\u1161\u11ab.", (0, 1), "\u1112\u1161\u11ab"),
        ("a \u0301b", (0, 2), "a"),
        (" \u0301b", (0, 1), ""),
        ("cafes", (0, 4), "cafe"),
    ],
)
def test_a_span_ends_after_the_marks_of_its_last_letter(
    text: str, span: tuple[int, int], expected: str
) -> None:
    start, end = stripped(text, *span)
    assert text[start:end] == expected
