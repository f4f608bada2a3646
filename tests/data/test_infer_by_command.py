"""One command, no option: `ftr run FILE`; and the same from Python."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.config.parse import parse_words
from ftr.errors import ConfigError, RequestError

Capture = pytest.CaptureFixture[str]
NAMES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")


def texts(count: int = 48) -> list[str]:
    drawn = random.Random(0)
    words = ["the", "film", "was", "good", "bad", "long", "short", "funny", "and", "old"]
    return [" ".join(drawn.choices(words, k=7)) + f" {n}" for n in range(count)]


def table(path: Path, rows: list[list[Any]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def write(folder: Path) -> None:
    """Write a data set of each kind."""
    said = texts()
    flags = [[n % (k + 2) == 0 for k in range(6)] for n in range(len(said))]
    rows: list[list[Any]] = [[n, text, *map(int, flags[n])] for n, text in enumerate(said)]
    table(folder / "toxic.csv", [["id", "comment_text", *NAMES], *rows])
    lists = [
        {"text": text, "topics": ["sport", "climate change", "art"][n % 4 :]}
        for n, text in enumerate(said)
    ]
    (folder / "topics.jsonl").write_text("\n".join(map(json.dumps, lists)), encoding="utf-8")
    scored = [[one, said[-n], f"{n * 0.11:.2f}"] for n, one in enumerate(said)]
    table(folder / "pairs.tsv", [["sentence1", "sentence2", "score"], *scored], "\t")
    sentences = [
        f"@ada{n}\tB-person\nwas\tO\nin\tO\nNew York\tB-location\n\n\t\n" for n in range(24)
    ]
    (folder / "wnut.txt").write_text("\n\n".join(sentences), encoding="utf-8")
    (folder / "conll").mkdir()
    for split, numbers in (("train", range(24)), ("dev", range(24, 28)), ("test", range(28, 32))):
        lines = [f"Ada{n} NNP B-PER\nslept VBD O\n" for n in numbers]
        (folder / "conll" / f"{split}.conll").write_text("\n".join(lines), encoding="utf-8")
    table(folder / "reviews.csv", [["review", "stars"], *([t, n % 5] for n, t in enumerate(said))])
    questions = [["Who?", f"Ada{n} met Bo.", f"Ada{n}"] for n in range(24)]
    table(folder / "questions.csv", [["question", "context", "answer"], *questions])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def small(model: Path) -> dict[str, Any]:
    return {
        "model": str(model),
        "epochs": 1,
        "batch_size": 16,
        "data.max_length": 96,
        "train.precision": "fp32",
        "baselines": False,
        "compute.workers": 0,
    }


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").glob("*/run.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("name", "task", "labels"),
    [
        ("toxic.csv", "topics", list(NAMES)),
        ("topics.jsonl", "topics", ["art", "climate change", "sport"]),
        ("pairs.tsv", "similarity", []),
        ("wnut.txt", "ner", ["B-location", "B-person", "O"]),
        ("conll", "ner", ["B-PER", "O"]),
        ("reviews.csv", "sentiment", ["0", "1", "2", "3", "4"]),
        ("questions.csv", "qa", []),
    ],
)
def test_a_path_alone_trains_the_right_head(
    here: Path, tiny_bert: Path, capfd: Capture, name: str, task: str, labels: list[str]
) -> None:
    settings = [f"{key}={json.dumps(value)}" for key, value in small(tiny_bert).items()]
    assert main(["run", name, *settings]) == 0
    assert f"\ntask={task}: column" in f"\n{capfd.readouterr().err}"
    written = record(here)
    assert (written["config"]["task"], written["labels"]) == (task, labels)
    assert written["origins"]["task"] == f"inferred from {name}"
    assert written["status"] == "done"


def test_a_model_of_several_labels_reads_files_like_the_one_it_learned_from(
    here: Path, tiny_bert: Path, capfd: Capture
) -> None:
    done = ftr.run("toxic.csv", say=lambda line: None, **small(tiny_bert))
    assert done.record["config"]["task"] == "topics"
    capfd.readouterr()
    assert main(["evaluate", str(done.path), "toxic.csv", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == 48
    assert main(["predict", str(done.path), "toxic.csv"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 48
    assert main(["resume", str(done.path), "toxic.csv"]) == 0
    lines = [[n, text, *[-1] * 6] for n, text in enumerate(texts(3))]
    table(here / "unscored.csv", [["id", "comment_text", *NAMES], *lines])
    assert main(["evaluate", str(done.path), "unscored.csv"]) == 2
    assert "`unscored.csv` has no labels to score" in capfd.readouterr().err
    table(here / "unscored.csv", [["text"], ["one text"], ["another text"]])
    assert main(["evaluate", str(done.path), "unscored.csv"]) == 2
    assert "`unscored.csv` has no labels to score" in capfd.readouterr().err


@pytest.mark.slow
def test_python_takes_a_path_and_a_sweep_infers_too(here: Path, tiny_bert: Path) -> None:
    said: list[str] = []
    result = ftr.sweep(
        Path("reviews.csv"),
        say=said.append,
        trials=1,
        learning_rate="choice(1e-3,1e-4)",
        max_concurrent=1,
        **small(tiny_bert),
    )
    assert said[0].startswith("task=sentiment: column `stars` has 5 values")
    assert result.record["origins"]["task"] == "inferred from reviews.csv"
    assert result.record["config"]["task"] == "sentiment" and result.best is not None


def test_show_names_the_origin_and_keeps_stdout_clean(here: Path, capfd: Capture) -> None:
    assert main(["show", "pairs.tsv", "epochs=2", "--json"]) == 0
    out, err = capfd.readouterr()
    shown = json.loads(out)
    assert shown["values"]["task"] == "similarity" and shown["values"]["epochs"] == 2
    assert shown["origins"]["task"] == "inferred from pairs.tsv"
    assert "task=similarity: column `score` has" in err
    assert main(["show", "task=sentiment", "pairs.tsv", "dataset.label=score"]) == 0
    assert "inferred" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "dataset `nowhere.csv` (command line): there is no such file or folder"),
        (["review.csv"], "Did you mean `reviews.csv`?"),
        (["reviews.cvs"], "is not `key=value`, and no file of that name is here"),
        (["reviews.csv", "pairs.tsv"], "`reviews.csv` and `pairs.tsv` (command line): give one"),
        (["reviews.csv", "dataset=pairs.tsv"], "`dataset` is given twice"),
        (["sweep.yaml"], "`sweep.yaml` is not a dataset: write `config=sweep.yaml`"),
        (["task.py"], "write `--plugin task.py`"),
        (["strange.csv"], "strange.csv fits several tasks. Choose one:"),
        (["plain.csv"], "plain.csv fits no task. Its columns"),
    ],
)
def test_what_is_wrong_with_a_path_is_one_message(
    here: Path, capfd: Capture, words: list[str], said: str
) -> None:
    for name in ("sweep.yaml", "task.py"):
        (here / name).touch()
    strange = [[text, "ab"[n % 2], n / 7] for n, text in enumerate(texts())]
    table(here / "strange.csv", [["text", "kind", "price"], *strange])
    table(here / "plain.csv", [["title", "body"], *([text, text] for text in texts())])
    for command in ("run", "sweep", "show"):
        assert main([command, *words]) == 2
        out, err = capfd.readouterr()
        assert said in err and err.count("error") == 1 and "Traceback" not in err and not out
    assert not (here / "runs").exists()


def test_a_string_in_python_is_a_setting_or_a_path(here: Path) -> None:
    with pytest.raises(RequestError, match="`dataset` is given twice"):
        ftr.run("reviews.csv", dataset="pairs.tsv")
    with pytest.raises(RequestError, match="`task` is given twice"):
        ftr.run("task=qa", task="sentiment")
    with pytest.raises(ConfigError, match="is not `key=value`"):
        ftr.run("nothing")


def test_words_that_are_paths(here: Path) -> None:
    for word in ("conll", "conll/", "./reviews.csv", "../x", "a/b=c.csv", "hub:a/b", "new.parquet"):
        assert parse_words([word])["dataset"].value == word
    assert "dataset" not in parse_words(["epochs=1", "output=a/b"])


def rows_of(name: str) -> tuple[str, list[Any]]:
    """Return a file with bad rows: more than `data.max_invalid` allows, fewer than hide its
    kind.
    """
    said = texts()
    if name == "a stray 2":
        flags = [
            [n, t, *(2 if n in (7, 9, 11) else n % 2 for _ in NAMES)] for n, t in enumerate(said)
        ]
        return "a.csv", [["id", "comment_text", *NAMES], *flags]
    if name == "no lists":
        cells = [
            {"text": t, "topics": ["art"] if n % 3 else ["sport", "art"]}
            for n, t in enumerate(said)
        ]
        return "a.jsonl", [
            {**c, "topics": 3} if n in (7, 9, 11) else c for n, c in enumerate(cells)
        ]
    tagged = [{"tokens": ["Ada", "slept"], "tags": ["B-PER", "O"]} for _ in said]
    return "a.jsonl", [{**c, "tags": ["O"]} if n in (7, 9, 11) else c for n, c in enumerate(tagged)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a stray 2", "`toxic` is `2`, not 0 or 1: 3, first `a.csv:9`"),
        ("no lists", "labels is not a list of classes: 3, first `a.jsonl:8`"),
        ("tags and words", "tokens has 2 items, tags has 1: 3, first `a.jsonl:8`"),
    ],
)
def test_bad_rows_are_named_with_file_and_row(
    here: Path, tiny_bert: Path, capfd: Capture, name: str, said: str
) -> None:
    file, rows = rows_of(name)
    if file.endswith("csv"):
        table(here / file, rows)
    else:
        (here / file).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert main(["run", file, f"model={tiny_bert}"]) == 2
    out, err = capfd.readouterr()
    assert f"`{file}`: 3 of 48 rows cannot be used" in err and said in err and not out
    refused = (here / "runs" / "refused_rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["place"] for line in refused] == [
        f"{file}:{n + (2 if file == 'a.csv' else 1)}" for n in (7, 9, 11)
    ]
