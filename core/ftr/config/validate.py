"""Pydantic's checks, with errors that name the key as it was written, where it came from, and what would do."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftr.config.overrides import COMPONENTS, Setting
from ftr.errors import ConfigError
from ftr.masking import MASK, is_secret

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)
LONGEST_SHOWN = 60


def validated(model: type[M], values: dict[str, Any], settings: Mapping[str, Setting], prefix: str = "") -> M:
    """Return `model` made of `values`. Raises `ConfigError` that names every wrong key (`prefix` + field) and its origin.

    Where the model wants text and YAML made a number of it (`output=2024`), the word as typed is taken.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        repaired, again = _with_words(values, error, settings, prefix), error
    if repaired is not None:
        try:
            return model.model_validate(repaired)
        except ValidationError as error:
            again = error
    raise ConfigError("\n".join(_messages(again, values, settings, prefix)))


def _with_words(values: dict[str, Any], error: ValidationError, settings: Mapping[str, Setting], prefix: str) -> dict[str, Any] | None:
    repaired = None
    for detail in error.errors():
        path = [str(part) for part in detail["loc"]]
        setting = settings.get(_key(prefix, path))
        if detail["type"] == "string_type" and setting is not None and setting.word:
            repaired = _replace(values if repaired is None else repaired, path, setting.word)
    return repaired


def _replace(values: dict[str, Any], path: list[str], word: str) -> dict[str, Any]:
    """Return a copy of nested `values` with `word` at `path`."""
    first, *rest = path
    return {**values, first: _replace(values[first], rest, word) if rest else word}


def _messages(error: ValidationError, values: object, settings: Mapping[str, Setting], prefix: str) -> list[str]:
    """One line per key: a union (`int` or `"auto"`) reports each of its members."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        grouped.setdefault(_key(prefix, _known_path(values, detail)), []).append(detail)
    return [_message(key, details, settings) for key, details in grouped.items()]


def _message(key: str, details: "list[ErrorDetails]", settings: Mapping[str, Setting]) -> str:
    first = details[0]
    text = sentence(first["msg"])
    if "`" in text:
        return f"{text}{_origins_of(text, settings)}."
    setting = settings.get(key)
    origin = f" ({setting.origin})" if setting is not None else ""
    if first["type"] == "missing":
        return f"`{key}` is required: set `{key}=...`."
    if first["type"] == "extra_forbidden":
        return f"`{key}`{origin} is unknown."
    wanted = " or ".join(dict.fromkeys(sentence(detail["msg"]) for detail in details))
    found = MASK if is_secret(key) else "empty" if setting is not None and setting.word == "" else shown(first["input"])
    return f"`{key}` is {found}{origin}: {wanted}."


def shown(value: object) -> str:
    """Return a value for a message: short, strings in quotes."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def sentence(message: str) -> str:
    """Return pydantic's message so that it can follow a colon."""
    plain = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return re.sub(r"^(Input|Value|String|List|Tuple) should", "it should", plain)


def _origins_of(text: str, settings: Mapping[str, Setting]) -> str:
    named = [f"`{key}`: {settings[key].origin}" for key in dict.fromkeys(re.findall(r"`([\w.]+)`", text)) if key in settings]
    return f" ({', '.join(named)})" if named else ""


def _known_path(values: object, detail: "ErrorDetails") -> list[str]:
    """Cut the names that pydantic adds for the members of a union."""
    path: list[str] = []
    for part in detail["loc"]:
        inside = values if isinstance(values, Mapping) else dict(enumerate(values)) if isinstance(values, list | tuple) else {}
        if part not in inside:
            return [*path, str(part)] if detail["type"] in ("missing", "extra_forbidden") else path
        values = inside[part]
        path.append(str(part))
    return path


def _key(prefix: str, path: list[str]) -> str:
    if not prefix and path[1:] == ["name"] and path[0] in COMPONENTS:
        path = path[:1]
    return prefix + ".".join(path)
