"""The shipped samples and the named hub datasets."""

import json
from collections import Counter
from importlib.resources import files

from ftr.config.schema import DataConfig
from ftr.data.prepare import prepare_rows
from ftr.data.read import from_splits, load_rows
from ftr.registry.registry import get_registry
from ftr_plugins.hub_datasets import Imdb, Sst2, TweetSentiment
from ftr_plugins.samples import QASample, SentimentSample
from readers import QA, TEXT, head_of


def test_every_answer_of_the_qa_sample_lies_at_its_offset() -> None:
    document = json.loads(
        files("ftr_plugins").joinpath("data", "qa.json").read_text(encoding="utf-8")
    )
    paragraphs = [paragraph for article in document["data"] for paragraph in article["paragraphs"]]
    asked = [
        (paragraph["context"], question)
        for paragraph in paragraphs
        for question in paragraph["qas"]
    ]
    for context, question in asked:
        assert question["is_impossible"] == (not question["answers"]), question["id"]
        for answer in question["answers"]:
            start = answer["answer_start"]
            assert (
                answer["text"].strip()
                and context[start : start + len(answer["text"])] == answer["text"]
            ), question["id"]
    impossible = sum(question["is_impossible"] for _, question in asked)
    assert len({paragraph["context"] for paragraph in paragraphs}) == len(paragraphs) >= 80
    assert len({question["id"] for _, question in asked}) == len(asked) >= 400
    assert len({(context, question["question"]) for context, question in asked}) == len(asked)
    assert 0.30 <= impossible / len(asked) <= 0.37


def test_the_splits_of_the_qa_sample_share_no_title_and_no_passage() -> None:
    splits = QASample().load()
    assert list(splits) == ["train", "validation", "test"]
    for column in ("title", "context"):
        values = [set(dataset[column]) for dataset in splits.values()]
        assert sum(map(len, values)) == len(set.union(*values))
    for dataset in splits.values():
        empty = sum(not answers["text"] for answers in dataset["answers"])
        assert len(dataset) >= 60 and 0.25 <= empty / len(dataset) <= 0.45


def test_the_splits_of_the_sentiment_sample_have_the_classes_in_equal_shares() -> None:
    splits = SentimentSample().load()
    reviews = [text.casefold() for dataset in splits.values() for text in dataset["text"]]
    assert len(set(reviews)) == len(reviews) >= 600
    for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        counts = Counter(splits[name]["label"])
        assert set(counts) == {"negative", "neutral", "positive"}
        assert max(counts.values()) - min(counts.values()) <= 2
        assert abs(len(splits[name]) / len(reviews) - share) < 0.01


def test_the_samples_go_through_the_reader_without_a_rejected_row() -> None:
    for name, schema in (("sentiment-sample", TEXT), ("qa-sample", QA)):
        prepared = prepare_rows(
            load_rows(name, {}, get_registry(), schema), head_of(schema), DataConfig()
        )
        assert list(prepared.splits) == ["train", "validation", "test"] and not prepared.rejected


def test_the_hub_datasets_get_canonical_columns() -> None:
    from datasets import ClassLabel, Dataset, DatasetDict

    sst2 = {"sentence": ["a", "b"], "label": [0, 1], "idx": [0, 1]}
    made = Sst2().canonical(
        DatasetDict(
            {
                "train": Dataset.from_dict(sst2),
                "test": Dataset.from_dict({**sst2, "label": [-1, -1]}),
            }
        )
    )
    assert list(made) == ["train"] and set(made["train"].column_names) == {"id", "text", "label"}
    tweets = Dataset.from_dict(
        {"id": ["i"], "text": ["t"], "label": [2], "label_text": ["positive"]}
    )
    assert TweetSentiment().canonical(DatasetDict({"train": tweets}))["train"][0] == {
        "id": "i",
        "text": "t",
        "label": "positive",
    }
    imdb = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).cast_column(
        "label", ClassLabel(names=["neg", "pos"])
    )
    kept = Imdb().canonical(DatasetDict({"train": imdb, "unsupervised": imdb}))
    assert [
        row["label"] for row in from_splits(kept, TEXT, {}, "dataset `imdb`").splits["train"].rows
    ] == ["neg", "pos"]
