"""What the code of plugins imports."""

import ast
from collections.abc import Iterator

PUBLIC = ("ftr.plugin", "ftr.testing")
"""The modules of ftr that plugins and their tests import."""


def imports(source: str) -> Iterator[str]:
    """Yield the modules that Python code imports, at its top and in its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def internals(source: str) -> list[str]:
    """Return the modules of ftr that the code imports though they are not public."""
    return [
        name
        for name in imports(source)
        if name.partition(".")[0] in ("ftr", "ftr_plugins") and name not in PUBLIC
    ]
