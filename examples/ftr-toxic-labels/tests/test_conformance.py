"""The task, and each of its parts, keep ftr's contract."""

from ftr.testing import DatasetConformance, HeadConformance, MetricConformance, TaskConformance


class TestToxicLabels(TaskConformance):
    """The whole: trained, swept, interrupted and resumed with a tiny model."""

    name = "toxic-labels"


class TestSample(DatasetConformance):
    """The sample."""

    name = "toxic-sample"
    head = "multi-label"


class TestHead(HeadConformance):
    """The head on every family; to the second row nothing applies, to the third two labels do."""

    name = "multi-label"
    rows = [
        {"id": "a", "text": "You fool!", "labels": ["insult"]},
        {
            "id": "b",
            "text": "Thank you for the long and careful answer, it helped me.",
            "labels": [],
        },
        {"id": "c", "text": "You fool, I will find you.", "labels": ["insult", "threat"]},
        {"id": "d", "text": "I will be waiting outside.", "labels": ["threat"]},
    ]
    labels = ("insult", "threat")
    families = ("bert", "roberta", "distilbert", "gpt2")


class TestGivenThreshold(HeadConformance):
    """The head with a threshold that is not tuned."""

    name = "multi-label"
    options = {"threshold": 0.3}
    rows = TestHead.rows
    labels = TestHead.labels


class TestMultiLabel(MetricConformance):
    """The metric."""

    name = "multi_label"
    perfect = {"predictions": [[0, 2], [], [1]], "references": [[0, 2], [], [1]]}
    worse = {"predictions": [[0], [1], [1]], "references": [[0, 2], [], [1]]}
