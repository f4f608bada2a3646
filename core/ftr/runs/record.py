"""What a run's record states about code: components, plugins and package versions."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.config.resolve import flat
from ftr.errors import RequestError
from ftr.registry import trust
from ftr.registry.discovery import own_version
from ftr.registry.registry import registry_for_record

if TYPE_CHECKING:
    from ftr.config.schema import RunConfig
    from ftr.registry.discovery import PluginRecord
    from ftr.registry.registry import Registry
    from ftr.registry.specs import Kind


REACHING = (
    "model.trust_remote_code",
    "model.revision",
    "compute.address",
    "compute.storage",
    "data.cache",
)
"""Settings that run code or reach places beyond the run directory, as fields of `trainer.*` may
too.
"""
FROM_PARENT = ("ftr", "command", "origins", "components", "packages")
PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "accelerate",
    "ray",
    "tokenizers",
    "numpy",
    "pyarrow",
    "pydantic",
    "pluggy",
)


def beginning() -> dict[str, Any]:
    """Return what every record of a run or sweep that begins now opens with."""
    return {
        "ftr": own_version(),
        "status": "running",
        "created": time.time(),
        "command": sys.argv if sys.argv and sys.argv[0] else [],
        "process": os.getpid(),
    }


def from_parent(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the record of a member or trial has from that of its run or sweep."""
    return {key: record[key] for key in FROM_PARENT if key in record}


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
    """Return for each component its name, target, and the plugin, distribution and version it came
    from.

    Every plugin of one file stands there too, with the hash of the file: what else it holds may be
    searched.
    """
    used: list[tuple[Kind, str]] = [
        ("dataset", config.dataset.name),
        ("model", config.model.name),
        ("head", config.head.name),
    ]
    used += [("metric", name) for name in config.metrics]
    if config.task is not None:
        used.append(("task", config.task))
    files = {f"plugin:{plugin.name}": _from(plugin) for plugin in registry.files}
    return {f"{kind}:{name}": _origin(registry, kind, name) for kind, name in used} | files


def recorded_registry(record: Mapping[str, Any]) -> Registry:
    """Return the registry of this process with the plugins of one file each that a record names.

    Raises `RequestError` for a file that is missing or changed, or that this user neither named nor
    trained with.
    """
    entries = record.get("components")
    known = (
        [entry for entry in entries.values() if isinstance(entry, dict)]
        if isinstance(entries, dict)
        else []
    )
    return registry_for_record(
        {str(entry.get("origin")): str(entry["sha256"]) for entry in known if entry.get("sha256")}
    )


def remember(
    config: RunConfig, registry: Registry, searched: Mapping[str, Collection[object]] | None = None
) -> None:
    """Trust from now on what this user starts a training with: its plugin files, settings that
    reach far, the base of adapters.

    `searched` are the values that a sweep may give to keys, as far as they can be listed.
    """
    chosen = {trust.plugin(plugin.sha256) for plugin in registry.files}
    values = {key: [value] for key, value in flat(config).items()} | {
        key: list(found) for key, found in (searched or {}).items()
    }
    chosen |= {
        trust.setting(key, value)
        for key, found in values.items()
        for value in found
        if _reaches(key, value)
    }
    for name in values["model"]:
        chosen.add(trust.setting("base", [name, config.model.options]))
        for revision in values.get("model.revision", [None]):
            chosen.add(
                trust.setting(
                    "base",
                    [
                        str(Path(str(name)).resolve()) if Path(str(name)).is_dir() else name,
                        revision,
                    ],
                )
            )
    chosen |= {trust.setting("base", base) for base in trust.named_bases()}
    trust.remember(chosen)


def check_reach(values: Mapping[str, object], given: Collection[str], place: Path) -> None:
    """Refuse settings of a record that run code or reach beyond it, unless this user chose them
    before or `given` has their keys.

    Raises `RequestError` naming each with the option that allows it.
    """
    strange = [key for key in _strange(values) if key not in given]
    if strange:
        words = " ".join(f"{key}={_as_word(values[key])}" for key in strange)
        raise RequestError(
            f"`{place}` sets {', '.join(f'`{key}`' for key in strange)}, which reaches beyond the "
            "run and which you never trained with. If that is what you want, repeat it: `ftr "
            f"resume {place.parent} {words}`."
        )


def _strange(values: Mapping[str, object]) -> Iterator[str]:
    return (
        key
        for key, value in values.items()
        if _reaches(key, value) and not trust.is_trusted(trust.setting(key, value))
    )


def _reaches(key: str, value: object) -> bool:
    # Of `trainer.*` numbers do not: a switch, a name, a path or a mapping may.
    own = key.startswith("trainer.") and (value is True or not isinstance(value, int | float))
    return (own or key in REACHING) and value not in (None, False, "")


def _as_word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _origin(registry: Registry, kind: Kind, name: str) -> dict[str, Any]:
    if not registry.has(kind, name):
        return {"registered": False}
    entry = registry.find(kind, name)
    return {**_from(entry.plugin), "target": getattr(entry.spec, "target", None)}


def _from(plugin: PluginRecord) -> dict[str, Any]:
    origin = {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "origin": plugin.origin,
    }
    return {**origin, "sha256": plugin.sha256} if plugin.sha256 else origin
