"""A checkpoint whose tokenizer is a sentencepiece file alone, as that of DeBERTa-v3 on the Hub."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ftr.errors import ModelError
from ftr.model.pretrained import Pretrained
from ftr.testing.tiny import tiny_checkpoint

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
# In a process of its own: two packages register the same protocol buffer.
WRITE = """
import json, sys
from transformers.utils import sentencepiece_model_pb2_new as buffers
pieces, path = json.loads(sys.argv[1]), sys.argv[2]
model = buffers.ModelProto()
for number, (piece, score) in enumerate(pieces):
    kind = 2 if piece == "[UNK]" else 3 if number < 4 else 1
    model.pieces.add(piece=piece, score=score, type=kind)
spec = model.trainer_spec
spec.model_type, spec.unk_id, spec.pad_id, spec.bos_id, spec.eos_id = 1, 3, 0, 1, 2
spec.unk_piece = "[UNK]"
open(path, "wb").write(model.SerializeToString())
"""


@pytest.fixture
def deberta(tmp_path: Path) -> Path:
    """A tiny DeBERTa with the files that DeBERTa-v3 has on the Hub."""
    import json

    folder = tiny_checkpoint("deberta-v2", tmp_path / "model")
    pieces = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    known = [(token, 0.0) for token in SPECIAL]
    words = [(piece, score) for piece, score in pieces if piece not in (*SPECIAL, "[MASK]")]
    written = json.dumps([*known, *words])
    subprocess.run([sys.executable, "-c", WRITE, written, str(folder / "spm.model")], check=True)
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
