"""What plugin authors import: a base class for heads, `@task`, columns, options and the specs.

Nothing heavy is imported before it is used. What is in `__all__` changes only with a deprecation
that names the plugin, the attribute and the release in which it goes.

    from ftr.plugin import task


    def urgent_recall(predictions, references, labels):
        urgent = labels.index("urgent")
        found = [one == urgent for one, true in zip(predictions, references) if true == urgent]
        return sum(found) / len(found) if found else 0.0


    @task("tickets", metrics=[urgent_recall, "accuracy"], defaults={"epochs": 2})
    def tickets(limit: int = 100):
        return [{"text": "The server is down!", "label": "urgent"}, ...]
"""

from typing import TYPE_CHECKING

from ftr.errors import ConfigError, DataError, ModelError
from ftr.plugin.head import Head
from ftr.plugin.model import Model
from ftr.plugin.tasks import task
from ftr.registry.additive import additive
from ftr.registry.protocols import (
    EncodeSettings,
    Feature,
    Outcome,
    Point,
    Prediction,
    Row,
    State,
    TrackedRun,
)
from ftr.registry.schema import Column, RowSchema
from ftr.registry.specs import (
    DatasetSpec,
    HeadSpec,
    MetricSpec,
    ModelSpec,
    TaskSpec,
    TrackerSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from ftr.plugin.options import Options
    from ftr.train.batches import pad

__all__ = [
    "Column",
    "ConfigError",
    "DataError",
    "DatasetSpec",
    "EncodeSettings",
    "Feature",
    "Head",
    "HeadSpec",
    "MetricSpec",
    "Model",
    "ModelError",
    "ModelSpec",
    "Options",
    "Outcome",
    "Point",
    "Prediction",
    "Row",
    "RowSchema",
    "State",
    "TaskSpec",
    "TrackedRun",
    "TrackerSpec",
    "additive",
    "hookimpl",
    "pad",
    "task",
]

_LAZY = {"Options": "ftr.plugin.options", "pad": "ftr.train.batches"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module `ftr.plugin` has no attribute `{name}`")
