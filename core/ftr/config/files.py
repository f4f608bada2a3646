"""Read a file of settings, YAML or TOML, as a mapping; every fault names the file and the fix."""

import tomllib
from pathlib import Path
from typing import Any

import yaml

from ftr.config.values import LARGEST, read_yaml
from ftr.errors import ConfigError, did_you_mean
from ftr.paths import no_file

_LARGEST_TOML = 10_000_000


def read_mapping(path: Path, what: str = "") -> dict[Any, Any]:
    """Return the keys of a YAML file; an empty one has none.

    Raises `ConfigError` that begins with `what` and names file, line and column.
    """
    text = read_text(path, what)
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what}`{path}` is not YAML: {problem(error)}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{what}`{path}` holds a {type(values).__name__}, not keys: write lines such as "
            "`epochs: 3`."
        )
    return values


def read_toml(path: Path, mentions: str) -> dict[str, Any]:
    """Return what a TOML file holds, without parsing one that does not mention a word.

    Raises `ConfigError`.
    """
    text = read_text(path, limit=_LARGEST_TOML)
    if mentions not in text:
        return {}
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"`{path}` is not TOML: {error}.") from None


def read_text(path: Path, what: str = "", *, limit: int = LARGEST + 1) -> str:
    """Return the text of a UTF-8 file, at most `limit` characters; raises `ConfigError`."""
    if kind := no_file(path):
        raise ConfigError(f"{what}`{path}` is {kind}, not a file.")
    near = ""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return stream.read(limit)
    except FileNotFoundError:
        beside = path.parent.glob("*.y*ml")
        near = did_you_mean(path.name, (one.name for one in beside))
        fault = f"there is no file `{path}`"
    except OSError as error:
        fault = f"`{path}` cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        fault = f"`{path}` is not UTF-8 (byte {error.start}): save it as UTF-8"
    raise ConfigError(f"{what}{fault}.{near}")


def problem(error: yaml.YAMLError) -> str:
    """Return what PyYAML says, with line and column."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        tab = ": indent with spaces, not tabs" if r"'\t'" in str(error.problem) else ""
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{tab}"
    return " ".join(str(error).split())
