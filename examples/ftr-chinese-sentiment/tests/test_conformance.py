"""The task, its dataset and its model do what ftr relies on."""

from ftr.testing import DatasetConformance, ModelConformance, TaskConformance


class TestChineseSentiment(TaskConformance):
    name = "chinese-sentiment"
    model = None  # its own, which is small
    settings = {"model.layers": 1, "model.width": 32}


class TestTraditional(DatasetConformance):
    name = "chinese-sentiment"
    options = {"parts": ["traditional"]}
    head = "sequence-classification"


class TestHanziBert(ModelConformance):
    name = "hanzi-bert"
    options = {"layers": 1, "width": 16}
