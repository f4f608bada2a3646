"""Values as people write them: YAML 1.2 scalars, durations, and the base classes of configuration
sections.
"""

import json
import math
import re
import shlex
from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ftr.paths import present

_SCALARS = (
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)
LARGEST = 200_000
MOST_VALUES = 100_000
DEEPEST = 40
LONGEST_NUMBER = 300
_OPENERS = ("[", "{", '"', "'")
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, and an error for a duplicated key."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML reads this name)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """Return the mapping; raises `ConstructorError` at the line of a key given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"`{key.value}` is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _int(loader: Loader, node: yaml.ScalarNode) -> int:
    """Read decimals only: YAML 1.1 takes `010` for eight."""
    text = str(loader.construct_scalar(node))
    if len(text) > LONGEST_NUMBER:
        raise yaml.constructor.ConstructorError(
            None, None, f"a number of {len(text)} digits", node.start_mark
        )
    return int(text)


for _tag, _pattern, _first in _SCALARS:
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))
Loader.add_constructor("tag:yaml.org,2002:int", _int)


def read_yaml(text: str) -> object:
    """Return what a YAML document holds.

    Raises `yaml.YAMLError`, also for one that is too large once its aliases are written out.
    """
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"it has more than {LARGEST} characters")
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(
                f"it holds more than {MOST_VALUES} values once its aliases (`*name`) are written "
                "out"
            )
        value: object = loader.construct_document(node)
        return value
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], depth: int = 1) -> int:
    """Return the number of values of a node; an alias counts as the values that it repeats."""
    if depth > DEEPEST:
        raise yaml.YAMLError(
            f"it is nested more than {DEEPEST} levels deep, or an alias (`*name`) holds itself"
        )
    if id(node) not in known:
        within = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in within for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    return known[id(node)]


def read_value(text: str) -> object:
    """Return the value of one command-line word: a plain scalar, or a YAML list, mapping or quoted
    string.

    Plain words are not parsed as YAML, so `;`, `|`, `@x` and `a: b.csv` are text. Raises
    `yaml.YAMLError`.
    """
    stripped = text.strip()
    if text and not stripped:
        return text  # blanks quoted in the shell: a delimiter
    if stripped.startswith(_OPENERS):
        return read_yaml(stripped)
    loader = Loader("")
    try:
        tag: str = loader.resolve(yaml.ScalarNode, stripped, (True, False))  # type: ignore[no-untyped-call]
        if tag in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            return text
        value: object = loader.construct_object(yaml.ScalarNode(tag, stripped))
        return value
    finally:
        loader.dispose()


def split_values(text: str) -> list[str]:
    """Return the parts of a comma list, for `read_value`; commas in quotes or brackets are text.

    Raises `ValueError` for an empty part.
    """
    parts = list(_parts(text)) if text.strip() else []
    if not all(parts):
        raise ValueError(
            "a value between two commas is missing (write `null` for none, `''` for empty text)"
        )
    return parts


def write_value(value: object, inside: bool = False) -> str:
    """Return a value as `read_value` reads it, on one line; text `inside` a list or mapping is
    quoted.

    Raises `TypeError` for other types.
    """
    if isinstance(value, str):
        return _quoted(value) if inside or not _bare(value) else value
    if isinstance(value, Mapping):
        items = (
            f"{write_value(key, True)}: {write_value(item, True)}" for key, item in value.items()
        )
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(item, True) for item in value)}]"
    if isinstance(value, float):
        return _float(value)
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise TypeError(f"a `{type(value).__name__}` is not a number, text, list or mapping")


def _parts(text: str) -> Iterator[str]:
    pieces = iter(text.split(","))
    for piece in pieces:
        part = piece.strip()
        while part.startswith(_OPENERS) and not _is_yaml(part):
            more = next(pieces, None)
            if more is None:
                break
            part = f"{part},{more}".rstrip()
        yield part


def _is_yaml(text: str) -> bool:
    try:
        read_yaml(text)
    except yaml.YAMLError:
        return False
    return True


def _bare(text: str) -> bool:
    """Whether text without quotes is read as itself."""
    if text.startswith(_OPENERS) or "," in text or not text.isprintable():
        return False
    return text == text.strip() != "" and read_value(text) == text


def _quoted(text: str) -> str:
    """Return text as JSON, with the characters escaped that YAML requires."""
    return _UNPRINTABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False)
    )


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return f"{Decimal(repr(value)).normalize():e}" if 0 < abs(value) < 1e-3 else repr(value)


_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


@lru_cache(maxsize=4096, typed=True)
def label_name(label: object) -> str:
    """Return the class name of a label: `true` and `false` in lower case, equal decimals as one
    (`1.0` is `1`).

    Leading zeros stay, because `007` may be a code: see `label_key`.
    """
    name = str(label).strip()
    if name.lower() in ("true", "false"):
        return name.lower()
    if not _DECIMAL.fullmatch(name):
        return name
    written = format(Decimal(name), "f")
    whole, _, fraction = written.partition(".")
    fraction = fraction.rstrip("0")
    sign = "-" if whole.startswith("-") and (whole + fraction).strip("-0") else ""
    digits = name.lstrip("+-") if name.lstrip("+-").isdigit() else whole.lstrip("-")
    return f"{sign}{digits}.{fraction}" if fraction else f"{sign}{digits}"


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?)\s*{unit})?\s*" for unit in _UNITS))


def read_duration(value: object) -> object:
    """Return text such as `1h30m` in seconds, and other values unchanged.

    Raises `ValueError` for other text.
    """
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip().lower())
    if not found or not any(found.groups()):
        raise ValueError(
            "it should be a time such as 2h, 30m, 90s or 1h30m, or a number of seconds"
        )
    return sum(float(number) * _UNITS[unit] for unit, number in found.groupdict().items() if number)


def _no_bool(value: object) -> object:
    """Refuse `true` where a number is meant: pydantic would read it as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def comma_list(value: object) -> object:
    """Return the parts of text with commas, and other values unchanged."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


# The constraints come first: after a validator, pydantic omits them from the JSON Schema.
NUMBER = BeforeValidator(_no_bool)
Count = Annotated[int, Field(ge=1), NUMBER]
Several = Annotated[int, Field(ge=2, le=10_000), NUMBER]
Natural = Annotated[int, Field(ge=0), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Share = Annotated[float, Field(ge=0, lt=1), NUMBER]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(comma_list)]


def _unwrap(schema: dict[str, Any]) -> None:
    """Put each description of a JSON Schema on one line."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            part["description"] = " ".join(part["description"].split())


class Section(BaseModel):
    """A group of keys: unknown ones are errors, and a value never changes once it is resolved.

    The docstring of a field is its description.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        json_schema_extra=_unwrap,
    )


class KeyConflictError(ValueError):
    """Values that exclude each other. `keys` are theirs, dotted."""

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


def joined(words: Sequence[str], place: int) -> str:
    """Return how to write a word that belongs to its neighbours, "" where it does not."""
    before, word, after = words[:place], words[place], words[place + 1 :]
    found = ""
    if after and after[0].startswith("="):
        found = word + "".join(after[: 2 if after[0] == "=" else 1])
    elif before and before[-1].endswith("="):
        found = before[-1] + word
    if found:
        return f"Write no spaces around `=`: `{found}`."
    for start in range(place + 1):
        for end in range(place + 1, len(words) + 1):
            name = " ".join(words[start:end])
            if end - start > 1 and present(name):
                return f"Quote a name with spaces: `{shlex.quote(name)}`."
    return ""
