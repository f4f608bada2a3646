"""`ftr submit`: run any command on a cluster through Ray's job server, with the files it names."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ftr import atomic
from ftr.cluster import node as look
from ftr.cluster import node as results
from ftr.cluster import ship
from ftr.cluster.jobserver import JobServer
from ftr.config.parse import (
    COMPONENTS,
    PLUGINS,
    Layer,
    Setting,
    parse_words,
    plugin_files,
    read_settings,
)
from ftr.config.space import read_dimension
from ftr.config.values import write_value
from ftr.errors import ConfigError, RequestError, RunError
from ftr.registry import trust
from ftr.registry.discovery import own_version
from ftr.registry.registry import Registry
from ftr.terminal import mask

LIMIT = 200 * 2**20
"""Bytes that are sent with a command; Ray's own limit is 500 MiB, kept in the memory of the
head.
"""
HOME = "~/ftr-jobs"
"""Folder on the head for what a submitted command makes, unless it says where: one folder a job."""
TRAINING = ("run", "sweep")
_NAMING = ("config", "dataset", "model", "head")
_WITH_FILES = ("data", "train", "trainer")
"""Groups of keys that may name a file, such as `trainer.fsdp_config`, and never a folder to be
sent.
"""
_SENT = "sent"


@dataclass(frozen=True, slots=True)
class Packed:
    """A command as the cluster gets it: `words`, `files` by their place in its working folder, and
    where results go.

    `output` is a folder on the head; `here` the folder of this machine that would have had them,
    None where the command makes no run or says itself where on the cluster it goes.
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

    A relative path that is here is sent and keeps its name; an absolute one is taken for a path on
    the cluster. `plugins` are the places there of plugin files, which are sent by others. Raises
    `RequestError` where that cannot be, and when all of it is too large.
    """
    command, *rest = words
    files: dict[str, Path] = {}
    settings = [word for word in rest if "=" in word and not word.startswith("-")]
    rest = [
        part for word in rest for part in (_rewritten(word, files) if word in settings else [word])
    ]
    extra = [f"{key}={_word(value)}" for key, value in _of_files(settings, files)]
    if plugins and PLUGINS in _all(settings):
        extra.append(f"{PLUGINS}=[{','.join(plugins)}]")
    others = [
        word if "=" in word or word.startswith("-") else _bare(command, word, files)
        for word in rest
    ]
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
    kept = [
        word
        for word in others
        if word.partition("=")[0] not in {more.partition("=")[0] for more in extra}
    ]
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
    """Return the settings of the words and of the files that `config` names, where those are
    here.
    """
    given = parse_words(settings)
    named = given.get("config")
    value = named.value if named else []
    paths = value if isinstance(value, list) else [value]
    return read_settings(settings) if all(Path(str(path)).is_file() for path in paths) else given


def _rewritten(word: str, files: dict[str, Path]) -> list[str]:
    """Take along what a word names, and return it with the places there; a mapping that changes
    becomes a word for each of its keys.
    """
    layer = parse_words([word])
    placed = {key: _placed(key, setting, files) for key, setting in layer.items()}
    if all(placed[key] in (setting.value, setting.text) for key, setting in layer.items()):
        return [word]
    return [f"{key}={_word(value)}" for key, value in placed.items()]


def _of_files(settings: Sequence[str], files: dict[str, Path]) -> Iterator[tuple[str, object]]:
    """Take along what the files of `config` name, and yield the settings in them that name another
    place there.
    """
    words = parse_words(settings)
    for key, setting in _all(settings).items():
        if key not in words and (value := _placed(key, setting, files)) != setting.value:
            yield key, value


def _placed(key: str, setting: Setting, files: dict[str, Path]) -> object:
    """Return the value of a setting with the places of the files that it names, inside expressions,
    lists and mappings too.
    """
    if key.partition(".")[0] in _NAMING:
        # A folder may be called 2024.
        value = setting.text if key in COMPONENTS and setting.text is not None else setting.value
        return _value(
            key, value, setting.origin, lambda path: _send(path, files) if _is_here(path) else path
        )
    if key.partition(".")[0] in _WITH_FILES:
        return _value(
            key,
            setting.value,
            setting.origin,
            lambda path: _send(path, files) if _is_here(path, a_file=True) else path,
        )
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
            f"`{word}` lies on this machine: a run is resumed where it lies. Give its path on the "
            "cluster, or resume it here."
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
    """Take a file or folder along and return its place: its own, or a new one where it lies outside
    this folder.
    """
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
            f"what the command names here has {sum(sizes.values()) / 1e6:.0f} MB, most of it "
            f"`{largest}`; at most {LIMIT / 1e6:.0f} MB are sent along. Put it where all nodes see "
            "it, and give its absolute path there."
        )


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


Say = Callable[[str], None]

PYTHON = "python"
"""As Ray's own documents call it: the Python that stands first on the path of the head's `ray
start`.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted command: its id, where its results lie on the head, and where they belong on this
    machine.
    """

    server: JobServer
    id: str
    output: str | None
    here: Path | None


def submit(
    words: Sequence[str], server: JobServer, registry: Registry, say: Say, fetch: Path | None = None
) -> Job:
    """Send the command `words` to the cluster, with the files it names and the plugins that the
    head lacks, and start it.

    `fetch` is where results shall go, if not to `output`. Raises `RequestError` before anything is
    started.
    """
    _check_secrets(words)
    name = f"ftr-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    packed = pack(words, name, list(ship.places(registry).values()))
    if words[0] in TRAINING:
        trust.remember(trust.plugin(plugin.sha256) for plugin in registry.files)
    here = fetch or packed.here
    wanted = ship.wanted(registry)
    own = look.look(wanted)
    lacking = ship.differences(
        own, _look_there(server, wanted), urlsplit(server.address).hostname or "?", python=False
    )
    notes = {
        "ftr": own_version(),
        "ftr_command": shlex.join(packed.words),
        "ftr_output": packed.output or "",
        "ftr_here": str(here or ""),
    }
    with atomic.scratch("submit") as scratch:
        folder = Path(scratch)
        put(packed, folder, say)
        ship.stage(lacking, own, folder)
        for sent in lacking:
            say(f"sends {sent} {own['packages'][sent]['version']}, which the head lacks")
        # What Ray uploads must not be empty.
        (folder / "ftr-command.txt").write_text(notes["ftr_command"] + "\n", encoding="utf-8")
        ship.stage_files(registry, folder)
        for plugin in registry.files:
            say(f"sends {plugin.distribution} {plugin.version}, a plugin")
        environment = {**ship.environment(registry, silent=False), "PYTHONUNBUFFERED": "1"}
        server.submit(f"{PYTHON} -m ftr {notes['ftr_command']}", name, folder, environment, notes)
    return Job(server, name, packed.output, here)


def _check_secrets(words: Sequence[str]) -> None:
    """Refuse secrets in a command: Ray shows it to all who see the cluster, and keeps it in its
    logs.
    """
    for word in words:
        if mask(word) != word:
            raise ConfigError(
                f"`{mask(word)}` has a secret, and Ray shows a submitted command to all who see "
                "the cluster: write the setting into a file and give `config=FILE`, or let the "
                "nodes have it in their environment (S3: `AWS_ACCESS_KEY_ID`, …)."
            )


def find(server: JobServer, job: str, fetch: Path | None = None) -> Job:
    """Return a job that was submitted before.

    Raises `RequestError` when the server knows none of that id.
    """
    notes = server.details(job).metadata or {}
    here = fetch or (Path(notes["ftr_here"]) if notes.get("ftr_here") else None)
    return Job(server, job, notes.get("ftr_output") or None, here)


def fetch_results(job: Job) -> list[Path]:
    """Copy the runs and sweeps that a job made to this machine, and return where they lie.

    Raises `RunError` when they cannot be had.
    """
    if job.output is None or job.here is None:
        return []
    details = job.server.details(job.id)
    helper = f"{job.id}-results-{secrets.token_hex(2)}"
    words = ["--output", job.output, "--since", str((details.start_time or 0) / 1000 - 1)]
    with atomic.scratch("fetch") as scratch:
        # The standard library is all it takes there, besides Ray.
        (Path(scratch) / "ftr_results.py").write_bytes(Path(results.__file__).read_bytes())
        job.server.submit(
            f"{PYTHON} ftr_results.py {shlex.join(words)}",
            helper,
            Path(scratch),
            {},
            {"ftr": own_version()},
        )
        try:
            told = _marked(
                job.server.wait(
                    helper, lambda log: results.MARK in log, seconds=results.KEPT_SECONDS
                ),
                results.MARK,
            )
            offered = json.loads(told)
            if not offered["names"]:
                return []
            archive = Path(scratch) / "results.tar"
            job.server.fetch(offered["node"], offered["file"], archive)
            with archive.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != offered["sha256"]:
                    raise RunError(
                        f"the results of `{job.id}` came back damaged; they lie on the head in "
                        f"`{job.output}`."
                    )
            results.unpack(archive, job.here)
            for name in offered["names"]:
                atomic.to_disk(job.here / name)
        finally:
            job.server.stop(helper)
    return [job.here / name for name in offered["names"]]


def _look_there(server: JobServer, wanted: ship.Wanted) -> look.Report:
    """Ask the head what is installed there."""
    name = f"ftr-look-{secrets.token_hex(4)}"
    with atomic.scratch("look") as scratch:
        (Path(scratch) / "look.py").write_bytes(Path(look.__file__).read_bytes())
        server.submit(
            f"{PYTHON} look.py {shlex.quote(json.dumps(wanted))}",
            name,
            Path(scratch),
            {},
            {"ftr": own_version()},
        )
        try:
            log = server.wait(name)
        except BaseException:
            server.stop(name)
            raise
    told = _marked(log, look.MARK)
    if not told:
        last = next(reversed(log.strip().splitlines()), "it printed nothing")
        raise RunError(f"`{PYTHON}` on the head cannot say what is installed there: {last}")
    report: look.Report = json.loads(told)
    return report


def _marked(log: str, mark: str) -> str:
    return log.rpartition(mark)[2].partition("\n")[0] if mark in log else ""
