"""What is installed where this runs: versions and files of distributions. Standard library only: nodes may lack ftr itself.

Its functions travel by value to Ray's workers, and the file itself to job servers (`python look.py REQUEST`): nothing
here may import anything of ftr.
"""

import hashlib
import json
import platform
import re
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MARK = "ftr-look "
Report = dict[str, Any]
"""`{"python", "packages": {distribution: None | {"version", "digest", "size", "paths"}}}`; None where it is not installed."""


def look(wanted: dict[str, list[str]]) -> Report:
    """Report the distributions `wanted`, each with the top-level modules that are its own."""
    packages = {name: _package(name, modules) for name, modules in wanted.items()}
    return {"python": ".".join(platform.python_version_tuple()[:2]), "packages": packages}


def own_modules(name: str, known: list[str]) -> list[str]:
    """Return the top-level modules of the installed distribution `name`: those known, and what it recorded itself."""
    dist = metadata.distribution(name)
    recorded = {re.sub(r"\.py$", "", file.parts[0]) for file in dist.files or () if _is_code(file.parts)}
    listed = (dist.read_text("top_level.txt") or "").split()
    return sorted({*known, *recorded, *listed})


def _is_code(parts: tuple[str, ...]) -> bool:
    first = parts[0]
    module = first[:-3] if len(parts) == 1 and first.endswith(".py") else first if len(parts) > 1 else ""
    # An editable install leaves a finder behind, which is of no use elsewhere.
    return module.isidentifier() and not module.startswith("__")


def _package(name: str, modules: list[str]) -> dict[str, Any] | None:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    digest, size, paths = hashlib.sha256(), 0, []
    for module in modules:
        path = _place(module)
        if path is None:
            continue
        paths.append(str(path))
        for file in code_files(path):
            relative = file.relative_to(path.parent).as_posix()
            # Weights and tables that a package may hold are known by their size: reading them takes long.
            content = file.read_bytes() if file.suffix == ".py" else str(file.stat().st_size).encode()
            size += file.stat().st_size
            digest.update(f"{relative}\0{len(content)}\0".encode() + content)
    return {"version": version, "digest": digest.hexdigest(), "size": size, "paths": paths}


def code_files(path: Path) -> list[Path]:
    """Return the files of a package folder or module, in order, without compiled ones."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc")


def _place(module: str) -> Path | None:
    """Return the folder of a package, or the file of a module; None where an import would not find it."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]) if folders else Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


if __name__ == "__main__":
    sys.stdout.write(f"\n{MARK}" + json.dumps(look(json.loads(sys.argv[1]))) + "\n")
