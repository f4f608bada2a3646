"""The JSON Schema describes what a configuration file may hold."""

from typing import Any

import pytest

from ftr.config.json_schema import json_schema
from ftr.config.keys import SECTIONS
from ftr.config.resolve import flat, resolve
from ftr.registry.registry import Registry

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")


def errors(schema: dict[str, Any], value: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [error.message for error in validator.iter_errors(value)]


@pytest.fixture
def schema(registry: Registry) -> dict[str, Any]:
    return json_schema(registry)


def test_the_schema_is_one_and_every_reference_holds(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "label" in schema["properties"]["head"]["anyOf"][0]["examples"]
    assert schema["properties"]["metrics"]["items"]["examples"] == ["accuracy", "f1", "acme:f1"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "task": "qa",
            "dataset": "a.csv",
            "batch_size": 8,
            "data": {"limit": 5},
            "metrics": ["f1"],
        },
        {"model": {"name": "small", "lora": {"rank": 2}}, "head": {"name": "label", "n_best": 3}},
        {
            "dataset": {"name": "a.csv", "text": "review", "label": 1},
            "trainer": {"adam_beta2": 0.9},
        },
    ],
)
def test_a_right_file_passes(schema: dict[str, Any], config: dict[str, Any]) -> None:
    assert errors(schema, config) == []


@pytest.mark.parametrize(
    "config",
    [
        {"epoch": 1},
        {"batch_size": 0},
        {"data": {"limt": 5}},
        {"head": {"name": "label", "n_best": 0}},
        {"head": {"name": "label", "n_bst": 1}},
        {"trainer": {"learning_rate": 1}},
        {"train": {"precision": "fp64"}},
    ],
)
def test_a_wrong_file_does_not(schema: dict[str, Any], config: dict[str, Any]) -> None:
    assert errors(schema, config)


def test_a_component_that_fails_says_so_and_hides_no_other(schema: dict[str, Any]) -> None:
    assert "not a pydantic model" in schema["$defs"]["head odd"]["description"]
    assert (
        "cannot be made: KeyError" in schema["$defs"]["dataset by path for broken"]["description"]
    )
    assert "text" in schema["$defs"]["dataset by path for label"]["properties"]


def test_a_task_gives_the_defaults(registry: Registry) -> None:
    resolved = resolve(["task=qa"], registry)
    schema = json_schema(registry, resolved)
    assert schema["properties"]["learning_rate"]["default"] == 2e-4
    assert schema["$defs"]["DataConfig"]["properties"]["max_length"]["default"] == 384
    assert schema["$defs"]["head label"]["properties"]["n_best"]["default"] == 10
    assert schema["properties"]["model"]["default"] == "small"
    assert errors(schema, {"dataset": {"name": "a.csv", "txt": "review"}})


def test_every_key_is_described(schema: dict[str, Any], registry: Registry) -> None:
    for key in flat(resolve(["task=qa"], registry).config):
        group, _, name = (
            key.rpartition(".") if key.rpartition(".")[0] in SECTIONS else key.partition(".")
        )
        properties = schema["$defs"].get(
            SECTIONS[group].__name__ if group in SECTIONS else "", schema
        )["properties"]
        assert (
            properties[name or group]["description"]
            if group in SECTIONS
            else schema["properties"][group]["description"]
        )
