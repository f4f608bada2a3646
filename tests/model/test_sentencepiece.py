"""A checkpoint whose tokenizer is a sentencepiece file alone, as that of DeBERTa-v3 on the Hub."""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

from ftr.errors import ModelError
from ftr.model.pretrained import Pretrained
from ftr.testing.tiny import tiny_checkpoint

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Types of pieces in `sentencepiece_model.proto`."""


def field(number: int, content: bytes | int) -> bytes:
    """Return a field of a protocol buffer: bytes, or a number below 128."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    more, rest = divmod(number, 128)
    return bytes([rest | 128]) + varint(more) if more else bytes([rest])


def piece(text: str, score: float) -> bytes:
    kind = UNKNOWN if text == "[UNK]" else CONTROL if text in SPECIAL else NORMAL
    scored = varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, field(1, text.encode()) + scored + field(3, kind))


@pytest.fixture
def deberta(tmp_path: Path) -> Path:
    """A tiny DeBERTa with the files that DeBERTa-v3 has on the Hub."""
    folder = tiny_checkpoint("deberta-v2", tmp_path / "model")
    known = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    words = [(text, score) for text, score in known if text not in (*SPECIAL, "[MASK]")]
    pieces = b"".join(piece(*one) for one in [*((token, 0.0) for token in SPECIAL), *words])
    # A unigram model; the ids of the unknown, first, last and pad token.
    numbers = {3: 1, 40: 3, 41: 1, 42: 2, 43: 0}
    trainer = b"".join(field(*one) for one in numbers.items()) + field(45, b"[UNK]")
    (folder / "spm.model").write_bytes(pieces + field(2, trainer))
    settings = '{"do_lower_case": false, "vocab_type": "spm"}'
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    return folder


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="`sentencepiece` is installed")
def test_without_the_package_the_message_names_it(deberta: Path) -> None:
    with pytest.raises(
        ModelError, match=r"sentencepiece file.*`pip install 'ftr\[sentencepiece\]'"
    ):
        Pretrained(str(deberta)).tokenizer()


def test_with_the_package_the_tokenizer_is_made_of_the_file(deberta: Path) -> None:
    pytest.importorskip("sentencepiece")
    tokenizer = Pretrained(str(deberta)).tokenizer()
    assert tokenizer.is_fast and tokenizer.all_special_ids == [1, 2, 3, 0, len(tokenizer) - 1]
    encoded = tokenizer("the old mill", "was built")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == [
        *("[CLS]", "▁the", "▁old", "▁mill", "[SEP]"),
        *("▁was", "▁built", "[SEP]"),
    ]
    assert "token_type_ids" not in encoded
