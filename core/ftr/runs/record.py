"""What a run's record says about code: components, plugins and package versions."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ftr.config.resolve import flat
from ftr.config.schema import RunConfig
from ftr.errors import RequestError
from ftr.registry import trust
from ftr.registry.discovery import PluginRecord, own_version
from ftr.registry.registry import Registry, registry_for_record
from ftr.registry.specs import Kind
from ftr.terminal import mask

REACHING = (
    "model.trust_remote_code",
    "model.revision",
    "compute.address",
    "compute.storage",
    "data.cache",
    "tracker",
)
"""Settings that run code or reach beyond the run directory, as fields of `trainer.*` may too."""
FACTS = ("license", "languages", "hub_id")
FROM_PARENT = ("ftr", "command", "origins", "components", "packages", "environment")
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
    """Return the first fields of the record of a run or sweep that begins now."""
    return {
        "ftr": own_version(),
        "status": "running",
        "created": time.time(),
        "command": sys.argv if sys.argv and sys.argv[0] else [],
        "process": os.getpid(),
    }


def from_parent(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a member or trial copies from the record of its run or sweep."""
    return {key: record[key] for key in FROM_PARENT if key in record}


def resumed_with(record: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `resumed_with` of a record that is resumed: for each attempt under other
    code or packages than the first, what these are.

    `now` is the record that would begin now.
    """
    before = [one.get("environment") or {} for one in (record, now)]
    known, found = ({**(env.get("source") or {})} for env in before)
    versions = record.get("packages") or {}
    changed = {name: digest for name, digest in found.items() if known.get(name, digest) != digest}
    changed |= {
        name: version
        for name, version in now["packages"].items()
        if versions.get(name, version) != version
    }
    attempts = [*record.get("resumed_with", ()), *([changed] if changed else [])]
    return {"resumed_with": attempts} if attempts else {}


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
    """Return for each component its target, and the plugin, distribution and version it came from;
    of a model and a dataset also what a model card says of them.

    One-file plugins are listed too, with their hash: a sweep may use their other components.
    """
    found: dict[str, Any] = {}
    for kind, name in _used(config):
        found[f"{kind}:{mask(name)}"] = {"registered": False}
        if registry.has(kind, name):
            entry = registry.find(kind, name)
            target = getattr(entry.spec, "target", None)
            facts = {fact: getattr(entry.spec, fact, "") for fact in FACTS}
            found[f"{kind}:{name}"] = {
                **_plugin(entry.plugin),
                "target": target,
                **{fact: text for fact, text in facts.items() if text},
            }
    return found | {f"plugin:{plugin.name}": _plugin(plugin) for plugin in registry.files}


def plugins_of(config: RunConfig, registry: Registry) -> list[PluginRecord]:
    """Return the plugins that the components of a configuration come from."""
    used = [registry.find(*one).plugin for one in _used(config) if registry.has(*one)]
    return list({plugin.name: plugin for plugin in used}.values())


def _used(config: RunConfig) -> list[tuple[Kind, str]]:
    """Return kind and name of each component of a configuration."""
    used: list[tuple[Kind, str]] = [
        ("dataset", config.dataset.name),
        ("model", config.model.name),
        ("head", config.head.name),
        *(("metric", name) for name in config.metrics),
    ]
    return used if config.task is None else [*used, ("task", config.task)]


def _plugin(plugin: PluginRecord) -> dict[str, Any]:
    origin = {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "origin": plugin.origin,
    }
    return {**origin, "sha256": plugin.sha256} if plugin.sha256 else origin


def recorded_registry(record: Mapping[str, Any]) -> Registry:
    """Return the registry of this process with the one-file plugins that a record names.

    Raises `RequestError` for a file that is missing or changed, or that this user neither named nor
    trained with.
    """
    entries = record.get("components")
    return registry_for_record(
        {
            str(entry.get("origin")): str(entry["sha256"])
            for entry in (entries.values() if isinstance(entries, dict) else ())
            if isinstance(entry, dict) and entry.get("sha256")
        }
    )


def remember(
    config: RunConfig, registry: Registry, searched: Mapping[str, Collection[object]] | None = None
) -> None:
    """Trust from now on what this user starts a training with: its plugin files, the settings that
    reach beyond the run, the base of adapters.

    `searched` are the values that a sweep may give to keys, as far as they can be listed.
    """
    values: dict[str, list[Any]] = {key: [value] for key, value in flat(config).items()}
    values |= {key: list(found) for key, found in (searched or {}).items()}
    bases: list[object] = [*trust.named_bases()]
    for name in values["model"]:
        folder = Path(str(name))
        base = str(folder.resolve()) if folder.is_dir() else name
        bases.append([name, config.model.options])
        bases += [[base, revision] for revision in values.get("model.revision", [None])]
    trust.remember(
        {
            *(trust.plugin(plugin.sha256) for plugin in registry.files),
            *(trust.setting("base", base) for base in bases),
            *(
                trust.setting(key, value)
                for key, found in values.items()
                for value in found
                if _reaches(key, value)
            ),
        }
    )


def check_reach(
    values: Mapping[str, object], given: Collection[str], place: Path, command: str = "resume"
) -> None:
    """Refuse settings of a record that run code or reach beyond it, unless this user chose them
    before or `given` has their keys. `command` is the one that takes them.

    Raises `RequestError` naming each with the option that allows it.
    """
    untrusted = {
        key: _word(value)
        for key, value in values.items()
        if key not in given
        and _reaches(key, value)
        and not trust.is_trusted(trust.setting(key, value))
    }
    if untrusted:
        words = " ".join(f"{key}={value}" for key, value in untrusted.items())
        raise RequestError(
            f"`{place}` sets {', '.join(f'`{key}`' for key in untrusted)}, which reaches beyond "
            "the run and which you never trained with. If that is what you want, repeat it: "
            f"`ftr {command} {place.parent} {words}`."
        )


def _reaches(key: str, value: object) -> bool:
    # Numbers of `trainer.*` do not; a switch, a name, a path or a mapping may.
    own = key.startswith("trainer.") and (value is True or not isinstance(value, int | float))
    return (own or key in REACHING) and value not in (None, False, "", [])


def _word(value: object) -> str:
    """Return a value as a command line takes it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
