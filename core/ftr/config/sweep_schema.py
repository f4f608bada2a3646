"""A sweep's configuration as JSON Schema: that of a run, its values or expressions in their place, and the sweep's own keys."""

from collections.abc import Mapping
from typing import Any

from ftr.config.dimension import FUNCTIONS, LISTS
from ftr.config.overrides import SWEEP
from ftr.config.sweep import ONE_FOR_ALL
from ftr.config.sweep_keys import SweepConfig

SPACE = "search space"
_FIXED_DEFINITIONS = ("ComputeConfig", SPACE)


def sweep_schema(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a sweep from `json_schema(…)` of a run."""
    own = SweepConfig.model_json_schema()["properties"]
    definitions = {
        name: definition if name in _FIXED_DEFINITIONS or "properties" not in definition else _searchable(definition)
        for name, definition in run["$defs"].items()
    }
    definitions[SPACE] = _expression()
    properties = _searchable(run)["properties"]
    together = {"type": "object", "description": "The keys of the sweep, together.", "properties": own, "additionalProperties": False}
    return {
        **run,
        "$id": "ftr-sweep-config",
        "title": "SweepConfig",
        "$defs": definitions,
        "properties": {**properties, **own, SWEEP: together},
    }


def _searchable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of the schema whose properties may each be an expression instead; a group of keys is none itself."""
    properties = {
        name: inner if name in (*ONE_FOR_ALL, "name", "trainer") or _is_group(inner) else _or_expression(inner)
        for name, inner in definition["properties"].items()
    }
    return {**definition, "properties": properties}


def _is_group(schema: Mapping[str, Any]) -> bool:
    return str(schema.get("$ref", "")).endswith("Config")


def _or_expression(schema: Mapping[str, Any]) -> dict[str, Any]:
    outside = {key: schema[key] for key in ("description", "default", "title") if key in schema}
    inside = {key: value for key, value in schema.items() if key not in outside}
    return {**outside, "anyOf": [inside, {"$ref": f"#/$defs/{SPACE}"}]}


def _expression() -> dict[str, Any]:
    calls = [f"{name}({','.join(arguments)})" for name, (arguments, _) in FUNCTIONS.items()]
    return {
        "description": f"What to search: {', '.join(calls)}.",
        "anyOf": [
            {"type": "string", "pattern": rf"^\s*({'|'.join(FUNCTIONS)})\s*\(.*\)\s*$"},
            {
                "type": "object",
                "properties": {name: _arguments(name) for name in FUNCTIONS},
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ],
    }


def _arguments(name: str) -> dict[str, Any]:
    arguments, description = FUNCTIONS[name]
    if name in LISTS:
        return {"type": "array", "minItems": 1, "description": description}
    count = len(arguments)
    return {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count, "description": description}
