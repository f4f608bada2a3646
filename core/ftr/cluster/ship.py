"""What is sent to nodes: plugins, the files that a submitted command names, and encoded rows."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.cluster.node import Report, code_files, own_modules
from ftr.cluster.storage import Storage
from ftr.config.found import SWITCH, map_texts, with_found
from ftr.config.parse import (
    COMPONENTS,
    PLUGINS,
    Layer,
    Setting,
    parse_words,
    plugin_files,
    read_settings,
)
from ftr.config.values import write_value
from ftr.data.encode import StoredSplit, discard, stored
from ftr.errors import ConfigError, RequestError
from ftr.paths import is_pattern, looks_like_path, present
from ftr.registry.discovery import CONTRACTS, OWN
from ftr.registry.plugin_files import SENT, VARIABLE
from ftr.registry.registry import NOTICES_PRINTED, Registry, own_packages
from ftr.registry.trust import CHECKED
from ftr.terminal import is_secret, mask

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
    """Return the environment variables that load the same plugins elsewhere, with `silent` without
    notices.

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
    """Return the relative path of each one-file plugin in the folder where it is staged.

    Its folder has a name made of the content, so no other file of that name is found on a path.
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
    """Copy the modules of distributions into `folder`, with the metadata for discovery; return the
    copies.

    Each is a package, a module or a `*.dist-info`: with `folder` on Python's path ftr finds the
    plugin as if installed. Raises `ConfigError` for one that is too large.
    """
    staged: list[Path] = []
    for name in names:
        package: Mapping[str, Any] = here["packages"][name]
        if package["size"] > LIMIT:
            raise ConfigError(
                f"`{name}` is missing on a node, and {package['size'] / 1e6:.0f} MB are too large "
                f"to send (limit {LIMIT / 1e6:.0f} MB): install it there."
            )
        for path in map(Path, package["paths"]):
            for file in code_files(path):
                _copy(file, folder / file.relative_to(path.parent))
            staged.append(folder / path.name)
        dist = metadata.distribution(name)
        info = folder / f"{name.replace('-', '_')}-{package['version']}.dist-info"
        info.mkdir(parents=True)
        for record in _RECORDS:
            if text := dist.read_text(record):
                (info / record).write_text(text, encoding="utf-8")
        staged.append(info)
    return staged


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


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
                f"the plugin file `{source}` changed after this program loaded it: start it again."
            )
        _copy(source, target)
    return sorted({target.parent for target in staged})


COMMAND_LIMIT = 200 * 2**20
"""Largest size in bytes of the files sent with a command; Ray's own limit is 500 MiB, which the
head keeps in memory.
"""
RESULTS = "~/ftr-jobs"
"""Folder on the head for the results of a command without `output`, with one folder per job."""
TRAINING = ("run", "sweep")
_NAMING = ("config", "dataset", "model", "head")
_WITH_FILES = ("data", "train", "trainer")
"""Groups of keys that may name a file to send, such as `trainer.fsdp_config`, but no folder."""


@dataclass(frozen=True, slots=True)
class ClusterCommand:
    """A command for the cluster: its `words`, and the `files` it needs by their path in its working
    folder.

    `output` is the folder on the head for results; `here` the one on this machine, None where the
    command makes no run or names a folder of the cluster.
    """

    words: tuple[str, ...]
    files: dict[str, Path]
    output: str | None = None
    here: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    """Of the settings that the user did not type in the command."""

    def copy_files(self, folder: Path) -> Iterator[str]:
        """Copy the files into `folder`, and yield a line with name and size for each."""
        for relative, source in self.files.items():
            if source.is_dir():
                shutil.copytree(source, folder / relative, dirs_exist_ok=True)
            else:
                _copy(source, folder / relative)
            yield f"sends {source} ({_size(source) / 1e6:.1f} MB)"


_TRACKERS = ("MLFLOW_", "WANDB_", "TRACKIO_", "TENSORBOARD_LOGGING_DIR")
"""How the variables begin that configure trackers."""
_SECRET = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)


def tracker_variables() -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment variables of trackers, and those of them that hold a secret."""
    own = {name: one for name, one in os.environ.items() if name.startswith(_TRACKERS)}
    secret = {name for name, one in own.items() if _SECRET.search(name) or mask(one) != one}
    return own, {name: own[name] for name in secret}


