"""What of this machine a command takes along to a cluster: files it names by relative paths, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ftr.config.overrides import COMPONENTS, PLUGINS, Layer, Setting, parse_words
from ftr.config.plugins import plugin_files
from ftr.config.settings import read_settings
from ftr.config.space import read_dimension
from ftr.config.values import write_value
from ftr.errors import RequestError

LIMIT = 200 * 2**20
"""Bytes that are sent with a command; Ray's own limit is 500 MiB, kept in the memory of the head."""
HOME = "~/ftr-jobs"
"""Folder on the head for what a submitted command makes, unless it says where: one folder a job."""
TRAINING = ("run", "sweep")
_NAMING = ("config", "dataset", "model", "head")
_WITH_FILES = ("data", "train", "trainer")
"""Groups of keys that may name a file, such as `trainer.fsdp_config`, and never a folder to be sent."""
_SENT = "sent"


@dataclass(frozen=True, slots=True)
class Packed:
    """A command as the cluster gets it: `words`, `files` by their place in its working folder, and where results go.

    `output` is a folder on the head; `here` the folder of this machine that would have had them, None where the command
    makes no run or says itself where on the cluster it goes.
    """

    words: tuple[str, ...]
    files: dict[str, Path]
    output: str | None = None
    here: Path | None = None


def plugin_files_of(words: Sequence[str]) -> list[str]:
    """Return the plugin files that the settings of a command name."""
    return plugin_files(_all([word for word in words if "=" in word and not word.startswith("-")]))


def pack(words: Sequence[str], job: str, plugins: Sequence[str] = ()) -> Packed:
    """Return the command `words` (`run task=qa dataset=mine.json`) made ready for the cluster.

    A relative path that is here is sent and keeps its name; an absolute one is taken for a path on the cluster. `plugins` are
    the places there of plugin files, which are sent by others. Raises `RequestError` where that cannot be, and when all of it
    is too large.
    """
    command, *rest = words
    files: dict[str, Path] = {}
    settings = [word for word in rest if "=" in word and not word.startswith("-")]
    rest = [part for word in rest for part in (_rewritten(word, files) if word in settings else [word])]
    extra = [f"{key}={_word(value)}" for key, value in _of_files(settings, files)]
    if plugins and PLUGINS in _all(settings):
        extra.append(f"{PLUGINS}=[{','.join(plugins)}]")
    others = [word if "=" in word or word.startswith("-") else _bare(command, word, files) for word in rest]
    output = here = None
    if command in TRAINING:
        given = _all(settings)
        asked = str(given["output"].value) if "output" in given else "runs"
        if Path(asked).is_absolute() or asked.startswith("~"):
            output = asked
        else:
            here, output = Path(asked), f"{HOME}/{job}"
            extra.append(f"output={output}")
        if "compute.address" not in given:
            extra.append("compute.address=auto")
    kept = [word for word in others if word.partition("=")[0] not in {more.partition("=")[0] for more in extra}]
    _check_size(files)
    return Packed((command, *_before_options(kept, extra)), files, output, here)


def put(packed: Packed, folder: Path, say: Callable[[str], None]) -> None:
    """Copy what is sent into `folder`, in its places, and say what that is."""
    for place, source in packed.files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        say(f"sends {source} ({_size(source) / 1e6:.1f} MB)")


def _all(settings: Sequence[str]) -> Layer:
    """Return the settings of the words and of the files that `config` names, where those are here."""
    given = parse_words(settings)
    named = given.get("config")
    paths = [named.value] if named and isinstance(named.value, str) else list(named.value) if named else []  # type: ignore[call-overload]
    return read_settings(settings) if all(Path(str(path)).is_file() for path in paths) else given


def _rewritten(word: str, files: dict[str, Path]) -> list[str]:
    """Take along what a word names, and return it with the places there; a mapping that changes becomes a word for each of its keys."""
    layer = parse_words([word])
    placed = {key: _placed(key, setting, files) for key, setting in layer.items()}
    if all(placed[key] in (setting.value, setting.text) for key, setting in layer.items()):
        return [word]
    return [f"{key}={_word(value)}" for key, value in placed.items()]


def _of_files(settings: Sequence[str], files: dict[str, Path]) -> Iterator[tuple[str, object]]:
    """Take along what the files of `config` name, and yield the settings in them that name another place there."""
    words = parse_words(settings)
    for key, setting in _all(settings).items():
        if key not in words and (value := _placed(key, setting, files)) != setting.value:
            yield key, value


def _placed(key: str, setting: Setting, files: dict[str, Path]) -> object:
    """Return the value of a setting with the places of the files that it names, inside expressions, lists and mappings too."""
    if key.partition(".")[0] in _NAMING:
        # A folder may be called 2024.
        value = setting.text if key in COMPONENTS and setting.text is not None else setting.value
        return _value(key, value, setting.origin, lambda path: _send(path, files) if _is_here(path) else path)
    if key.partition(".")[0] in _WITH_FILES:
        return _value(key, setting.value, setting.origin, lambda path: _send(path, files) if _is_here(path, a_file=True) else path)
    return setting.value


def _value(key: str, value: object, origin: str, place: Callable[[str], str]) -> object:
    dimension = read_dimension(key, value, origin)
    if dimension is not None:
        values = tuple(_value(f"{key}.", item, origin, place) for item in dimension.values)
        return value if values == dimension.values else replace(dimension, values=values).text
    if isinstance(value, Mapping):
        return {name: _value(f"{key}.{name}", item, origin, place) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_value(f"{key}.", item, origin, place) for item in value)
    return place(value) if isinstance(value, str) else value


def _word(value: object) -> str:
    return value if isinstance(value, str) else write_value(value)


def _bare(command: str, word: str, files: dict[str, Path]) -> str:
    if not _is_here(word):
        return word
    if command == "resume":
        raise RequestError(
            f"`{word}` lies on this machine: a run is resumed where it lies. Give its path on the cluster, or resume it here."
        )
    return _send(word, files)


def _is_here(path: str, *, a_file: bool = False) -> bool:
    """Whether a path is one of this machine: `~` and what is absolute are those of the cluster."""
    if not path or path.startswith("~") or "\0" in path or Path(path).is_absolute():
        return False
    try:
        return Path(path).is_file() if a_file else Path(path).exists()
    except OSError:  # a text that is too long for a name
        return False


def _leads_out(path: str) -> bool:
    return os.path.normpath(path).startswith("..")


def _send(path: str, files: dict[str, Path]) -> str:
    """Take a file or folder along and return its place: its own, or a new one where it lies outside this folder."""
    place = os.path.normpath(path)
    known = next((place for place, source in files.items() if source == Path(path)), None)
    if known is not None:
        return known if _leads_out(path) else path
    if _leads_out(path):
        place = f"{_SENT}/{len(files)}/{os.path.basename(os.path.abspath(path))}"  # noqa: PTH100, PTH119 (a link keeps its name)
    files[place] = Path(path)
    return place if _leads_out(path) else path


def _before_options(words: list[str], extra: list[str]) -> list[str]:
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    return [*words[:first], *extra, *words[first:]]


def _check_size(files: dict[str, Path]) -> None:
    sizes = {str(path): _size(path) for path in files.values()}
    if sum(sizes.values()) > LIMIT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise RequestError(
            f"what the command names here has {sum(sizes.values()) / 1e6:.0f} MB, most of it `{largest}`; at most {LIMIT / 1e6:.0f} MB "
            "are sent along. Put it where all nodes see it, and give its absolute path there."
        )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
