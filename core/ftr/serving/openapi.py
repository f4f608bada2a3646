"""`/openapi.json`: the service in OpenAPI 3.1, written from the columns of its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftr.registry.discovery import own_version
from ftr.serving.requests import Limits

JSON = "application/json"
REASONS = {
    "400": "The body is not JSON, or a parameter is wrong.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model.",
    "413": "The body, its rows or its texts are too large.",
    "415": "The body is not `application/json`.",
    "422": "No row can be used; the body is that of a request of one row, or has a record a row.",
    "429": "Too many requests wait. Try again after `Retry-After` seconds.",
    "503": "The service starts or stops, or a replica was lost. Try again.",
}
_TEXT = {"type": "string"}
_CELLS: Mapping[str, dict[str, Any]] = {
    "text": _TEXT,
    "tokens": {"oneOf": [{"type": "array", "items": _TEXT, "minItems": 1}, _TEXT]},
    "number": {"type": "number"},
}


def document(
    models: Mapping[str, dict[str, Any]], limits: Limits, *, token: bool
) -> dict[str, Any]:
    """Return the document for models, which are described as `GET /models` does."""
    paths = {f"/models/{name}/predict": _operation(about, limits) for name, about in models.items()}
    every = [_row(about) for about in models.values()]
    if len(models) == 1:
        paths["/predict"] = _operation(next(iter(models.values())), limits)
    elif models:
        paths["/predict"] = _operation(None, limits, sorted(models), every)
    for path, summary in {
        "/health": "200 while the process lives",
        "/ready": "200 while requests are answered, else 503",
        "/models": "The models and the columns of their rows",
        "/metrics": "Counters for Prometheus",
    }.items():
        paths[path] = {"get": {"summary": summary, "responses": {"200": {"description": "OK"}}}}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ftr serve", "version": own_version()},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }
    if token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        for path in ("/health", "/ready"):
            paths[path]["get"]["security"] = []
    return found


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"id": _TEXT, "error": {"type": "string", "description": "the reason"}},
}


def _operation(
    about: dict[str, Any] | None,
    limits: Limits,
    names: list[str] | None = None,
    rows: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    row = {"anyOf": rows} if about is None else _row(about)
    answer = {"type": "object"} if about is None else _answer(about)
    record = {"anyOf": [answer, {"$ref": "#/components/schemas/Error"}]}
    parameters = [
        _parameter("abstain_below", {"type": "number", "minimum": 0, "maximum": 1}),
        _parameter("top_k", {"type": "integer", "minimum": 1}),
    ]
    if names:
        parameters.append({**_parameter("model", {"enum": names}), "required": True})
    return {
        "post": {
            "summary": "Predict a row, or a list of rows",
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": _one_or_many(row, maxItems=limits.rows, minItems=1)}},
            },
            "responses": {
                "200": {
                    "description": "A record for each row, in order: a prediction, or the `error` "
                    "of a row that cannot be used",
                    "content": {JSON: {"schema": _one_or_many(record)}},
                },
                **{status: {"description": reason} for status, reason in REASONS.items()},
            },
        }
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _one_or_many(item: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"oneOf": [item, {"type": "array", "items": item, **limits}]}


def _row(about: dict[str, Any]) -> dict[str, Any]:
    columns = about["columns"]
    required = [column["name"] for column in columns if column["required"]]
    row = {
        "type": "object",
        "description": "Other names that a column may have: "
        + "; ".join(
            f"{column['name']}: {', '.join(column['aliases'])}"
            for column in columns
            if column["aliases"]
        ),
        "properties": {
            "id": {},
            **{column["name"]: _CELLS.get(column["type"], {}) for column in columns},
        },
    }
    # A plain text stands for the one column that is needed.
    return {"oneOf": [row, _TEXT]} if len(required) == 1 else {**row, "required": required}


def _answer(about: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a prediction, from one of this model."""
    example = about["example"] or {}
    return {
        "type": "object",
        "properties": {key: _kind(value) for key, value in example.items()},
        "examples": [example],
    }


def _kind(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": ["number", "null"]}
    if isinstance(value, str):
        return {"type": ["string", "null"]}
    if isinstance(value, Mapping):
        return {"type": ["object", "null"]}
    return {"type": ["array", "null"]} if isinstance(value, (list, tuple)) else {}
