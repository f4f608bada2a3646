"""A task with its components, and trainings of it that take seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.registry.specs import TaskSpec
from ftr.testing.contract import must_work
from ftr.testing.subjects.component import Component
from ftr.testing.subjects.dataset import DatasetSubject
from ftr.testing.subjects.head import HeadSubject
from ftr.testing.subjects.metric import MetricSubject
from ftr.testing.subjects.rows import chosen, texts

if TYPE_CHECKING:
    from ftr.config.resolve import Resolved
    from ftr.config.schema import RunConfig
    from ftr.registry.protocols import Head, Model
    from ftr.registry.registry import Registry
    from ftr.registry.specs import Kind
    from ftr.runs.run import RunResult
    from ftr.testing.tiny import TinyModels

Settings = Mapping[str, Any]

QUICK: Settings = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "data.limit": 24,
    "data.limit_validation": 12,
    "data.limit_test": 12,
    "data.max_length": 64,
    "train.precision": "fp32",
    "train.attention": "eager",
    "train.logging_steps": 1,
    "train.save_steps": 2,
}
"""Of the trainings: three steps an epoch, on a model that does not tell what is sensible for a real
one.
"""


class TaskSubject(Component):
    """A task, its components, and its trainings, each when it is first needed."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        settings: Settings,
        family: str | None,
        models: TinyModels,
        runs: Path,
    ) -> None:
        """`family` is the tiny model to train with; None: the task's own model."""
        super().__init__(registry, "task", name)
        self.settings, self.family, self.models, self.runs = settings, family, models, runs

    @property
    def task_spec(self) -> TaskSpec:
        """Its spec."""
        spec = self.spec
        if not isinstance(spec, TaskSpec):
            raise TypeError(f"`{self.name}` is registered with a `{type(spec).__name__}`")
        return spec

    @cached_property
    def components(self) -> list[Component]:
        """The task, and those of its components that come with it."""
        return [
            self,
            *(part for part in self.parts if part.plugin.distribution == self.plugin.distribution),
        ]

    @cached_property
    def parts(self) -> list[Component]:
        """Its dataset, model, head and metrics."""
        spec = self.task_spec
        named = [
            self._part("dataset", spec.dataset),
            self._part("model", spec.model),
            self._part("head", spec.head),
        ]
        return [*named, *(self._part("metric", name) for name in spec.metrics)]

    def _part(self, kind: Kind, name: str) -> Component:
        """Return a component that the spec names: one of the task's own plugin before others of
        that name, as in a run.
        """
        own = (
            entry
            for entry in self.registry.all(kind)
            if entry.plugin == self.plugin and entry.spec.name == name
        )
        prefix = f"{kind}."
        options = {
            key.removeprefix(prefix): value
            for key, value in self.task_spec.defaults.items()
            if key.startswith(prefix)
        }
        return Component(
            self.registry, kind, next((entry.qualified for entry in own), name), options
        )

    @cached_property
    def resolved(self) -> Resolved:
        """The configuration of its trainings."""
        from ftr.config.resolve import resolve

        with must_work(
            f"{self} resolves to a configuration",
            "mend `defaults` of the spec, or `settings` of this class",
        ):
            return resolve(
                {
                    **self.asked,
                    **({} if self.family is None else {"model": str(self.models[self.family])}),
                },
                self.registry,
            )

    @property
    def asked(self) -> dict[str, Any]:
        """The settings of its trainings, without the model."""
        return {"task": self.entry.qualified, **QUICK, **self.settings}

    @property
    def config(self) -> RunConfig:
        """The configuration of its trainings, whose model may know too few characters of these
        rows.
        """
        return self.resolved.config

    @cached_property
    def dataset(self) -> DatasetSubject:
        """Its dataset, with the head."""
        return DatasetSubject(
            self.registry, self.config.dataset.name, self.config.dataset.options, self._head
        )

    @cached_property
    def head(self) -> HeadSubject:
        """Its head, with rows of its dataset."""
        from ftr.data.prepare import prepare_rows
        from ftr.data.read import load_rows
        from ftr.model.components import encode_settings

        _ = self.dataset.splits  # or the check is skipped here
        config = self.config
        with must_work(
            f"the rows of the dataset of {self} can be used by its head",
            "mend the rows, or override `check` and set `columns` of the head",
        ):
            loaded = load_rows(
                config.dataset.name, config.dataset.options, self.registry, self._head.schema
            )
            prepared = prepare_rows(
                loaded, self._head, config.data.model_copy(update={"limit": None})
            )
        rows = chosen(prepared.splits["train"], self._head.schema)
        settings = encode_settings(config, self.model, prepared.labels, [])
        component = Component(self.registry, "head", config.head.name, config.head.options)
        return HeadSubject(
            component,
            self._head,
            rows,
            prepared.labels,
            self.model,
            (settings.max_length, settings.stride),
        )

    @cached_property
    def model(self) -> Model:
        """The model of its trainings: a tiny one that knows the characters of its rows, or its
        own.
        """
        from ftr.model.components import make_model
        from ftr.model.pretrained import Pretrained

        if self.family is None:
            return make_model(self.registry, self.config.model)
        return Pretrained(str(self._checkpoint))

    @cached_property
    def metrics(self) -> list[MetricSubject]:
        """Its metrics, with what a model answered before and after it learned some rows by
        heart.
        """
        head = self.head.head
        learned = self.head.learned
        untrained = self.head.decode(self.head.grouped(self.head.model), learned.state)
        with must_work(
            f"`score_inputs` of {self.head} returns predictions and references",
            self.head.advice("score_inputs", "return lists of one item for each row"),
        ):
            best, worse = (
                head.score_inputs(self.head.rows, given, self.head.labels)
                for given in (learned.predictions, untrained)
            )
        same = _alike(best["references"], best["predictions"])
        perfect = {**best, "predictions": best["references"]} if same else best
        return [
            MetricSubject(
                self.registry,
                name,
                perfect,
                worse,
                labels=self.head.labels,
                truly_perfect=same,
                truly_worse=False,
            )
            for name in self.config.metrics
        ]

    @cached_property
    def trained(self) -> RunResult:
        """A whole run in this process."""
        return self.run("whole")

    def run(self, place: str, **settings: object) -> RunResult:
        """Train and return the result; run directories go to `place`."""
        from ftr.study.study import run

        with must_work(
            f"{self} trains",
            "mend what the error names; `ftr run` with the same settings fails alike",
        ):
            return run(self.words(place, **settings), registry=self.registry, say=_unheard)

    def words(self, place: str, **settings: object) -> dict[str, Any]:
        """Return the settings of a training whose run directories go to `place`."""
        model = {} if self.family is None else {"model": str(self._checkpoint)}
        return {**self.asked, **model, "output": str(self.runs / place), **settings}

    @cached_property
    def _head(self) -> Head:
        from ftr.model.components import make_head

        with must_work(
            f"the head of {self} can be made", "mend the head, or its options in `defaults`"
        ):
            return make_head(self.registry, self.config.head)

    @cached_property
    def _checkpoint(self) -> Path:
        family = self.family or "bert"
        rows = [row for split in self.dataset.splits for row in self.dataset.rows(split)[:2000]]
        return self.models.knowing(family, texts(rows))


def _alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two lists hold the same kind of items, so that references can stand in for
    predictions.
    """
    return bool(one) and bool(other) and _shape(one[0]) == _shape(other[0])


def _shape(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, bool | int | float):
        return float
    return type(value)


def _unheard(line: str) -> None:
    """Say nothing."""