def tracker_environment(words: Sequence[str], report: Callable[[str], None]) -> dict[str, str]:
    """Return the environment variables of trackers for a command that names some; `report` says
    which are not sent because they hold a secret: Ray shows the environment of a job.
    """
    if "tracker" not in _settings(list(filter(_is_setting, words))):
        return {}
    own, kept = tracker_variables()
    for name in sorted(kept):
        report(f"`{name}` is not sent, for it is a secret: set it in the environment of the head")
    return {name: one for name, one in own.items() if name not in kept}


def plugin_files_of(words: Sequence[str]) -> list[str]:
    """Return the plugin files that the settings of a command name."""
    own = _settings(list(filter(_is_setting, words)))
    return plugin_files({**own, **(found_here(words) if words else {})})


def cluster_command(words: Sequence[str], job: str, plugins: Sequence[str] = ()) -> ClusterCommand:
    """Return the command `words` (`run task=qa dataset=mine.json`) for the cluster.

    A relative path that exists here is sent and keeps its name; an absolute one is a path on the
    cluster. `plugins` are the paths there of plugin files. Raises `RequestError` where that is not
    possible, and when the files are too large.
    """
    command, *rest = words
    typed = list(filter(_is_setting, rest))
    given, files = _settings(typed), dict[str, Path]()
    translated: list[str] = []
    for word in rest:
        if _is_setting(word):
            translated += _translated(word, files)
        else:
            translated.append(_argument(command, word, files))
    known = parse_words(typed)
    found = found_here(words)
    given |= found
    extra = {  # settings of `config` files whose path changes
        key: _text(value)
        for key, setting in given.items()
        if key not in known and (value := _value_there(key, setting, files)) != setting.value
    }
    extra |= {k: write_value(_value_there(k, one, files)) for k, one in found.items()}
    origins = {key: given[key].origin for key in extra}
    if plugins and PLUGINS in given:
        extra[PLUGINS] = f"[{','.join(plugins)}]"
    output = here = None
    if command in TRAINING:
        asked = str(given["output"].value) if "output" in given else "runs"
        if Path(asked).is_absolute() or asked.startswith("~"):
            output = asked
        else:
            here, output = Path(asked), f"{RESULTS}/{job}"
            extra["output"] = output
            origins["output"] = "ftr submit"
        if "compute.address" not in given:
            extra["compute.address"] = "auto"
            origins["compute.address"] = "ftr submit"
    kept = [word for word in translated if word.partition("=")[0] not in extra]
    _check_size(files)
    # Settings come before the options of the command.
    first = next((index for index, word in enumerate(kept) if word.startswith("-")), len(kept))
    kept[first:first] = [f"{key}={value}" for key, value in extra.items()]
    return ClusterCommand((command, *kept), files, output, here, origins)


def found_here(words: Sequence[str]) -> Layer:
    """Return the settings of a command that are found on this machine: it finds none there.

    Raises `ConfigError` for secrets, which Ray would show, and beside a `config` file there.
    """
    command, *rest = words
    if command not in (*TRAINING, "plan", "show", "schema"):
        return {}
    sweep = "sweep" in (command, *rest[:1])
    typed = [
        word
        for word in rest
        if not word.startswith("-")
        and (_is_setting(word) or looks_like_path(word) or present(word))
    ]
    own = _settings(typed)
    if "config" in own:  # a file of the cluster
        typed = [word for word in typed if word.partition("=")[0] != "config"]
    whole = with_found(typed, sweep=sweep)
    found = {key: one for key, one in whole.items() if own.get(key) != one}
    for key, one in found.items():
        text = write_value(one.value)
        if is_secret(key) or mask(text) != text:
            raise ConfigError(
                f"`{key}` ({one.origin}) is a secret, and Ray shows a submitted command to all "
                f"users of the cluster: set it there, or leave found settings out with "
                f"`{SWITCH}=off`.",
                keys=[key],
            )
    if found and "config" in own:
        raise ConfigError(
            f"`config={own['config'].text}` is a file of the cluster, and settings were found "
            f"here ({next(iter(found.values())).origin}): leave those out with `{SWITCH}=off`."
        )
    return found


