"""Send plugins and encoded rows to nodes that lack them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.cluster.node import Report, code_files, own_modules
from ftr.cluster.storage import Storage
from ftr.data.encode import StoredSplit, discard, stored
from ftr.errors import ConfigError, RunError
from ftr.registry.discovery import CONTRACTS, OWN
from ftr.registry.plugin_files import SENT, VARIABLE
from ftr.registry.registry import NOTICES_PRINTED, Registry, own_packages
from ftr.registry.trust import CHECKED

LIMIT = 100 * 2**20
"""Largest size in bytes of a distribution that is sent to nodes that lack it."""
_RECORDS = ("METADATA", "entry_points.txt", "top_level.txt")

Wanted = dict[str, list[str]]
"""Distributions, each with its top-level modules."""


def wanted(registry: Registry) -> Wanted:
    """Return ftr itself and every distribution whose plugins are loaded in this process."""
    found: dict[str, set[str]] = {OWN: {"ftr"}}
    for plugin in registry.plugins:
        if plugin.status == "loaded" and not plugin.sha256:
            modules = found.setdefault(OWN if plugin.builtin else plugin.distribution, set())
            modules |= own_packages(plugin)
    for name, modules in found.items():
        for point in metadata.distribution(name).entry_points:
            if point.group in CONTRACTS:
                modules.add(point.module.partition(".")[0])
    return {name: own_modules(name, sorted(modules)) for name, modules in found.items()}


def environment(registry: Registry, *, silent: bool = True) -> dict[str, str]:
    """Return the environment variables with which the same plugins load elsewhere, without notices
    when `silent`.

    One-file plugins must be in their `places` there.
    """
    outside = [
        plugin for plugin in registry.plugins if plugin.status == "loaded" and not plugin.builtin
    ]
    installed = {plugin.distribution for plugin in outside if not plugin.sha256}
    files = os.pathsep.join(places(registry).values())
    return {
        "FTR_PLUGINS": ",".join(sorted(installed)),
        VARIABLE: files,
        **({NOTICES_PRINTED: "1", CHECKED: "1"} if silent else {}),
    }


def places(registry: Registry) -> dict[str, str]:
    """Return the relative path of each one-file plugin in the folder that it is staged in.

    Its folder is named by the content, so that no other file of that name is found on a path.
    """
    digest = sha256("".join(plugin.sha256 for plugin in registry.files))
    return {
        plugin.distribution: f"{SENT}{digest[:12]}/{plugin.distribution}"
        for plugin in registry.files
    }


def differences(here: Report, there: Report, node: str, *, python: bool = True) -> list[str]:
    """Return the distributions that `there` lacks, or has in the same version with other files.

    Raises `ConfigError` where the version of one differs, or with `python` that of Python.
    """
    if python and here["python"] != there["python"]:
        raise ConfigError(
            f"Python is {here['python']} here and {there['python']} on node {node}: start the "
            "command with the Python of the nodes."
        )
    missing = []
    for name, own in here["packages"].items():
        other = there["packages"][name]
        if other is None:
            missing.append(name)
        elif own["version"] != other["version"]:
            what = "ftr itself" if name == OWN else f"the plugin distribution `{name}`"
            raise ConfigError(
                f"{what} is {own['version']} here and {other['version']} on node {node}: install "
                "one version on "
                f"both{'' if name == OWN else ', or leave it out with `FTR_PLUGINS`'}."
            )
        elif own["digest"] != other["digest"]:
            missing.append(name)
    return missing


def stage(names: Sequence[str], here: Report, folder: Path) -> list[Path]:
    """Copy the modules of distributions into `folder`, with the metadata that discovery reads;
    return the copies.

    Each is a package, a module or a `*.dist-info`: with its parent on Python's path the plugin is
    found as if installed. Raises `ConfigError` for one that is too large.
    """
    staged: list[Path] = []
    for name in names:
        package: Mapping[str, Any] = here["packages"][name]
        if package["size"] > LIMIT:
            raise ConfigError(
                f"`{name}` is missing on a node, and with {package['size'] / 1e6:.0f} MB too large "
                f"to be sent along (limit {LIMIT / 1e6:.0f} MB): install it there."
            )
        staged += [_copied(Path(path), folder) for path in package["paths"]]
        staged.append(_records(name, package["version"], folder))
    return staged


def stage_files(registry: Registry, folder: Path) -> list[Path]:
    """Copy the one-file plugins to their `places` in `folder`; return what must be sent, as `stage`
    does.

    Raises `ConfigError` for a file that changed since it was loaded here.
    """
    known = places(registry)
    staged = {folder / known[plugin.distribution]: plugin for plugin in registry.files}
    for target, plugin in staged.items():
        source = Path(plugin.origin)
        if not source.is_file() or sha256(source) != plugin.sha256:
            raise ConfigError(
                f"the plugin file `{source}` changed while this program began: start it again."
            )
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
    return sorted({target.parent for target in staged})


def _copied(source: Path, folder: Path) -> Path:
    target = folder / source.name
    for file in code_files(source):
        place = folder / file.relative_to(source.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return target


def _records(name: str, version: str, folder: Path) -> Path:
    dist = metadata.distribution(name)
    target = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    target.mkdir(parents=True)
    for record in _RECORDS:
        text = dist.read_text(record)
        if text:
            (target / record).write_text(text, encoding="utf-8")
    return target


FOLDER = "encoded"


def share_splits(storage: Storage, splits: Mapping[str, StoredSplit]) -> dict[str, dict[str, Any]]:
    """Send the folders of encoded rows that `storage` lacks; return where each split is, as JSON.

    The folders are named by their content's key, so those of an earlier run are used again. Two
    drivers that send one key at once leave two complete copies.
    """
    sent: dict[Path, str] = {}
    for split in splits.values():
        folder = Path(split.rows).parent
        if folder not in sent:
            copies = storage.names(f"{FOLDER}/{folder.name}")
            sent[folder] = copies[0] if copies else f"{FOLDER}/{folder.name}/{secrets.token_hex(4)}"
            if not copies:
                storage.mirror(folder, sent[folder])
    return {
        name: {"shared": sent[Path(split.rows).parent], "split": asdict(split)}
        for name, split in splits.items()
    }


def local_splits(
    storage: Storage, places: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, dict[str, Any]]:
    """Return `StoredSplit`s as dicts with files on this node, fetched into the cache `folder` where
    they are missing.

    A file lock makes the processes of a node fetch each encoding once. On the driver's node, or
    where its folder is shared, its files are used directly. Raises `RunError` when the disk is full
    or a shared file is damaged.
    """
    found = {}
    for name, place in places.items():
        split = StoredSplit(**place["split"])
        own = Path(split.rows).parent
        here = own if stored(own) else folder / FOLDER / own.name
        if here != own and not stored(here):
            _fetch_once(storage, place["shared"], here)
        found[name] = asdict(
            replace(
                split,
                rows=str(here / Path(split.rows).name),
                features=str(here / Path(split.features).name),
            )
        )
    return found


def _fetch_once(storage: Storage, name: str, here: Path) -> None:
    lock = here.with_name(f"{here.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            here.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(atomic.locked(lock))
        except OSError as error:
            raise RunError(
                f"cannot write `{lock}`: {error.strerror or error}. Free space, or set another "
                "folder with `data.cache=` or `FTR_CACHE`."
            ) from error
        if not stored(here):
            discard(here)
            storage.fetch(name, here)
