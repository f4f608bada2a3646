"""What a run record says of the code behind the run: components, plugins and package versions."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ftr import __version__

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.registry import Registry
    from ftr.specs import Kind

PACKAGES = ("torch", "transformers", "datasets", "evaluate", "accelerate", "ray", "tokenizers", "numpy", "pyarrow", "pydantic", "pluggy")


def beginning() -> dict[str, Any]:
    """Return what every record of a run or sweep that begins now opens with."""
    return {
        "ftr": __version__,
        "status": "running",
        "created": time.time(),
        "command": sys.argv if sys.argv and sys.argv[0] else [],
        "process": os.getpid(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Return for each component its name, target, and the plugin, distribution and version it came from."""
    used: list[tuple[Kind, str]] = [("dataset", config.dataset.name), ("model", config.model.name), ("head", config.head.name)]
    used += [("metric", name) for name in config.metrics]
    if config.task is not None:
        used.append(("task", config.task))
    return {f"{kind}:{name}": _origin(registry, kind, name) for kind, name in used}


def _origin(registry: Registry, kind: Kind, name: str) -> dict[str, Any]:
    if not registry.has(kind, name):
        return {"registered": False}
    entry = registry.find(kind, name)
    plugin = entry.plugin
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "origin": plugin.origin,
        "target": getattr(entry.spec, "target", None),
    }
