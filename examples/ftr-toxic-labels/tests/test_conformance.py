"""The task and its metric do what ftr relies on."""

import pytest

from ftr.testing import DatasetConformance, MetricConformance, TaskConformance
from ftr_toxic_labels import jaccard


class TestToxicLabels(TaskConformance):
    name = "toxic-labels"


class TestSpanish(DatasetConformance):
    name = "toxic-labels"
    options = {"language": "es"}
    head = "multi-label-classification"


class TestJaccard(MetricConformance):
    name = "jaccard"
    perfect = {"predictions": [[1, 0], [1, 1]], "references": [[1, 0], [1, 1]]}
    worse = {"predictions": [[0, 1], [1, 1]], "references": [[1, 0], [1, 1]]}


def test_no_label_predicted_where_none_is_true_is_right() -> None:
    assert jaccard([[0, 0], [1, 1], [1, 0]], [[0, 0], [0, 1], [0, 1]]) == pytest.approx(0.5)
