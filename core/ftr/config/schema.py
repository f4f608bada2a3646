"""The configuration as JSON Schema: what a YAML file for `config=` may hold, options of components included."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ftr.config.components import KINDS, ComponentKind, Place, head_schema, options_model
from ftr.config.keys import SECTIONS
from ftr.config.models import RunConfig
from ftr.config.overrides import COMPONENTS
from ftr.config.resolve import Resolved, flat
from ftr.config.trainer import OWN_KEYS, SET_BY_FTR
from ftr.data.schema import RowSchema
from ftr.errors import FtrError
from ftr.registry import Registered, Registry

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
    """Return the JSON Schema of a configuration; with `resolved`, its values are the defaults and its head's columns are options.

    A component is its name, or a mapping of `name` and its options. One whose options cannot be loaded says so in its
    description.
    """
    schema = RunConfig.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    definitions.pop("Component")
    rows = _row_schemas(registry, resolved)
    for kind in KINDS:
        description = schema["properties"][kind]["description"]
        schema["properties"][kind] = {"description": description, "anyOf": _ways(kind, registry, rows, definitions)}
    _say_names(schema, registry)
    schema.pop("required", None)
    if resolved is not None:
        _set_defaults(schema, resolved)
    return {"$schema": DIALECT, "$id": "ftr-run-config", **schema}


def _row_schemas(registry: Registry, resolved: Resolved | None) -> dict[str, RowSchema | str]:
    """Return the columns of each head (made with its default options), or why it has none: files have options named after them."""
    if resolved is not None:
        return {resolved.config.head.name: resolved.schema}
    found: dict[str, RowSchema | str] = {}
    for entry in registry.all("head"):
        name = _asked(entry)
        try:
            model = options_model("head", "registered", name, registry, None)
            found[name] = head_schema(name, model() if model is not None else None, registry)
        except (FtrError, ValueError) as error:
            found[name] = str(error)
    return found


def _ways(
    kind: ComponentKind, registry: Registry, rows: Mapping[str, RowSchema | str], definitions: dict[str, Any]
) -> list[dict[str, Any]]:
    entries = registry.all(kind)
    ways: list[dict[str, Any]] = [{"type": "string", "examples": [_asked(entry) for entry in entries]}]
    named = {f"{kind} {_asked(entry)}": _registered(kind, entry, registry, definitions) for entry in entries}
    for place, description in OTHERS[kind]:
        for head, row_schema in rows.items() if kind == "dataset" else [("", None)]:
            title = f"{kind} by {place}" + (f" for {head}" if head else "")
            if isinstance(row_schema, str):
                named[title] = {"type": "object", "properties": {"name": {"type": "string"}}, "description": row_schema}
                continue
            model = options_model(kind, place, "", registry, row_schema)
            named[title] = {**_object(model, title, {"type": "string"}, definitions), "description": description}
    definitions |= named
    return ways + [{"$ref": f"#/$defs/{_escaped(title)}"} for title in named]


def _registered(kind: ComponentKind, entry: Registered, registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    name = _asked(entry)
    try:
        model = options_model(kind, "registered", name, registry, None)
        described = _object(model, f"{kind} {name}", {"const": name}, definitions)
    except FtrError as error:
        return {"type": "object", "properties": {"name": {"const": name}}, "description": str(error)}
    return {**described, "description": entry.spec.summary}


def _object(model: type[BaseModel] | None, title: str, name: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a component's mapping, its inner definitions moved to the top under names of their own."""
    schema: dict[str, Any] = {"properties": {}}
    if model is not None:
        schema = model.model_json_schema(ref_template=f"#/$defs/{_escaped(title)} {{model}}")
        definitions.update({f"{title} {inner}": value for inner, value in schema.pop("$defs", {}).items()})
    properties = {"name": name, **schema["properties"]} if "properties" in schema else {"name": name}
    required = ["name", *schema.get("required", [])]
    extra = schema.get("additionalProperties", False)
    return {"title": title, "type": "object", "properties": properties, "required": required, "additionalProperties": extra}


def _say_names(schema: dict[str, Any], registry: Registry) -> None:
    properties = schema["properties"]
    properties["task"]["examples"] = [_asked(entry) for entry in registry.all("task")]
    properties["metrics"]["items"]["examples"] = [_asked(entry) for entry in registry.all("metric")]
    properties["trainer"]["propertyNames"] = {"not": {"enum": sorted({*OWN_KEYS, *SET_BY_FTR})}}


def _set_defaults(schema: dict[str, Any], resolved: Resolved) -> None:
    """Make the resolved values the defaults. A section's properties stand in its own definition."""
    for key, value in flat(resolved.config).items():
        group, _, name = key.rpartition(".") if key.rpartition(".")[0] in SECTIONS else key.partition(".")
        if not group or not name:
            schema["properties"][key]["default"] = value
        elif group in SECTIONS:
            schema["$defs"][SECTIONS[group].__name__]["properties"][name]["default"] = value
        elif group in COMPONENTS:
            _component_default(schema["$defs"], group, resolved, name, value)


def _component_default(definitions: dict[str, Any], kind: str, resolved: Resolved, option: str, value: object) -> None:
    named = f"{kind} {getattr(resolved.config, kind).name}"
    properties = definitions.get(named, {}).get("properties", {})
    if option in properties:
        properties[option]["default"] = value


def _asked(entry: Registered) -> str:
    return entry.spec.name if entry.bare_name == "reachable" else entry.qualified


def _escaped(name: str) -> str:
    """Escape for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
