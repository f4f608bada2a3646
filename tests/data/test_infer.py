"""The task is found from the data."""

import csv
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftr.config.parse import Setting, parse_words
from ftr.data.infer import Candidate, Task, goal_of, infer, settings_with_task, tasks_of
from ftr.errors import ConfigError, DataError
from ftr.registry.registry import get_registry
from ftr.registry.schema import Column, RowSchema
from readers import QA, TEXT

TEXTS = tuple(column for column in TEXT.columns if column.type == "text")
SETS = RowSchema(
    columns=(
        *TEXTS,
        Column(name="labels", type="labels", aliases=("label", "tags", "topics"), required=False),
    )
)
SCORES = RowSchema(
    columns=(*TEXTS, Column(name="score", type="number", aliases=("label", "similarity", "rating")))
)
WORDS = RowSchema(
    columns=(
        Column(name="tokens", type="tokens", aliases=("words", "sentence", "text")),
        Column(name="tags", type="labels", aliases=("ner_tags", "labels", "bio")),
    )
)
NAMES = {"qa": QA, "sentiment": TEXT, "topics": SETS, "similarity": SCORES, "ner": WORDS}
TASKS = [Task(name, goal_of(schema), schema) for name, schema in NAMES.items()]
DATA = Path(os.environ.get("FTR_DATA", Path(__file__).parents[3] / "shared" / "data"))


def found(path: Path, *words: str) -> Candidate:
    """Return what is inferred from a file, and the settings `words`."""
    given = parse_words([f"dataset={path}", *words])
    return infer(str(path), given, TASKS, path.name, str(path))


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV file, or TSV by its name; without columns it has no header."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([columns, *rows] if columns else rows)
    return path


def lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def texts(count: int = 40) -> list[str]:
    drawn = random.Random(0)
    words = [
        "the",
        "film",
        "was",
        "good",
        "bad",
        "long",
        "short",
        "funny",
        "and",
        "a",
        "very",
        "old",
        "new",
        "one",
    ]
    return [" ".join(drawn.choices(words, k=8)) + f" {n}" for n in range(count)]


def test_several_columns_of_zeros_and_ones(tmp_path: Path) -> None:
    names = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    rows = [[f"{n:06x}", text, *(n >> k & 1 for k in range(6))] for n, text in enumerate(texts(64))]
    chosen = found(table(tmp_path / "a.csv", ["id", "comment_text", *names], rows))
    assert (chosen.task, chosen.options) == ("topics", {})
    assert chosen.why.startswith("columns `toxic`, `severe_toxic`,") and "hold 0/1" in chosen.why


@pytest.mark.parametrize("name", ["topics", "labels", "subjects"])
def test_lists_of_labels(tmp_path: Path, name: str) -> None:
    rows = [
        {"text": text, name: ["sport", "art", "climate change"][n % 3 :]}
        for n, text in enumerate(texts())
    ]
    chosen = found(lines(tmp_path / "a.jsonl", rows))
    assert chosen.task == "topics" and "lists such as" in chosen.why
    assert chosen.options == ({"labels": "subjects"} if name == "subjects" else {})


@pytest.mark.parametrize("cells", [["a;b", "b", "c;a"], ["a, b", "b, c", "c, a", "c"]])
def test_labels_divided_by_a_separator(tmp_path: Path, cells: list[str]) -> None:
    rows = [[text, cells[n % len(cells)]] for n, text in enumerate(texts())]
    assert found(table(tmp_path / "a.csv", ["text", "genre"], rows)).task == "topics"


def test_pairs_with_scores(tmp_path: Path) -> None:
    one, other = texts(), texts()[::-1]
    rows = [[a, b, f"{n % 33 * 0.15:.2f}"] for n, (a, b) in enumerate(zip(one, other, strict=True))]
    path = table(tmp_path / "a.tsv", ["sentence1", "sentence2", "score"], rows)
    chosen = found(path)
    assert (chosen.task, chosen.options) == ("similarity", {})
    assert "different numbers from 0 to 4.8" in chosen.why
    assert found(table(tmp_path / "b.tsv", [], rows)).options == {
        "text": 0,
        "text_pair": 1,
        "score": 2,
    }
    chosen = found(table(tmp_path / "c.tsv", ["first", "second", "gold"], rows))
    assert chosen.options == {"text": "first", "text_pair": "second", "score": "gold"}