def _is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _settings(words: Sequence[str]) -> Layer:
    """Return the settings of the words, and of their `config` files where those exist here."""
    given = parse_words(words)
    named = given.get("config")
    value = named.value if named else []
    paths = value if isinstance(value, list) else [value]
    return read_settings(words) if all(Path(str(path)).is_file() for path in paths) else given


def _translated(word: str, files: dict[str, Path]) -> list[str]:
    """Send the files that a setting names, and return it with their paths there.

    A mapping that changes becomes one word for each of its keys.
    """
    layer = parse_words([word])
    there = {key: _value_there(key, setting, files) for key, setting in layer.items()}
    if all(there[key] in (setting.value, setting.text) for key, setting in layer.items()):
        return [word]
    return [f"{key}={_text(value)}" for key, value in there.items()]


def _text(value: object) -> str:
    return value if isinstance(value, str) else write_value(value)


def _value_there(key: str, setting: Setting, files: dict[str, Path]) -> object:
    """Send the files that a setting names, also inside expressions, lists and mappings; return its
    value with their paths there.
    """
    group = key.partition(".")[0]
    if group not in (*_NAMING, *_WITH_FILES):
        return setting.value
    only_files = group in _WITH_FILES

    def translate(value: str) -> str:
        if _is_here(value, only_files=only_files):
            return _send(value, files)
        if group == "dataset" and is_pattern(value):
            for path in filter(_is_here, glob.glob(value, recursive=True)):  # noqa: PTH207 (it knows `**`)
                _send(path, files)
        return value

    # A folder may be called 2024.
    as_text = not only_files and key in COMPONENTS and setting.text is not None
    value = setting.text if as_text else setting.value
    return map_texts(key, value, setting.origin, translate)


def _argument(command: str, word: str, files: dict[str, Path]) -> str:
    if word.startswith("-") or not _is_here(word):
        return word
    if command == "resume":
        raise RequestError(
            f"`{word}` is on this machine, and a run is resumed where it is. Give its path on the "
            "cluster, or resume it here."
        )
    return _send(word, files)


def _is_here(path: str, *, only_files: bool = False) -> bool:
    """Whether a path exists on this machine: `~` and absolute paths are of the cluster."""
    if not path or path.startswith("~") or "\0" in path or Path(path).is_absolute():
        return False
    try:
        return Path(path).is_file() if only_files else Path(path).exists()
    except OSError:  # a text that is too long for a name
        return False


def _send(path: str, files: dict[str, Path]) -> str:
    """Add a file or folder to those that are sent; return its path there, which differs where it is
    outside this folder.
    """
    relative = os.path.normpath(path)
    outside = relative.startswith("..")
    known = next((there for there, source in files.items() if source == Path(path)), None)
    if known is None:
        name = os.path.basename(os.path.abspath(path))  # noqa: PTH100, PTH119 (a link keeps its name)
        known = f"sent/{len(files)}/{name}" if outside else relative
        files[known] = Path(path)
    return known if outside else path


def _check_size(files: dict[str, Path]) -> None:
    sizes = {str(path): _size(path) for path in files.values()}
    if sum(sizes.values()) > COMMAND_LIMIT:
        raise RequestError(
            f"the files that the command names have {sum(sizes.values()) / 1e6:.0f} MB, most of it "
            f"`{max(sizes, key=sizes.__getitem__)}`; the limit is {COMMAND_LIMIT / 1e6:.0f} MB. "
            "Put them where all nodes see them, and give the absolute path there."
        )


def _size(path: Path) -> int:
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in paths if file.is_file())


FOLDER = "encoded"


def share_splits(storage: Storage, splits: Mapping[str, StoredSplit]) -> dict[str, dict[str, Any]]:
    """Send the folders of encoded rows that `storage` lacks; return where each split is, as JSON.

    The folders are named by the key of their content, so later runs use them too. Two drivers that
    send one key at once leave two complete copies.
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
    """Return `StoredSplit`s as dicts with files on this node; fetch missing ones into the cache
    `folder`.

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
    advice = "Free space, or set another folder with `data.cache=` or `FTR_CACHE`."
    with contextlib.ExitStack() as stack:
        with atomic.writing(lock, advice):
            here.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(atomic.locked(lock))
        if not stored(here):
            discard(here)
            storage.fetch(name, here)
