"""The configuration of a run and of a sweep as JSON Schema, component options included."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ftr.config.components import Source, head_schema, options_model
from ftr.config.keys import SECTIONS
from ftr.config.parse import COMPONENTS, SWEEP, ComponentKind
from ftr.config.resolve import Resolved, flat
from ftr.config.schema import Component, RunConfig, SweepConfig
from ftr.config.space import FUNCTIONS, LISTS
from ftr.config.sweep import ONE_FOR_ALL
from ftr.config.trainer import OWN_KEYS, SET_BY_FTR
from ftr.errors import FtrError
from ftr.registry.registry import Registry
from ftr.registry.schema import RowSchema
from ftr.registry.specs import Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OTHERS: Mapping[ComponentKind, tuple[tuple[Source, str], ...]] = {
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

    A component is its name, or a mapping of `name` and its options. The description of one whose
    options cannot be loaded gives the error.
    """
    schema = RunConfig.model_json_schema()
    definitions, properties = schema["$defs"], schema["properties"]
    definitions.pop("Component")
    rows = _row_schemas(registry, resolved)
    for kind in COMPONENTS:
        forms = _forms(kind, registry, rows, definitions)
        definitions |= forms
        names = {"type": "string", "examples": _names(registry, kind)}
        references = [{"$ref": f"#/$defs/{_escaped(title)}"} for title in forms]
        description = properties[kind]["description"]
        properties[kind] = {"description": description, "anyOf": [names, *references]}
    properties["task"]["examples"] = _names(registry, "task")
    properties["metrics"]["items"]["examples"] = _names(registry, "metric")
    properties["trainer"]["propertyNames"] = {"not": {"enum": sorted({*OWN_KEYS, *SET_BY_FTR})}}
    schema.pop("required", None)
    if resolved is not None:
        _set_defaults(schema, resolved)
    return {"$schema": DIALECT, "$id": "ftr-run-config", **schema}


def _names(registry: Registry, kind: Kind) -> list[str]:
    return [entry.short_name for entry in registry.all(kind)]


def _row_schemas(registry: Registry, resolved: Resolved | None) -> dict[str, RowSchema | str]:
    """Return the columns of each head (created with its default options), or the error."""
    if resolved is not None:
        return {resolved.config.head.name: resolved.schema}
    found: dict[str, RowSchema | str] = {}
    for name in _names(registry, "head"):
        try:
            model = options_model("head", "registered", name, registry, None)
            found[name] = head_schema(name, model() if model is not None else None, registry)
        except (FtrError, ValueError) as error:
            found[name] = str(error)
    return found


def _forms(
    kind: ComponentKind,
    registry: Registry,
    rows: Mapping[str, RowSchema | str],
    definitions: dict[str, Any],
) -> dict[str, Any]:
    """Return the schema of each mapping that describes a component of this kind, by title: one for
    each registered component, and for others by source; files have options by head.

    Their inner definitions go to `definitions`.
    """
    text = {"type": "string"}
    forms = {}
    for entry in registry.all(kind):
        name, title = entry.short_name, f"{kind} {entry.short_name}"
        try:
            model = options_model(kind, "registered", name, registry, None)
            forms[title] = _form(model, title, {"const": name}, definitions)
            forms[title] |= {"description": entry.spec.summary}
        except FtrError as error:
            forms[title] = _unusable({"const": name}, error)
    for source, description in OTHERS[kind]:
        for head, columns in rows.items() if kind == "dataset" else [("", None)]:
            title = f"{kind} by {source}" + (f" for {head}" if head else "")
            if isinstance(columns, str):
                forms[title] = _unusable(text, columns)
                continue
            model = options_model(kind, source, "", registry, columns)
            forms[title] = _form(model, title, text, definitions) | {"description": description}
    return forms


def _unusable(name: dict[str, Any], error: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"name": name}, "description": str(error)}


def _form(
    model: type[BaseModel] | None, title: str, name: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    if model is not None:
        schema = model.model_json_schema(ref_template=f"#/$defs/{_escaped(title)} {{model}}")
        inner = schema.get("$defs", {})
        definitions.update({f"{title} {own}": value for own, value in inner.items()})
    return {
        "title": title,
        "type": "object",
        "properties": {"name": name, **schema.get("properties", {})},
        "required": ["name", *schema.get("required", [])],
        "additionalProperties": schema.get("additionalProperties", False),
    }


def _set_defaults(schema: dict[str, Any], resolved: Resolved) -> None:
    """Make the resolved values the defaults. The properties of a section are in its definition."""
    definitions = schema["$defs"]
    for key, value in flat(resolved.config).items():
        group, _, name = key.rpartition(".")
        if not group:
            properties, name = schema["properties"], key
        elif group in SECTIONS:
            properties = definitions[SECTIONS[group].__name__]["properties"]
        else:
            kind, _, name = key.partition(".")
            component = getattr(resolved.config, kind)
            title = f"{kind} {component.name}" if isinstance(component, Component) else ""
            properties = definitions.get(title, {}).get("properties", {})
        if name in properties:
            properties[name]["default"] = value


def _escaped(name: str) -> str:
    """Escape for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


SPACE = "search space"


def sweep_schema(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a sweep from `json_schema(…)` of a run."""
    own = SweepConfig.model_json_schema()["properties"]
    grouped = {
        "type": "object",
        "description": "The keys of the sweep, as a group.",
        "properties": own,
        "additionalProperties": False,
    }
    definitions = {
        name: definition if name == "ComputeConfig" else _searchable(definition)
        for name, definition in run["$defs"].items()
    }
    return {
        **run,
        "$id": "ftr-sweep-config",
        "title": "SweepConfig",
        "$defs": {**definitions, SPACE: _expression()},
        "properties": {**_searchable(run)["properties"], **own, SWEEP: grouped},
    }


def file_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of `ftr.yaml`, for editors: that of a sweep, whose group `sweep` holds what
    is searched too, with keys also dotted (`data.limit`).
    """
    schema = sweep_schema(json_schema(registry))
    properties: dict[str, Any] = schema["properties"]
    group = properties.pop(SWEEP)
    for name, section in SECTIONS.items():
        own = schema["$defs"][section.__name__]["properties"]
        properties |= {f"{name}.{key}": value for key, value in own.items()}
    open_groups: dict[str, Any] = {rf"^({'|'.join((*COMPONENTS, 'trainer', SWEEP))})\.": {}}
    grouped = {**group, "properties": dict(properties), "patternProperties": open_groups}
    return {
        **schema,
        "$id": "ftr-yaml",
        "title": "ftr.yaml",
        "properties": {**properties, SWEEP: grouped},
        "patternProperties": open_groups,
    }


def _searchable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Let each property of an object be an expression too, unless it is a group of keys."""
    properties = {
        name: inner
        if name in (*ONE_FOR_ALL, "name", "trainer") or _is_group(inner)
        else _or_expression(inner)
        for name, inner in definition.get("properties", {}).items()
    }
    return {**definition, **({"properties": properties} if properties else {})}


def _is_group(schema: Mapping[str, Any]) -> bool:
    return schema.get("$ref") in {f"#/$defs/{section.__name__}" for section in SECTIONS.values()}


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
    schema = {"type": "array", "description": description, "minItems": 1}
    if name in LISTS:
        return schema
    count = len(arguments)
    return {**schema, "items": {"type": "number"}, "minItems": count, "maxItems": count}