@pytest.mark.parametrize(
    "labels", [["1", "2", "3", "4", "5"], ["pos", "neg"], [0, 1], ["ham", "s"]]
)
def test_few_values_are_classes(tmp_path: Path, labels: list[object]) -> None:
    rows = [[text, labels[n % len(labels)]] for n, text in enumerate(texts())]
    assert found(table(tmp_path / "a.csv", ["review", "label"], rows)).task == "sentiment"
    for name, columns in (("b.csv", ["note", "grade"]), ("c.csv", [])):
        chosen = found(table(tmp_path / name, columns, rows))
        assert (chosen.task, chosen.options) == ("sentiment", {})
    more = [[n * 17, *row] for n, row in enumerate(rows)]
    chosen = found(table(tmp_path / "d.csv", ["n", "note", "grade"], more))
    assert (chosen.task, chosen.options) == ("sentiment", {"text": "note", "label": "grade"})


def test_pairs_of_questions_with_ids(tmp_path: Path) -> None:
    one, other = texts(), texts()[::-1]
    rows = [
        [n, n * 2 % 37, n * 3 % 37, a, b, n % 2]
        for n, (a, b) in enumerate(zip(one, other, strict=True))
    ]
    columns = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    chosen = found(table(tmp_path / "a.csv", columns, rows))
    assert (chosen.task, chosen.options) == (
        "sentiment",
        {"text": "question1", "text_pair": "question2", "label": "is_duplicate"},
    )


def test_words_and_tags(tmp_path: Path) -> None:
    conll = "\n\n".join("Ada\tB-PER\nwas\tO\nhere\tO" for _ in range(5))
    for name in ("a.conll", "a.txt", "a.tsv"):
        (tmp_path / name).write_text(conll, encoding="utf-8")
        assert found(tmp_path / name).task == "ner"
    rows = [{"tokens": ["Ada", "slept"], "ner_tags": ["B-PER", "O"]}] * 9
    assert found(lines(tmp_path / "a.jsonl", rows)).task == "ner"
    rows.append({"tokens": ["Ada", "slept"], "ner_tags": ["B-PER"]})
    assert found(lines(tmp_path / "a.jsonl", rows)).task == "ner"
    flat = table(tmp_path / "a.csv", ["words", "bio"], [["Ada slept", "B-PER O"]] * 9)
    assert found(flat).task == "ner"


def test_questions(tmp_path: Path) -> None:
    document = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "Ada met Bo.",
                        "qas": [
                            {
                                "id": "1",
                                "question": "Who?",
                                "answers": [{"text": "Ada", "answer_start": 0}],
                            }
                        ],
                    }
                ]
            }
        ]
    }
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    assert found(tmp_path / "a.json").task == "qa"
    rows = [["Who?", "Ada met Bo.", "Ada"]] * 4
    path = table(tmp_path / "a.csv", ["question", "context", "answer"], rows)
    assert found(path).task == "qa"


