"""The configuration of a run and of a sweep as JSON Schema, component options included."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ftr.config.components import KINDS, SECTIONS, ComponentKind, Place, head_schema, options_model
from ftr.config.parse import COMPONENTS, SWEEP
from ftr.config.resolve import Resolved, flat
from ftr.config.schema import RunConfig, SweepConfig
from ftr.config.space import FUNCTIONS, LISTS
from ftr.config.sweep import ONE_FOR_ALL
from ftr.config.trainer import OWN_KEYS, SET_BY_FTR
from ftr.errors import FtrError
from ftr.registry.registry import Registered, Registry
from ftr.registry.schema import RowSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OTHERS: Mapping[ComponentKind, tuple[tuple[Place, str], ...]] = {
    "dataset": (
        ("path", "A file, a folder of splits, or `files` with `train`, `validation`, `test`."),
        ("hub", "`hub:owner/name[:config]`."),
    ),
    "model": (("path", "A checkpoint directory or a Hub id."),),
    "head": (),
}


def json_schema(registry: Registry, resolved: Resolved | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a configuration; with `resolved`, its values are the defaults and
    its head's columns are options.

    A component is its name, or a mapping of `name` and its options. One whose options cannot be
    loaded says so in its description.
    """
    schema = RunConfig.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    definitions.pop("Component")
    rows = _row_schemas(registry, resolved)
    for kind in KINDS:
        description = schema["properties"][kind]["description"]
        schema["properties"][kind] = {
            "description": description,
            "anyOf": _ways(kind, registry, rows, definitions),
        }
    _say_names(schema, registry)
    schema.pop("required", None)
    if resolved is not None:
        _set_defaults(schema, resolved)
    return {"$schema": DIALECT, "$id": "ftr-run-config", **schema}


def _row_schemas(registry: Registry, resolved: Resolved | None) -> dict[str, RowSchema | str]:
    """Return the columns of each head (made with its default options), or why it has none: files
    have options named after them.
    """
    if resolved is not None:
        return {resolved.config.head.name: resolved.schema}
    found: dict[str, RowSchema | str] = {}
    for entry in registry.all("head"):
        name = entry.short_name
        try:
            model = options_model("head", "registered", name, registry, None)
            found[name] = head_schema(name, model() if model is not None else None, registry)
        except (FtrError, ValueError) as error:
            found[name] = str(error)
    return found


def _ways(
    kind: ComponentKind,
    registry: Registry,
    rows: Mapping[str, RowSchema | str],
    definitions: dict[str, Any],
) -> list[dict[str, Any]]:
    entries = registry.all(kind)
    ways: list[dict[str, Any]] = [
        {"type": "string", "examples": [entry.short_name for entry in entries]}
    ]
    named = {
        f"{kind} {entry.short_name}": _registered(kind, entry, registry, definitions)
        for entry in entries
    }
    for place, description in OTHERS[kind]:
        for head, row_schema in rows.items() if kind == "dataset" else [("", None)]:
            title = f"{kind} by {place}" + (f" for {head}" if head else "")
            if isinstance(row_schema, str):
                named[title] = {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "description": row_schema,
                }
                continue
            model = options_model(kind, place, "", registry, row_schema)
            named[title] = {
                **_object(model, title, {"type": "string"}, definitions),
                "description": description,
            }
    definitions |= named
    return ways + [{"$ref": f"#/$defs/{_escaped(title)}"} for title in named]


def _registered(
    kind: ComponentKind, entry: Registered, registry: Registry, definitions: dict[str, Any]
) -> dict[str, Any]:
    name = entry.short_name
    try:
        model = options_model(kind, "registered", name, registry, None)
        described = _object(model, f"{kind} {name}", {"const": name}, definitions)
    except FtrError as error:
        return {
            "type": "object",
            "properties": {"name": {"const": name}},
            "description": str(error),
        }
    return {**described, "description": entry.spec.summary}


def _object(
    model: type[BaseModel] | None, title: str, name: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Return the schema of a component's mapping, its inner definitions moved to the top under
    names of their own.
    """
    schema: dict[str, Any] = {"properties": {}}
    if model is not None:
        schema = model.model_json_schema(ref_template=f"#/$defs/{_escaped(title)} {{model}}")
        definitions.update(
            {f"{title} {inner}": value for inner, value in schema.pop("$defs", {}).items()}
        )
    properties = (
        {"name": name, **schema["properties"]} if "properties" in schema else {"name": name}
    )
    required = ["name", *schema.get("required", [])]
    extra = schema.get("additionalProperties", False)
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": extra,
    }


def _say_names(schema: dict[str, Any], registry: Registry) -> None:
    properties = schema["properties"]
    properties["task"]["examples"] = [entry.short_name for entry in registry.all("task")]
    properties["metrics"]["items"]["examples"] = [
        entry.short_name for entry in registry.all("metric")
    ]
    properties["trainer"]["propertyNames"] = {"not": {"enum": sorted({*OWN_KEYS, *SET_BY_FTR})}}


def _set_defaults(schema: dict[str, Any], resolved: Resolved) -> None:
    """Make the resolved values the defaults. A section's properties stand in its own definition."""
    for key, value in flat(resolved.config).items():
        group, _, name = (
            key.rpartition(".") if key.rpartition(".")[0] in SECTIONS else key.partition(".")
        )
        if not group or not name:
            schema["properties"][key]["default"] = value
        elif group in SECTIONS:
            schema["$defs"][SECTIONS[group].__name__]["properties"][name]["default"] = value
        elif group in COMPONENTS:
            _component_default(schema["$defs"], group, resolved, name, value)


def _component_default(
    definitions: dict[str, Any], kind: str, resolved: Resolved, option: str, value: object
) -> None:
    named = f"{kind} {getattr(resolved.config, kind).name}"
    properties = definitions.get(named, {}).get("properties", {})
    if option in properties:
        properties[option]["default"] = value


def _escaped(name: str) -> str:
    """Escape for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


SPACE = "search space"
_FIXED_DEFINITIONS = ("ComputeConfig", SPACE)


def sweep_schema(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a sweep from `json_schema(…)` of a run."""
    own = SweepConfig.model_json_schema()["properties"]
    definitions = {
        name: definition
        if name in _FIXED_DEFINITIONS or "properties" not in definition
        else _searchable(definition)
        for name, definition in run["$defs"].items()
    }
    definitions[SPACE] = _expression()
    properties = _searchable(run)["properties"]
    together = {
        "type": "object",
        "description": "The keys of the sweep, together.",
        "properties": own,
        "additionalProperties": False,
    }
    return {
        **run,
        "$id": "ftr-sweep-config",
        "title": "SweepConfig",
        "$defs": definitions,
        "properties": {**properties, **own, SWEEP: together},
    }


def _searchable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of the schema whose properties may each be an expression instead; a group of
    keys is none itself.
    """
    properties = {
        name: inner
        if name in (*ONE_FOR_ALL, "name", "trainer") or _is_group(inner)
        else _or_expression(inner)
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
    return {
        "type": "array",
        "items": {"type": "number"},
        "minItems": count,
        "maxItems": count,
        "description": description,
    }
