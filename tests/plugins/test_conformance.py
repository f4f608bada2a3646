# ruff: noqa: RUF012 - these are class variables, as the classes of the kit say
"""The built-in plugins pass the checks that are made for other people's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftr.registry.registry import get_registry
from ftr.registry.specs import KINDS
from ftr.testing import (
    DatasetConformance,
    HeadConformance,
    MetricConformance,
    ModelConformance,
    TaskConformance,
    TrackerConformance,
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
    test_trials_of_a_sweep_train_it = None  # type: ignore[assignment]

    @pytest.mark.slow
    def test_two_workers_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        super().test_two_workers_train_it(ftr_task, ftr_ray)


class TestTopics(TaskConformance):
    name = "topics"
    test_two_workers_train_it = None  # type: ignore[assignment]

    @pytest.mark.slow
    def test_trials_of_a_sweep_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        super().test_trials_of_a_sweep_train_it(ftr_task, ftr_ray)


class TestSimilarity(TaskConformance):
    # Starting Ray takes most of the time of these two checks: each runs for two tasks at most.
    name = "similarity"
    test_two_workers_train_it = None  # type: ignore[assignment]
    test_trials_of_a_sweep_train_it = None  # type: ignore[assignment]


class TestNer(TaskConformance):
    name = "ner"
    test_trials_of_a_sweep_train_it = None  # type: ignore[assignment]

    @pytest.mark.slow
    def test_two_workers_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        super().test_two_workers_train_it(ftr_task, ftr_ray)


class TestSequenceClassification(HeadConformance):
    name = "sequence-classification"
    families = FAMILIES
    labels = ("bad", "good")
    rows = (
        {"text": "good", "label": "good"},
        {"text": "a very long and boring movie", "label": "bad"},
        {"text": "i loved it , the story was great", "label": "good"},
        {"text": "they hated it", "label": "bad"},
    )


class TestWindows(HeadConformance):
    name = "sequence-classification"
    options = {"windows": True}
    labels = ("bad", "good")
    rows = (
        {"text": "good", "label": "good"},
        {"text": " ".join(map(str, range(150))), "label": "bad"},
        {"text": "i loved it , the story was great", "label": "good"},
        {
            "text": " ".join(map(str, range(300, 450))),
            "text_pair": "who built the mill ?",
            "label": "bad",
        },
    )


class TestMultiLabel(HeadConformance):
    """To the second row two labels apply, to the third none."""

    name = "multi-label-classification"
    families = FAMILIES
    labels = ("film", "mood")
    rows = (
        {"text": "good", "labels": ["film"]},
        {"text": "a very long and boring movie", "labels": ["film", "mood"]},
        {"text": "i loved it , the story was great", "labels": []},
        {"text": "they hated it", "labels": ["mood"]},
    )


class TestGivenThreshold(HeadConformance):
    name = "multi-label-classification"
    options = {"threshold": 0.3}
    labels, rows = TestMultiLabel.labels, TestMultiLabel.rows


class TestRegression(HeadConformance):
    name = "regression"
    families = FAMILIES
    labels = ()
    rows = (
        {"text": "the mill", "text_pair": "the old mill by the river", "score": 4.1},
        {"text": "a flood in the village", "text_pair": "a funny film", "score": 0.0},
        {"text": "bad", "text_pair": "poor and boring , they hated it", "score": 3.5},
        {"text": "a very long and boring movie", "score": 1.5},
    )


class TestTokenClassification(HeadConformance):
    """The second sentence needs several windows."""

    name = "token-classification"
    families = FAMILIES
    labels = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    rows = (
        {
            "tokens": ["Ada", "lives", "in", "Oslo", "."],
            "tags": ["B-PER", "O", "O", "B-LOC", "O"],
        },
        {
            "tokens": ["Old", "Pete", "and", "Lucy", "sleep"] * 40,
            "tags": ["B-PER", "I-PER", "O", "B-PER", "O"] * 40,
        },
        {"tokens": ["Hm", "!"], "tags": ["O", "O"]},
        {"tokens": ["the", "river", "Tarn"], "tags": ["O", "B-LOC", "I-LOC"]},
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


class TestMultiLabelMetric(MetricConformance):
    name = "multi_label"
    perfect = {
        "predictions": [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
        "references": [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
    }
    worse = {**perfect, "predictions": [[1, 0, 0], [0, 1, 0], [0, 1, 0]]}


class TestAveragePrecision(MetricConformance):
    name = "average_precision"
    perfect = {
        "predictions": [[1, 0], [0, 1]],
        "references": [[1, 0], [0, 1]],
        "probabilities": [[0.9, 0.2], [0.1, 0.8]],
    }
    worse = {**perfect, "probabilities": [[0.3, 0.2], [0.4, 0.1]]}


NUMBERS = {"predictions": [0.5, 2.0, 4.5], "references": [0.5, 2.0, 4.5]}
WORSE_NUMBERS = {"predictions": [2.0, 0.5, 4.5], "references": [0.5, 2.0, 4.5]}


class TestSpearman(MetricConformance):
    name, perfect, worse = "spearman", NUMBERS, WORSE_NUMBERS


class TestPearson(MetricConformance):
    name, perfect, worse = "pearson", NUMBERS, WORSE_NUMBERS


class TestMAE(MetricConformance):
    name, perfect, worse = "mae", NUMBERS, WORSE_NUMBERS


class TestMSE(MetricConformance):
    name, perfect, worse = "mse", NUMBERS, WORSE_NUMBERS


class TestEntityF1(MetricConformance):
    name = "entity_f1"
    perfect = {
        "predictions": [["B-PER", "I-PER", "O"], ["O", "O", "B-LOC"]],
        "references": [["B-PER", "I-PER", "O"], ["O", "O", "B-LOC"]],
    }
    worse = {**perfect, "predictions": [["B-PER", "O", "O"], ["O", "B-LOC", "I-LOC"]]}


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


class TrackerInAFolder(TrackerConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip(self.name)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
        monkeypatch.setenv("WANDB_MODE", "offline")


class TestTensorBoard(TrackerInAFolder):
    name = "tensorboard"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestMLflow(TrackerInAFolder):
    name = "mlflow"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestWandB(TrackerInAFolder):
    name = "wandb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestTrackio(TrackerInAFolder):
    name = "trackio"


def test_every_built_in_component_is_under_the_checks_or_a_reason_is_written_here() -> None:
    classes = [
        found
        for found in globals().values()
        if isinstance(found, type) and issubclass(found, Conformance)
    ]
    tested = {(found.kind, found.name) for found in classes if "name" in vars(found)}
    by_task = {
        ("dataset", f"{task}-sample") for task in ("sentiment", "qa", "topics", "similarity", "ner")
    }
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
