"""What the built-in plugins register can be imported, called and used by the built-in tasks."""

import pytest

from ftr.config.resolve import resolve
from ftr.registry.registry import get_registry
from ftr.registry.specs import KINDS, TaskSpec
from ftr.registry.targets import is_metric_function

COMPONENTS = [
    (kind, entry.qualified)
    for kind in KINDS
    if kind != "task"
    for entry in get_registry().all(kind)
    if entry.plugin.builtin
]
TASKS = [entry.spec.name for entry in get_registry().all("task") if entry.plugin.builtin]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_target_of_every_built_in_component_imports_and_can_be_called(
    kind: str, name: str
) -> None:
    registry = get_registry()
    target = registry.target(kind, name)  # type: ignore[arg-type]
    assert callable(target)
    if kind in ("model", "head"):
        target(None)
    elif kind == "metric":
        assert is_metric_function(target)
    elif kind != "tracker":  # a run at a tracker is tried by the conformance kit
        assert callable(target().load)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_options_of_every_built_in_component_are_a_model_that_refuses_unknown_keys(
    kind: str, name: str
) -> None:
    options = get_registry().options_model(kind, name)  # type: ignore[arg-type]
    if options is not None:
        assert options.model_json_schema()["additionalProperties"] is False


@pytest.mark.parametrize("name", TASKS)
def test_a_built_in_task_resolves_with_no_further_setting(name: str) -> None:
    resolved = resolve([f"task={name}"], get_registry())
    spec = get_registry().task(name)
    assert isinstance(spec, TaskSpec)
    assert resolved.config.metrics[0] == spec.metrics[0]
    assert set(spec.search_space) == {"learning_rate", "batch_size", "epochs"}
