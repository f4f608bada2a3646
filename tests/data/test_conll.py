"""Words and tags in columns: a sentence a row, for heads that read words."""

import json
from pathlib import Path

import pytest

from ftr.cli.main import main
from ftr.registry.schema import Column, RowSchema
from readers import load

WORDS = RowSchema(
    columns=(Column(name="tokens", type="tokens"), Column(name="tags", type="labels"))
)
SENTENCES = "-DOCSTART- -X- O\n\nAda NNP B-PER\nslept VBD O\n\nOslo NNP B-LOC\nsleeps VBZ O\n\n"
NER = Path(__file__).parents[2] / "examples" / "ftr-ner"
PLUGIN = "from ftr_ner import ftr_heads, ftr_metrics\n"


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.bio"])
def test_a_sentence_is_a_row(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SENTENCES.replace("\n", "\r\n"), encoding="utf-8")
    rows = load(tmp_path / name, WORDS).splits["train"]
    assert [row["tokens"] for row in rows.rows] == [["Ada", "slept"], ["Oslo", "sleeps"]]
    assert [row["tags"] for row in rows.rows] == [
        ["B-PER", "O"],
        ["B-LOC", "O"],
    ] and rows.places == [f"{name}:3", f"{name}:6"]


def test_a_ragged_sentence_is_rejected_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(SENTENCES + "Ada NNP B-PER\nslept\n", encoding="utf-8")
    loaded = load(tmp_path / "a.conll", WORDS)
    assert len(loaded.splits["train"]) == 2
    assert [(item.place, item.cause) for item in loaded.rejected] == [
        ("a.conll:10", "wrong number of columns")
    ]


def test_a_head_that_reads_words_trains_on_sentences(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(NER))
    (tmp_path / "words.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "train.conll").write_text(SENTENCES * 10, encoding="utf-8")
    (tmp_path / "dev.conll").write_text(SENTENCES, encoding="utf-8")
    words = [
        f"dataset={tmp_path}",
        f"model={tiny_bert}",
        "head=token-classification",
        "metrics=entity_f1",
        f"output={tmp_path / 'runs'}",
    ]
    words += [
        "epochs=1",
        "batch_size=8",
        "data.max_length=32",
        "data.test_size=0",
        "train.precision=fp32",
        "baselines=false",
    ]
    assert main(["--plugin", str(tmp_path / "words.py"), "run", *words]) == 0
    (record,) = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (tmp_path / "runs").glob("*/run.json")
    ]
    assert record["data"]["splits"]["train"]["labels"] == {"B-LOC": 10, "B-PER": 10, "O": 20}
    assert record["data"]["splits"]["validation"]["used"] == 2
