"""The classes that a plugin's tests inherit from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ftr.registry.specs import Kind
from ftr.testing.checks.answers import AnswerChecks
from ftr.testing.checks.batches import BatchChecks
from ftr.testing.checks.dataset import DatasetChecks
from ftr.testing.checks.encoding import EncodingChecks
from ftr.testing.checks.learning import LearningChecks
from ftr.testing.checks.metric import MetricChecks
from ftr.testing.checks.model import ModelChecks
from ftr.testing.checks.plugin import PluginChecks
from ftr.testing.checks.saving import SavingChecks
from ftr.testing.checks.tracker import TrackerChecks
from ftr.testing.checks.training import TrainingChecks


class HeadChecks(EncodingChecks, BatchChecks, LearningChecks, AnswerChecks, SavingChecks):
    """All checks of a head."""


class DatasetConformance(PluginChecks, DatasetChecks):
    """Checks of a dataset. Set `name`, and where it takes them `options`.

    With `head`, the name of a head, every row must be one that the head can use; without, no
    declared column may be empty.
    """

    kind: ClassVar[Kind] = "dataset"
    head: ClassVar[str | None] = None


class HeadConformance(PluginChecks, HeadChecks):
    """Checks of a head. Set `name`, `rows`, and `labels` where the head has classes.

    `rows` are four or more canonical rows, all different and of different lengths, labels by name.
    `families` are the tiny models it is tried on: `bert`, `roberta`, `distilbert`, `gpt2`,
    `modernbert`, `deberta-v2`, `xlm-roberta`, `mpnet`, `eurobert`, `qwen3`.
    """

    kind: ClassVar[Kind] = "head"
    rows: ClassVar[Sequence[Mapping[str, Any]]] = ()
    labels: ClassVar[Sequence[str]] = ()
    families: ClassVar[Sequence[str]] = ("bert",)


class MetricConformance(PluginChecks, MetricChecks):
    """Checks of a metric.

    Set `name`, and `perfect` and `worse`: `{"predictions": [...], "references": [...]}` each;
    `labels` where it asks for the names of the classes.
    """

    kind: ClassVar[Kind] = "metric"
    perfect: ClassVar[Mapping[str, Sequence[Any]]]
    worse: ClassVar[Mapping[str, Sequence[Any]]]
    labels: ClassVar[Sequence[str]] = ()


class ModelConformance(PluginChecks, ModelChecks):
    """Checks of a named pretrained model. Set `name`, and where it takes them `options`."""

    kind: ClassVar[Kind] = "model"


class TaskConformance(PluginChecks, DatasetChecks, HeadChecks, MetricChecks, TrainingChecks):
    """Checks of a task with its own dataset, head and metrics, and trainings of a few steps.

    Set `name`.

    `settings` are put on top of the quick ones the trainings have. `model` is the tiny family to
    train with; None: the task's own model.
    """

    kind: ClassVar[Kind] = "task"
    settings: ClassVar[Mapping[str, Any]] = {}
    model: ClassVar[str | None] = "bert"


class TrackerConformance(PluginChecks, TrackerChecks):
    """Checks of an experiment tracker. Set `name`; its environment variables should let it work
    here, without a server.
    """

    kind: ClassVar[Kind] = "tracker"
