"""The conformance kit for plugin authors: a pytest plugin with fixtures, and classes of checks to
inherit from.

In `conftest.py`:

    pytest_plugins = ["ftr.testing"]

In a test module, a class for what the plugin adds:

    from ftr.testing import TaskConformance


    class TestToxicity(TaskConformance):
        name = "toxicity"

Every check is a test of its own, named after what must hold. One that fails says in a single
message what the contract is, what was found, and what to change; one that does not apply is skipped
with the reason.
"""

from ftr.testing.conformance import (
    DatasetConformance,
    HeadConformance,
    MetricConformance,
    ModelConformance,
    TaskConformance,
    TrackerConformance,
)
from ftr.testing.fixtures import (
    ftr_components,
    ftr_dataset,
    ftr_family,
    ftr_head,
    ftr_metrics,
    ftr_model,
    ftr_ray,
    ftr_registry,
    ftr_runs,
    ftr_task,
    ftr_tiny_models,
    pytest_generate_tests,
)

__all__ = [
    "DatasetConformance",
    "HeadConformance",
    "MetricConformance",
    "ModelConformance",
    "TaskConformance",
    "TrackerConformance",
    "ftr_components",
    "ftr_dataset",
    "ftr_family",
    "ftr_head",
    "ftr_metrics",
    "ftr_model",
    "ftr_ray",
    "ftr_registry",
    "ftr_runs",
    "ftr_task",
    "ftr_tiny_models",
    "pytest_generate_tests",
]