def test_a_folder_of_classes_and_a_folder_of_splits(tmp_path: Path) -> None:
    for name in ("pos", "neg"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.txt").write_text("some text", encoding="utf-8")
    assert found(tmp_path / "texts").task == "sentiment"
    (tmp_path / "splits").mkdir()
    rows = [[text, n % 2] for n, text in enumerate(texts())]
    for split in ("train", "test"):
        table(tmp_path / "splits" / f"{split}.csv", ["text", "label"], rows)
    assert found(tmp_path / "splits").task == "sentiment"


def test_a_name_decides_between_columns(tmp_path: Path) -> None:
    rows = [[text, "ab"[n % 2], n / 7, n % 2, n % 3 == 0] for n, text in enumerate(texts())]
    columns = ["text", "label", "price", "is_long", "is_old"]
    assert found(table(tmp_path / "a.csv", columns, rows)).task == "sentiment"
    assert found(tmp_path / "a.csv", "dataset.score=price").task == "similarity"
    chosen = found(tmp_path / "a.csv", "dataset.labels=[is_long,is_old]")
    assert (chosen.task, chosen.options) == ("topics", {})


def test_several_candidates_are_listed_with_their_commands(tmp_path: Path) -> None:
    rows = [[text, "ab"[n % 2], n / 7] for n, text in enumerate(texts())]
    path = table(tmp_path / "a b.csv", ["text", "kind", "price"], rows)
    with pytest.raises(ConfigError) as caught:
        found(path)
    said = str(caught.value)
    assert said.startswith("a b.csv fits several tasks")
    assert (
        f"ftr run '{path}' task=sentiment dataset.label=kind   (column `kind` has 2 values" in said
    )
    assert f"ftr run '{path}' task=similarity dataset.score=price   (column `price` has 40" in said


def test_no_candidate_lists_the_columns_and_how_to_name_them(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ["title", "body"], [[text, text] for text in texts()])
    with pytest.raises(ConfigError) as caught:
        found(path)
    said = str(caught.value)
    assert "a.csv fits no task" in said and "`title`: texts such as" in said
    assert "task=sentiment dataset.text=COLUMN dataset.label=COLUMN" in said


def test_only_the_beginning_of_a_huge_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [[f'{text} "quoted, or\nnot"', n % 2] for n, text in enumerate(texts(4000))]
    path = table(tmp_path / "a.csv", ["text", "label"], rows)
    parquet.write_table(
        pa.table({"text": texts(4000), "label": [0, 1] * 2000}), tmp_path / "a.parquet"
    )
    monkeypatch.setattr("ftr.data.infer._LARGE", 1000)
    monkeypatch.setattr("ftr.data.infer._HEAD", 20_000)
    monkeypatch.setattr("ftr.data.infer.ROWS", 100)
    monkeypatch.setattr("ftr.data.infer.source_tables", None)
    for name in (path.name, "a.parquet"):
        assert found(tmp_path / name).task == "sentiment"


def test_a_huge_file_that_is_sorted_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[text, n // 2000] for n, text in enumerate(texts(4000))]
    path = table(tmp_path / "a.csv", ["text", "label"], rows)
    monkeypatch.setattr("ftr.data.infer._LARGE", 1000)
    monkeypatch.setattr("ftr.data.infer._HEAD", 20_000)
    assert found(path).task == "sentiment"


@pytest.mark.parametrize("label", [["positive"], {"POS": 1, "NEG": 0}, "['positive']"])
def test_a_list_or_mapping_of_one_class_is_that_class(tmp_path: Path, label: object) -> None:
    other: dict[type, object] = {list: ["bad"], dict: {"POS": 0, "NEG": 1}, str: "['bad']"}
    rows = [
        {"text": text, "cats": label if n % 2 else other[type(label)]}
        for n, text in enumerate(texts())
    ]
    chosen = found(lines(tmp_path / "a.jsonl", rows))
    assert chosen.task == "sentiment" and "has 2 values" in chosen.why


def test_what_cannot_be_read_is_explained_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        found(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text("one text\nanother text\n", encoding="utf-8")
    with pytest.raises(DataError, match="no label on each line"):
        found(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("sst2", "sentiment"),
        ("sst2/sentence_level_noheader", "sentiment"),
        ("tweet_sentiment", "sentiment"),
        ("tweeteval_sentiment", "sentiment"),
        ("imdb/IMDb_reviews.csv.gz", "sentiment"),
        ("squad_v1.1/dev-v1.1.json.gz", "qa"),
        ("squad_v2/train-v2.0-first10articles.json.gz", "qa"),
    ],
)
def test_real_data(name: str, task: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    chosen = found(DATA / name)
    assert (chosen.task, chosen.options) == (task, {})


def test_nothing_is_inferred_where_a_task_or_head_is_given_or_no_file(tmp_path: Path) -> None:
    registry, said = get_registry(), list[str]()
    for words in (["task=qa"], ["head=extractive-qa", "dataset=x.csv"], ["epochs=1"]):
        assert settings_with_task(words, registry, said.append).keys() == parse_words(words).keys()
    assert "task" not in settings_with_task({"dataset": "sst2"}, registry, said.append)
    assert "task" not in settings_with_task(["hub:owner/name"], registry, said.append)
    assert said == []
    (tmp_path / "reviews.csv").touch()
    with pytest.raises(DataError, match=r"no such file or folder.* Did you mean `reviews\.csv`"):
        settings_with_task([str(tmp_path / "review.csv")], registry, said.append)


def test_what_is_inferred_is_printed_and_has_its_origin(tmp_path: Path) -> None:
    rows = [[text, "ab"[n % 2]] for n, text in enumerate(texts())]
    path, said = table(tmp_path / "a.csv", ["message", "kind of"], rows), list[str]()
    given = settings_with_task([str(path), "epochs=1"], get_registry(), said.append)
    assert given["task"] == Setting("sentiment", "inferred from a.csv")
    assert given["dataset"].value == str(path)
    (line,) = said
    assert line.startswith("task=sentiment") and line.endswith("(another: `task=…`)")
    by_split = settings_with_task({"dataset.train": str(path)}, get_registry(), said.append)
    assert by_split["task"].value == "sentiment"


def test_each_goal_has_a_built_in_task() -> None:
    goals = {task.goal: task.name for task in tasks_of(get_registry())}
    assert goals["answers"] == "qa" and goals["class"] == "sentiment"


def test_lists_in_cells_are_lists_also_where_some_hold_one_label_or_none(tmp_path: Path) -> None:
    sets = ['["news", "art"]', '["art"]', "[]", '["sport"]', '["news"]']
    rows = [[text, sets[n % 5]] for n, text in enumerate(texts(60))]
    assert found(table(tmp_path / "a.csv", ["text", "labels"], rows)).task == "topics"


def test_few_flags_beside_another_column_that_can_be_learned_are_no_clear_case(
    tmp_path: Path,
) -> None:
    moods = ["joy", "fear", "anger"]
    rows = [[text, moods[n % 3], n % 2, n // 2 % 2] for n, text in enumerate(texts(60))]
    path = table(tmp_path / "a.csv", ["text", "emotion", "verified", "male"], rows)
    with pytest.raises(ConfigError, match=r"fits several tasks(.|\n)*dataset\.label=emotion"):
        found(path)


def test_an_index_of_zeros_and_ones_is_no_label(tmp_path: Path) -> None:
    rows = [[n % 2, text, n // 2 % 2, n // 4 % 2] for n, text in enumerate(texts(60))]
    chosen = found(table(tmp_path / "a.csv", ["index", "text", "toxic", "insult"], rows))
    assert chosen.task == "topics" and "`index`" not in chosen.why


def test_counts_are_no_flags(tmp_path: Path) -> None:
    rows = [[text, 7 if n == 9 else n % 2, n // 2 % 2] for n, text in enumerate(texts(60))]
    chosen = found(
        table(tmp_path / "a.csv", ["text", "retweets", "reply"], rows), "dataset.label=reply"
    )
    assert chosen.task == "sentiment"


def test_many_class_ids_are_not_taken_for_a_scale(tmp_path: Path) -> None:
    rows = [[text, n % 30] for n, text in enumerate(texts(120))]
    assert found(table(tmp_path / "a.csv", ["text", "category"], rows)).task == "sentiment"
    with pytest.raises(ConfigError, match="fits several tasks"):
        found(table(tmp_path / "b.csv", ["text", "label"], rows))


def test_a_question_beside_a_sentence_is_read_and_what_is_not_read_is_named(tmp_path: Path) -> None:
    rows = [[text, f"{text} more", n % 2] for n, text in enumerate(texts(60))]
    chosen = found(table(tmp_path / "a.csv", ["question", "sentence", "label"], rows))
    assert chosen.options == {"text": "question", "text_pair": "sentence"}
    chosen = found(table(tmp_path / "b.csv", ["title", "text", "label"], rows))
    assert (chosen.options, chosen.unread) == ({}, ("title",))
    # A text that is found by its looks is read.
    only = [[text, n % 2, n // 2 % 2] for n, text in enumerate(texts(60))]
    path = table(tmp_path / "d.csv", ["remark", "rude", "kind"], only)
    assert found(path).unread == found(path, "dataset.text=remark").unread == ()


def test_decimal_commas_divide_no_labels(tmp_path: Path) -> None:
    rows = [[text, f"{n % 10},{n % 7}5"] for n, text in enumerate(texts(80))]
    with pytest.raises(ConfigError) as caught:
        found(table(tmp_path / "a.csv", ["text", "price"], rows))
    assert "Choose one" not in str(caught.value) or "task=topics" not in str(caught.value)
