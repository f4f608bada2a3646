"""The task, and each of its parts, keep ftr's contract."""

from ftr.testing import DatasetConformance, HeadConformance, MetricConformance, TaskConformance


class TestSimilarity(TaskConformance):
    """The whole: trained, swept, interrupted and resumed with a tiny model."""

    name = "similarity"


class TestSample(DatasetConformance):
    """The sample."""

    name = "similarity-sample"
    head = "pair-regression"


class TestHead(HeadConformance):
    """The head on every family."""

    name = "pair-regression"
    rows = [
        {"id": "a", "text": "A dog runs.", "text_pair": "The dog is running.", "score": 4.8},
        {
            "id": "b",
            "text": "Apples have become much dearer this year.",
            "text_pair": "Good night.",
            "score": 0.0,
        },
        {
            "id": "c",
            "text": "He sings.",
            "text_pair": "She sings, and the whole village listens to her.",
            "score": 2.5,
        },
        {
            "id": "d",
            "text": "The lake is frozen.",
            "text_pair": "Ice covers the lake.",
            "score": 4.1,
        },
    ]
    labels = ()
    families = ("bert", "roberta", "distilbert", "gpt2")


class TestCorrelation(MetricConformance):
    """The metric."""

    name = "correlation"
    perfect = {"predictions": [0.5, 2.0, 4.5], "references": [0.5, 2.0, 4.5]}
    worse = {"predictions": [2.0, 0.5, 4.5], "references": [0.5, 2.0, 4.5]}
