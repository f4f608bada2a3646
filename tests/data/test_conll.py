"""Words and tags in columns: a sentence a row, for heads that read words."""

import json
from pathlib import Path

import pytest

from ftr.cli.main import main
from ftr.config.schema import DataConfig
from ftr.data.rows import RejectedRowsError
from ftr.errors import DataError
from ftr.registry.schema import Column, RowSchema
from readers import load, prepare

WORDS = RowSchema(
    columns=(
        Column(name="tokens", type="tokens"),
        Column(name="tags", type="labels", aliases=("ner_tags",)),
    )
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


WNUT = "\n\n@ada\tO\nin\tO\nNew York\tB-location\n\t\n\n\n#oslo\tB-location\nrocks\tO\n\n\n\n"
"""Tabs, words that begin with `#`, and any number of lines without a word."""


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.tab", "a.conll", "a.annotated"])
def test_tabs_and_many_blank_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WNUT, encoding="utf-8")
    rows = load(tmp_path / name, WORDS).splits["train"]
    assert [(row["tokens"], row["tags"]) for row in rows.rows] == [
        (["@ada", "in", "New York"], ["O", "O", "B-location"]),
        (["#oslo", "rocks"], ["B-location", "O"]),
    ]
    assert rows.places == [f"{name}:3", f"{name}:9"]


def test_a_folder_of_three_such_files(tmp_path: Path) -> None:
    names = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
    for name in names:
        (tmp_path / name).write_text(WNUT, encoding="utf-8")
    loaded = load(tmp_path, WORDS)
    assert loaded.origins == dict(zip(("train", "validation", "test"), names, strict=True))


def test_tags_of_another_number_are_rejected_with_both_numbers(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ada", "slept"], "ner_tags": ["B-PER", "O"]}] * 3
    rows.insert(1, {"tokens": ["Ada", "slept"], "ner_tags": ["B-PER"]})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(
        RejectedRowsError, match=r"tokens has 2 items, tags has 1: 1, first `a\.jsonl:2`"
    ):
        prepare(tmp_path / "a.jsonl", WORDS, DataConfig())


def test_numbers_are_tags_only_with_their_names(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ada", "slept"], "ner_tags": [1, 0]}] * 9
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"`a\.jsonl`: `ner_tags` holds numbers without names.*`mapping\.txt`"
    ):
        load(tmp_path / "a.jsonl", WORDS)
    (tmp_path / "mapping.txt").write_text("0\tO\n1\tB-PER\n2\tI-PER\n", encoding="utf-8")
    assert load(tmp_path / "a.jsonl", WORDS).splits["train"].rows[0]["tags"] == ["B-PER", "O"]
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-PER"]))}
    )
    Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "a.parquet"))
    loaded = load(tmp_path / "a.parquet", WORDS)
    assert loaded.splits["train"].rows[0]["tags"] == ["B-PER", "O"]
    assert loaded.classes == ["O", "B-PER"]


def test_lists_in_a_flat_file_as_pandas_writes_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "tokens,tags\n\"['Ada', 'slept']\",\"['B-PER', 'O']\"\nin Oslo,O B-LOC\n"
        "['Bo' 'sat'],['B-PER' 'O']\n",
        encoding="utf-8",
    )
    prepared = prepare(tmp_path / "a.csv", WORDS)
    assert any(
        "with their training words: `B-LOC` 1, `B-PER` 2, `O` 3" in n for n in prepared.notes
    )
    assert prepared.splits["train"] == [
        {"id": "train-1", "tokens": ["Ada", "slept"], "tags": [1, 2]},
        {"id": "train-2", "tokens": ["in", "Oslo"], "tags": [2, 0]},
        {"id": "train-3", "tokens": ["Bo", "sat"], "tags": [1, 2]},
    ]


def test_another_separator_can_be_given_for_words_and_tags(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("tokens,tags\nAda B.|slept,B-PER|O\n", encoding="utf-8")
    row = load(tmp_path / "a.csv", WORDS, separator="|").splits["train"].rows[0]
    assert (row["tokens"], row["tags"]) == (["Ada B.", "slept"], ["B-PER", "O"])


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


def test_a_column_that_numbers_the_words_is_not_the_words(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(
        "1\tAda\tB-PER\n2\tslept\tO\n\n1\tOslo\tB-LOC\n2\tsleeps\tO\n\n", encoding="utf-8"
    )
    loaded = load(tmp_path / "a.conll", WORDS)
    assert [row["tokens"] for row in loaded.splits["train"].rows] == [
        ["Ada", "slept"],
        ["Oslo", "sleeps"],
    ]
    assert any("words in column 1, tags in column 2" in note for note in loaded.notes)
