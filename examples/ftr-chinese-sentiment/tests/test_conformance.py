"""The task, its dataset and its model keep ftr's contract."""

from ftr.testing import DatasetConformance, ModelConformance, TaskConformance


class TestChineseSentiment(TaskConformance):
    """The whole, with the task's own model: it is small."""

    name = "chinese-sentiment"
    model = None
    settings = {"model.layers": 1, "model.width": 32}


class TestTraditional(DatasetConformance):
    """One file of the sample."""

    name = "chinese-reviews"
    options = {"parts": ["traditional"]}
    head = "sequence-classification"


class TestHanziBert(ModelConformance):
    """The model."""

    name = "hanzi-bert"
    options = {"layers": 1, "width": 16}
