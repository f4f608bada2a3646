"""Write `reference.md` from the code: `python docs/plugins/make_reference.py`."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import ftr.testing
from ftr.registry import protocols, schema, specs
from ftr.registry.discovery import HOOKS
from ftr.registry.specs import SPEC_TYPES

PAGE = Path(__file__).with_name("reference.md")
INTRODUCTION = """\
# Reference for plugin authors

<!-- made by docs/plugins/make_reference.py; a test compares -->

What a plugin may implement and what its targets must do. `ftr` exports `hookimpl` and the specs; the protocols are in `ftr.registry.protocols` (for
type checkers: there is nothing to inherit from), the columns of rows in `ftr.registry.schema`, the conformance kit in `ftr.testing`.
"""
PROTOCOLS = (
    "EncodeSettings",
    "Dataset",
    "Model",
    "Head",
    "Abilities",
    "Metric",
)
ROWS = ("Column", "RowSchema")


def page() -> str:
    """Return the page as it should be."""
    parts = [
        INTRODUCTION,
        "## Hooks\n",
        "Each without arguments, marked with `@ftr.hookimpl`, in the module of the entry point.\n",
    ]
    parts += [
        f"- `{signature(name, getattr(specs, name))}`: {text(getattr(specs, name))}"
        for name in HOOKS
    ]
    parts += ["\n## Specs\n", "Frozen, keyword-only, made of strings and numbers.\n"]
    for kind in SPEC_TYPES.values():
        parts += described(kind)
    parts.append("## Protocols\n")
    for name in PROTOCOLS:
        parts += described(getattr(protocols, name))
    parts += ["## The columns of rows\n"]
    for name in ROWS:
        parts += described(getattr(schema, name))
    parts += ["## The conformance kit\n", text(ftr.testing), ""]
    for name in sorted(name for name in dir(ftr.testing) if name.endswith("Conformance")):
        parts += checked(getattr(ftr.testing, name))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def described(kind: type) -> list[str]:
    """Return the section of a spec, a protocol or another record."""
    lines = [f"### `{kind.__name__}`\n", text(kind), ""]
    if is_dataclass(kind):
        lines += ["| field | type | default |", "|---|---|---|"]
        lines += [
            f"| `{field.name}` | `{typed(field.type)}` | {default(field)} |"
            for field in fields(kind)
        ]
        lines.append("")
    for name, value in methods(kind):
        lines += [f"- `{signature(name, value)}`  ", f"  {text(value)}".replace("\n", "\n  ")]
    return [*lines, ""]


def checked(kind: type) -> list[str]:
    """Return the section of a conformance class: what it asks, one line a check."""
    lines = [f"### `{kind.__name__}`\n", text(kind), "", "It checks that", ""]
    names = dict.fromkeys(
        name for base in kind.__mro__ for name in vars(base) if name.startswith("test_")
    )
    lines += [f"- {name.removeprefix('test_').replace('_', ' ')}" for name in names]
    return [*lines, ""]


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods a class itself defines, in their order; of a protocol for functions
    the call.
    """
    for name, value in vars(kind).items():
        if inspect.isfunction(value) and (
            not name.startswith("_") or (name == "__call__" and not is_dataclass(kind))
        ):
            yield name, value


def signature(name: str, function: Any) -> str:
    """Return the head of a function as it is written, without `self`."""
    found = inspect.signature(function)
    kept = [parameter for parameter in found.parameters.values() if parameter.name != "self"]
    return re.sub(
        r"collections\.abc\.|ftr\.specs\.|'", "", f"{name}{found.replace(parameters=kept)}"
    )


def typed(annotation: object) -> str:
    """Return an annotation as it is written."""
    written = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    if not isinstance(annotation, str) and getattr(annotation, "__args__", None):
        written = str(annotation).replace("typing.", "").replace("collections.abc.", "")
    return written.replace("|", "\\|")


def default(field: Any) -> str:
    """Return the default of a field."""
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    return "empty" if field.default_factory is not MISSING else "must be given"


def text(thing: object) -> str:
    """Return the docstring of a thing."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
