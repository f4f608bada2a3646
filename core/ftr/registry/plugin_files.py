"""One-file plugins: which files are named, whether this user trusts them, and loading them.

`FTR_PLUGIN_FILES` names them, with the separator of `PATH` between; commands, settings and
records name more for this process.
"""

import keyword
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from ftr.atomic import sha256
from ftr.errors import PluginError, RequestError, did_you_mean
from ftr.paths import expanded, no_file
from ftr.registry import trust
from ftr.terminal import show

VARIABLE = "FTR_PLUGIN_FILES"
SENT = "ftr-plugins-"
"""Prefix of the folder of files that were sent here; the sender has checked them."""
_given: list[Path] = []
"""Files that commands, settings and records named in this process."""
_loaded: dict[Path, str] = {}
"""Files whose modules are in this process, with the hash of what was loaded."""
_recorded: dict[Path, str] = {}
"""Files that only a record names, not the user, with the one content that may be run."""


def named() -> tuple[Path, ...]:
    """Return the named files as absolute paths, each once.

    A relative path in the environment is searched in this folder, then on Python's path, where Ray
    puts sent files.
    """
    words = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    found = [_found(expanded(word, "plugin file")) for word in words]
    return tuple(dict.fromkeys([*found, *_given]))


def given() -> tuple[Path, ...]:
    """Return the files that were named in this process, besides those of the environment."""
    return tuple(_given)


def _found(given: Path) -> Path:
    folders = [Path(), *([] if given.is_absolute() else map(Path, sys.path))]
    found = (folder / given for folder in folders if (folder / given).is_file())
    return _absolute(next(found, given))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (`Path.resolve` would replace a link by its target, which has another name)


def add(given: Iterable[str | Path]) -> bool:
    """Add files for this process; return whether any of them is new.

    Raises `RequestError` for a file that is missing or cannot be a plugin, before it runs.
    """
    known = named()
    more: list[Path] = []
    for path in (_absolute(expanded(word, "plugin file")) for word in given):
        _recorded.pop(path, None)
        if path in known or path in more:
            continue
        trouble = fault(path, [*known, *more])
        if trouble:
            raise RequestError(f"plugin file `{path}`: {trouble}")
        more.append(path)
    _given.extend(more)
    return bool(more)


def add_recorded(recorded: Mapping[str, str]) -> bool:
    """Add the files of a record (path and sha256 of each); return whether any of them is new.

    A file of the same name that the user named comes first. Raises `RequestError` for one that is
    missing, and, unless the user named it, for one that changed or that this user never trained
    with: whoever made the record chose both path and hash.
    """
    own = {path.name: path for path in named() if path not in _recorded}
    found: dict[Path, str] = {}
    for place, known in recorded.items():
        path = own.get(Path(place).name, _absolute(Path(place)))
        if not path.is_file():
            raise RequestError(
                f"the plugin file `{place}` that this was made with is missing: put it back, or "
                "give it with `--plugin FILE`."
            )
        if (now := sha256(path)) != known:
            change = (
                f"`{path}` is not the plugin file that this was made with (sha256 {now[:12]}…, was "
                f"{str(known)[:12]}…)"
            )
            if path.name not in own:
                raise RequestError(
                    f"{change}: restore it, or use it as it is with `--plugin {path}`."
                )
            show(f"ftr: {change}")
        if path.name not in own:
            if not trust.is_trusted(trust.plugin(now)):
                raise RequestError(
                    f"the plugin file `{path}` would be run because this folder names it, and you "
                    "never trained with a file of this content: read it, then name it yourself "
                    f"with `--plugin {path}` (or `{VARIABLE}`)."
                )
            found[path] = now
    other = any(_recorded.get(path, now) != now for path, now in found.items())
    new = add(found)
    _recorded.update(found)
    return new or other


def hashes() -> dict[str, str]:
    """Return the hash of each named file as it is now, "" for one that cannot be a plugin."""
    files = named()
    return {
        str(path): "" if fault(path, files[:index]) else sha256(path)
        for index, path in enumerate(files)
    }


def forget(before: Iterable[Path] = ()) -> None:
    """Forget the files that were `given`, except those in `before`; drop the modules of others."""
    _given[:] = before
    for path in set(_loaded) - set(named()):
        del _loaded[path]
        sys.modules.pop(path.stem, None)
    for path in set(_recorded) - set(named()):
        del _recorded[path]


def fault(path: Path, others: Sequence[Path] = ()) -> str | None:
    """Return why a file cannot be a plugin beside `others`, with the fix, or None."""
    if not path.is_file():
        if kind := no_file(path):
            return f"it is {kind}: a plugin of one file is a Python file, `NAME.py`."
        beside = sorted(entry.name for entry in path.parent.glob("*.py"))
        return f"there is no such file.{did_you_mean(path.name, beside)}"
    if path.suffix != ".py":
        return "a plugin of one file is a Python file, `NAME.py`."
    if not path.stem.isidentifier() or keyword.iskeyword(path.stem):
        return (
            f"`{path.stem}` cannot be the name of a module: use letters, digits and `_`, as in "
            f"`{_legal(path.stem)}.py`."
        )
    if os.pathsep in str(path):
        return (
            f"its path holds `{os.pathsep}`, which separates paths in `{VARIABLE}`: rename the "
            "folder."
        )
    same = next((other for other in others if other.stem == path.stem and other != path), None)
    if same is not None:
        return (
            f"`{same}` has the same name, and both would be the module `{path.stem}`: rename one."
        )
    hidden = _installed(path)
    if hidden and not path.parent.name.startswith(SENT):
        return f"it would hide the module `{path.stem}` ({hidden}): rename the file."
    return None


class _Checked(SourceFileLoader):
    """Compiles the file only if it has the known hash.

    Compiled code in `__pycache__` may be of a file of the same size and second, or somebody else's.
    """

    def __init__(self, path: Path, digest: str) -> None:
        super().__init__(path.stem, str(path))
        self.digest = digest

    def get_code(self, fullname: str) -> CodeType:
        """Read and compile the file. Raises `PluginError` when it changed since it was hashed."""
        source = self.get_data(self.path)
        if sha256(source) != self.digest:
            raise PluginError(f"`{self.path}` changed while it was loaded: try again.")
        code: CodeType = self.source_to_code(source, self.path)
        return code


def load(path: Path, digest: str) -> ModuleType:
    """Run the file as the module of its name, unless this content is loaded; return the module.

    Raises `PluginError` when it cannot be a plugin or has changed, and whatever it raises; a module
    that failed is removed.
    """
    present = sys.modules.get(path.stem)
    if present is not None and _loaded.get(path) == digest:
        return present
    loader = _Checked(path, digest)
    spec = spec_from_file_location(path.stem, path, loader=loader)
    if spec is None:
        raise PluginError(f"`{path}` cannot be read as a Python file.")
    if _recorded.get(path, digest) != digest:
        raise PluginError(f"`{path}` changed while it was loaded: start the command again.")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    _loaded[path] = digest
    return module


def _installed(path: Path) -> str | None:
    """Return where Python finds another module of this name, or None."""
    if path.stem in sys.stdlib_module_names:
        return "of Python itself"
    try:
        spec = find_spec(path.stem)
    except (ImportError, ValueError):
        return "loaded already"
    if spec is None:
        return None
    found = Path(next(iter(spec.submodule_search_locations or [spec.origin or "built in"])))
    return None if found.is_file() and found.samefile(path) else str(found)


def _legal(stem: str) -> str:
    name = re.sub(r"\W", "_", stem)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"my_{name}"
