"""YAML values as people mean them: YAML 1.2 scalars, so `no` and `2024-01-01` stay text and `1e-5` is a number."""

import re
from collections.abc import Hashable

import yaml

_SCALARS = (
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, and an error where a key stands twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML reads this name)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Return the mapping; raises `ConstructorError` at the line of a key given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _int(loader: Loader, node: yaml.ScalarNode) -> int:
    """Read decimals only: YAML 1.1 takes `010` for eight."""
    return int(loader.construct_scalar(node))


for _tag, _pattern, _first in _SCALARS:
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))
Loader.add_constructor("tag:yaml.org,2002:int", _int)


def read_yaml(text: str) -> object:
    """Return what a YAML document holds. Raises `yaml.YAMLError`."""
    return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)


def read_value(text: str) -> object:
    """Return the value of one command-line word: a scalar as it stands, or a YAML list, mapping or quoted string.

    A plain word never meets the YAML parser, so `;`, `|`, `@x` and `a: b.csv` are themselves. Raises `yaml.YAMLError`.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{", '"', "'"):
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
