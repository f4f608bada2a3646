"""The source tree: no import circle of any kind, and a map that names what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "core" / "ftr"
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def modules() -> dict[str, Path]:
    """The modules of `ftr` by their dotted names."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield what a module imports of `ftr`, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for name in node.names:
                below = f"{node.module}.{name.name}"
                yield below if below in known else node.module


def test_no_module_imports_itself_on_any_way() -> None:
    known = modules()
    graph = {name: set(imported(path, known)) - {name, "ftr"} for name, path in known.items()}
    del graph["ftr"]  # its public names are imported when they are first used
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
    assert order.index("ftr.errors") < order.index("ftr.registry.registry")


def test_the_map_names_only_files_that_exist() -> None:
    ways = PAGE.read_text(encoding="utf-8").partition("## The way of a configuration")[2]
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", ways))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (SOURCE / name).is_file()] == []
