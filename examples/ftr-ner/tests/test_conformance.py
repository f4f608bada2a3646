"""The task, and each of its parts, keep ftr's contract."""

from ftr.testing import DatasetConformance, HeadConformance, MetricConformance, TaskConformance


class TestNer(TaskConformance):
    """The whole: trained, swept, interrupted and resumed with a tiny model."""

    name = "ner"


class TestEnglish(DatasetConformance):
    """One language of the sample."""

    name = "ner-sample"
    options = {"languages": ["en"]}
    head = "token-classification"


class TestHead(HeadConformance):
    """The head on every family; the second sentence needs several windows."""

    name = "token-classification"
    rows = [
        {
            "id": "a",
            "tokens": ["Ada", "lives", "in", "Oslo", "."],
            "tags": ["B-PER", "O", "O", "B-LOC", "O"],
        },
        {
            "id": "b",
            "tokens": ["Old", "Pete", "and", "Lucy", "sleep"] * 40,
            "tags": ["B-PER", "I-PER", "O", "B-PER", "O"] * 40,
        },
        {"id": "c", "tokens": ["Hm", "!"], "tags": ["O", "O"]},
        {"id": "d", "tokens": ["the", "river", "Tarn"], "tags": ["O", "B-LOC", "I-LOC"]},
    ]
    labels = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    families = ("bert", "roberta", "distilbert", "gpt2")


class TestEntityF1(MetricConformance):
    """The metric."""

    name = "entity_f1"
    perfect = {
        "predictions": [["B-PER", "I-PER", "O"], ["O", "O", "B-LOC"]],
        "references": [["B-PER", "I-PER", "O"], ["O", "O", "B-LOC"]],
    }
    worse = {
        "predictions": [["B-PER", "O", "O"], ["O", "B-LOC", "I-LOC"]],
        "references": perfect["references"],
    }
