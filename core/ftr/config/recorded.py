"""A configuration read back from a record: its secrets, which no record holds, and keys of versions that this one is not."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ftr.config.models import RunConfig
from ftr.config.validate import sentence
from ftr.discovery import own_version
from ftr.errors import ConfigError
from ftr.masking import MASK, unmasked

M = TypeVar("M", bound=BaseModel)


def recorded_config(record: Mapping[str, Any], file: Path | str, *, unused: Collection[str] = ()) -> RunConfig:
    """Return the configuration that a record of a run or sweep holds, with the secrets that this process was given.

    Raises `ConfigError` naming `file`, key and version for a key this version does not know, and each secret that is lacking,
    unless it stands in a group that is `unused`.
    """
    config = record.get("config")
    values, lost = unmasked(config) if isinstance(config, Mapping) else ({}, [])
    if lost := [key for key in lost if key.partition(".")[0] not in unused]:
        words = " ".join(f"{key}=…" for key in lost)
        raise ConfigError(f"`{file}` holds no secrets, only `{MASK}`: give again what it was begun with: `{words}`.")
    return recorded_model(RunConfig, values, record, file)


def recorded_model(model: type[M], values: object, record: Mapping[str, Any], file: Path | str) -> M:
    """Return `model` from the values in a record. Raises `ConfigError` as `recorded_config` does."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_fault(error, record, file)) from None


def check_fields(known: Iterable[str], values: Mapping[str, Any], record: Mapping[str, Any], file: Path | str) -> None:
    """Raise `ConfigError` for a key of a record that this version does not know."""
    strange = [name for name in values if name not in set(known)]
    if strange:
        raise ConfigError(_unknown(strange[0], record, file))


def _fault(error: ValidationError, record: Mapping[str, Any], file: Path | str) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return _unknown(key, record, file)
    return f"`{file}`: `{key}` cannot be used: {sentence(first['msg'])}. {_version(record)}."


def _unknown(key: str, record: Mapping[str, Any], file: Path | str) -> str:
    return f"`{file}`: ftr {own_version()} does not know the key `{key}`. {_version(record)}."


def _version(record: Mapping[str, Any]) -> str:
    written = record.get("ftr")
    if isinstance(written, str) and written and written != own_version():
        return f"ftr {written} wrote the file: use that version (`pip install ftr=={written}`), or restore the file"
    return "This version wrote the file, and it was changed since: restore the file"
