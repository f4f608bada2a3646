"""What a run record says of the code behind the run: components, plugins and package versions."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ftr import __version__
from ftr.registry import registry_again

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ftr.config.models import RunConfig
    from ftr.discovery import PluginRecord
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
    """Return for each component its name, target, and the plugin, distribution and version it came from.

    Every plugin of one file stands there too, with the hash of the file: what else it holds may be searched.
    """
    used: list[tuple[Kind, str]] = [("dataset", config.dataset.name), ("model", config.model.name), ("head", config.head.name)]
    used += [("metric", name) for name in config.metrics]
    if config.task is not None:
        used.append(("task", config.task))
    files = {f"plugin:{plugin.name}": _from(plugin) for plugin in registry.files}
    return {f"{kind}:{name}": _origin(registry, kind, name) for kind, name in used} | files


def recorded_registry(record: Mapping[str, Any]) -> Registry:
    """Return the registry of this process with the plugins of one file each that a record names.

    Raises `RequestError` for a file that is missing or changed.
    """
    entries = record.get("components")
    known = [entry for entry in entries.values() if isinstance(entry, dict)] if isinstance(entries, dict) else []
    return registry_again({str(entry.get("origin")): str(entry["sha256"]) for entry in known if entry.get("sha256")})


def _origin(registry: Registry, kind: Kind, name: str) -> dict[str, Any]:
    if not registry.has(kind, name):
        return {"registered": False}
    entry = registry.find(kind, name)
    return {**_from(entry.plugin), "target": getattr(entry.spec, "target", None)}


def _from(plugin: PluginRecord) -> dict[str, Any]:
    origin = {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version, "origin": plugin.origin}
    return {**origin, "sha256": plugin.sha256} if plugin.sha256 else origin
