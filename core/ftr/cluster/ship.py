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
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.cluster.node import Report, code_files, own_modules
from ftr.data.encode import StoredSplit, discard, stored
from ftr.errors import ConfigError, RunError
from ftr.registry.discovery import CONTRACTS, OWN
from ftr.registry.plugin_files import SENT, VARIABLE
from ftr.registry.registry import SAID, Registry, own_packages
from ftr.registry.trust import CHECKED

if TYPE_CHECKING:
    from ftr.cluster.storage import Storage


LIMIT = 100 * 2**20
"""Bytes of one distribution that are sent to nodes that lack it; more than that is for an
installer.
"""
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
    """Return what must be set elsewhere for the same plugins to load there, `silent` as to what is
    wrong with them.

    Plugins of one file each must lie in their `places` there.
    """
    outside = [
        plugin for plugin in registry.plugins if plugin.status == "loaded" and not plugin.builtin
    ]
    installed = {plugin.distribution for plugin in outside if not plugin.sha256}
    files = os.pathsep.join(places(registry).values())
    return {
        "FTR_PLUGINS": ",".join(sorted(installed)),
        VARIABLE: files,
        **({SAID: "1", CHECKED: "1"} if silent else {}),
    }


def places(registry: Registry) -> dict[str, str]:
    """Return where the plugins of one file each lie, by name, in a folder that they are staged in.

    The folder between is named by what it holds, so that no other file of that name is ever met on
    a path.
    """
    digest = sha256("".join(plugin.sha256 for plugin in registry.files))
    return {
        plugin.distribution: f"{SENT}{digest[:12]}/{plugin.distribution}"
        for plugin in registry.files
    }


def differences(here: Report, there: Report, node: str, *, python: bool = True) -> list[str]:
    """Return the distributions that `there` lacks, or has the same version of with other files.

    Raises `ConfigError` where the version of one differs, or with `python` that of Python: what a
    driver and its workers do would not agree.
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
    """Copy the modules of distributions into `folder`, with the metadata that discovery reads, and
    return what lies there.

    Each path is a package, a module or a `*.dist-info`: wherever its parent is on the path of a
    Python, the plugin is as good as installed, however it was installed here. Raises `ConfigError`
    for one that is too large.
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
    """Copy the plugins of one file each to their `places` in `folder`; return what must be sent, as
    `stage` does.

    Raises `ConfigError` for a file that is no longer what was loaded here.
    """
    staged = {
        folder / place: plugin
        for plugin in registry.files
        for place in [places(registry)[plugin.distribution]]
    }
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
    """Send the folders of encoded rows that `storage` does not hold yet; return where each split
    lies, as JSON values.

    The folders are named by their content's key, so what an earlier run sent is used again. Two
    drivers that send one key at once leave two copies, each whole.
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
    """Return `StoredSplit`s as dicts whose files lie on this node, fetching into the cache folder
    `folder` what is not there.

    The processes of a node wait for each other under a file lock, so that each encoding is fetched
    once. On the driver's own node, or where its folder is shared, its files are used as they are.
    Raises `RunError` when the disk is full or a shared file is damaged.
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
