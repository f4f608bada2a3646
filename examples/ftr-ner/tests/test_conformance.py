"""The task and its metric do what ftr relies on."""

from ftr.testing import DatasetConformance, MetricConformance, TaskConformance


class TestIngredients(TaskConformance):
    name = "ingredients"


class TestLongerLines(DatasetConformance):
    name = "ingredients"
    options = {"min_words": 4}
    head = "token-classification"


class TestWholeLines(MetricConformance):
    name = "whole_lines"
    perfect = {"predictions": [["O"], ["B-FOOD", "O"]], "references": [["O"], ["B-FOOD", "O"]]}
    worse = {"predictions": [["O"], ["B-FOOD", "I-FOOD"]], "references": perfect["references"]}
