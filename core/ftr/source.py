"""The source files behind plugins: a hash that names what they do, and whether they changed since they were loaded."""

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ftr.blame import own_packages
from ftr.discovery import BEGAN, PluginRecord

MOST = 1000
"""Files of a package that a class only inherits from: of a larger one, a library, only the module is hashed."""
LARGEST = 1_000_000
"""Bytes of a file that is hashed; of a larger one, such as weights, its size is."""


def code_hash(classes: Iterable[type], plugin: PluginRecord | None = None) -> str:
    """Return a hash of the source of `classes`, of all they inherit from, and of the whole packages of `plugin`.

    Where the plugin changed since this process loaded it, the hash is one of this process alone: other code runs here.
    """
    own = own_packages(plugin) if plugin is not None else frozenset[str]()
    files = {label: file for name in own for label, file in _package(name).items()}
    for name in {kind.__module__ for one in classes for kind in one.__mro__}:
        if name.partition(".")[0] not in {*own, *sys.stdlib_module_names}:
            files.update({name: Path(str(sys.modules[name].__file__))} if _is_library(name.partition(".")[0]) else _package(name))
    lines = [f"{label} {_hash(file, *_state(file))}" for label, file in sorted(files.items())]
    if plugin is not None and changed(plugin):
        lines.append(f"changed while process {os.getpid()} of {BEGAN} ran")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def changed(plugin: PluginRecord) -> Path | None:
    """Return a file of Python code of the plugin that changed since this process loaded it, or None.

    A plugin of one file is loaded again when it changes; the modules beside it that it imported are not.
    """
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {file for name in own_packages(plugin) for file in _package(name).values() if str(file) in loaded}
    apart = {Path(plugin.origin)} if plugin.sha256 else set()
    return next((file for file in sorted(files - apart) if _changed_at(file) > BEGAN), None)


def _package(name: str) -> Mapping[str, Path]:
    """Return the files of the outermost package of the module `name`, or those beside a module in none, by their names in it."""
    parts = name.split(".")
    loaded = [sys.modules.get(".".join(parts[:length])) for length in range(1, len(parts) + 1)]
    # Not a namespace package, which has no file: others have modules in it too.
    found = next((module for module in loaded if module is not None and getattr(module, "__file__", None)), None)
    if found is None:
        return {}
    folders = [Path(folder) for folder in getattr(found, "__path__", ())]
    if not folders:
        return {file.name: file for file in Path(str(found.__file__)).parent.glob("*.py")}
    walked = [(folder, Path(place), files) for folder in folders for place, _, files in os.walk(folder) if "__pycache__" not in place]
    return {f"{found.__name__}/{(place / file).relative_to(folder)}": place / file for folder, place, files in walked for file in files}


@cache
def _is_library(name: str) -> bool:
    return len(_package(name)) > MOST


def _state(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _changed_at(file: Path) -> float:
    try:
        found = file.stat()
    except OSError:
        return 0.0
    # A copy may keep the time of its original; the other time cannot be set.
    return max(found.st_mtime, found.st_ctime)


@cache
def _hash(file: Path, changed_ns: int, size: int) -> str:
    if size > LARGEST:
        return str(size)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
