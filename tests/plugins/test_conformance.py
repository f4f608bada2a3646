# ruff: noqa: RUF012 - these are class variables, as the classes of the kit say
"""The built-in plugins pass the checks that are made for other people's."""

from __future__ import annotations

import pytest

from ftr.registry.registry import get_registry
from ftr.registry.specs import KINDS
from ftr.testing import (
    DatasetConformance,
    HeadConformance,
    MetricConformance,
    ModelConformance,
    TaskConformance,
)
from ftr.testing.contract import Conformance
from ftr.testing.subjects import TaskSubject
from ftr.testing.tiny import FAMILIES

LABELS = {"predictions": [0, 1, 2, 0, 1, 2], "references": [0, 1, 2, 0, 1, 2]}
WORSE_LABELS = {"predictions": [0, 1, 1, 2, 1, 0], "references": [0, 1, 2, 0, 1, 2]}
MILL = (
    "the old mill was built by two brothers in 1803 . it ground wheat for the bakers until a flood "
    "broke the wheel in the spring of 1911 ."
)


class TestSentiment(TaskConformance):
    name = "sentiment"
    # The tests of `ftr.jobs` train this task on workers and in trials.
    test_two_workers_train_it = None  # type: ignore[assignment]
    test_trials_of_a_sweep_train_it = None  # type: ignore[assignment]


class TestQA(TaskConformance):
    name = "qa"
    settings = {"head.max_question_length": 20, "data.stride": 16, "data.limit": 12}

    @pytest.mark.slow
    def test_two_workers_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        super().test_two_workers_train_it(ftr_task, ftr_ray)

    @pytest.mark.slow
    def test_trials_of_a_sweep_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        super().test_trials_of_a_sweep_train_it(ftr_task, ftr_ray)


class TestSequenceClassification(HeadConformance):
    name = "sequence-classification"
    options = {"dropout": 0.1}
    families = FAMILIES
    labels = ("bad", "good")
    rows = (
        {"text": "good", "label": "good"},
        {"text": "a very long and boring movie", "label": "bad"},
        {"text": "i loved it , the story was great", "label": "good"},
        {"text": "they hated it", "label": "bad"},
    )


class TestPairs(HeadConformance):
    name = "sequence-classification"
    labels = ("no", "yes")
    rows = (
        {"text": "the mill", "text_pair": "the old mill by the river", "label": "yes"},
        {"text": "a flood in the village", "text_pair": "a funny film", "label": "no"},
        {"text": "bad", "text_pair": "poor and boring", "label": "yes"},
        {"text": "a mill without a river", "label": "no"},
        {"text": "who built the mill ?", "text_pair": "good", "label": "no"},
    )


class TestExtractiveQA(HeadConformance):
    name = "extractive-qa"
    options = {"max_question_length": 16}
    # transformers has no question answering with EuroBERT.
    families = [family for family in FAMILIES if family != "eurobert"]
    rows = (
        {
            "question": "who built it ?",
            "context": MILL,
            "answers": {"text": ["two brothers"], "answer_start": [26]},
        },
        {
            "question": "when was it built ?",
            "context": MILL[:48],
            "answers": {"text": ["1803"], "answer_start": [42]},
        },
        {
            "question": "what broke ?",
            "context": MILL[49:],
            "answers": {"text": ["the wheel"], "answer_start": [51]},
        },
        {
            "question": "where is the river ?",
            "context": MILL[:48],
            "answers": {"text": [], "answer_start": []},
        },
    )


class TestAccuracy(MetricConformance):
    name, perfect, worse = "accuracy", LABELS, WORSE_LABELS


class TestF1(MetricConformance):
    name, perfect, worse = "f1", LABELS, WORSE_LABELS


class TestPrecision(MetricConformance):
    name, perfect, worse = "precision", LABELS, WORSE_LABELS


class TestRecall(MetricConformance):
    name, perfect, worse = "recall", LABELS, WORSE_LABELS


class TestMacroRecall(MetricConformance):
    name, perfect, worse = "macro_recall", LABELS, WORSE_LABELS


class TestSquadMetric(MetricConformance):
    name = "squad"
    references = [
        {"id": "a", "answers": {"text": ["1803"], "answer_start": [42]}},
        {"id": "b", "answers": {"text": [], "answer_start": []}},
    ]
    perfect = {
        "predictions": [
            {"id": "a", "prediction_text": "1803", "no_answer_probability": 0.0},
            {"id": "b", "prediction_text": "", "no_answer_probability": 1.0},
        ],
        "references": references,
    }
    worse = {
        "predictions": [
            {"id": "a", "prediction_text": "in 1803", "no_answer_probability": 0.0},
            {"id": "b", "prediction_text": "nobody", "no_answer_probability": 0.0},
        ],
        "references": references,
    }


class TestSquadCharactersMetric(MetricConformance):
    name, references = "squad_characters", TestSquadMetric.references
    perfect, worse = TestSquadMetric.perfect, TestSquadMetric.worse


class TestMiniLM(ModelConformance):
    name = "minilm"


class TestBertBase(ModelConformance):
    name = "bert-base"


class TestImdb(DatasetConformance):
    name, head = "imdb", "sequence-classification"


class TestSst2(DatasetConformance):
    name, head = "sst2", "sequence-classification"


class TestTweetSentiment(DatasetConformance):
    name, head = "tweet-sentiment", "sequence-classification"


class TestSquad(DatasetConformance):
    name, head = "squad", "extractive-qa"


class TestSquadV2(DatasetConformance):
    name, head = "squad-v2", "extractive-qa"


def test_every_built_in_component_is_under_the_checks_or_a_reason_is_written_here() -> None:
    classes = [
        found
        for found in globals().values()
        if isinstance(found, type) and issubclass(found, Conformance)
    ]
    tested = {(found.kind, found.name) for found in classes if "name" in vars(found)}
    by_task = {("dataset", "sentiment-sample"), ("dataset", "qa-sample")}
    # No score that is one number; and models of the hub (`tests/plugins/test_models.py`).
    models = {("model", name) for name in get_registry().names("model")}
    left_out = {("metric", "confusion_matrix"), *(models - tested)}
    built_in = {
        (kind, entry.spec.name)
        for kind in KINDS
        for entry in get_registry().all(kind)
        if entry.plugin.builtin
    }
    assert tested | by_task | left_out == built_in
