"""`ftr submit`: run any command on a cluster through Ray's job server, with the files it names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ftr import atomic
from ftr.cluster import node, ray_private, ship
from ftr.cluster.connect import silence_ray, token_trouble
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
"""Largest size in bytes of what is sent with a command. Ray's own limit is 500 MiB, which the head
keeps in memory.
"""
HOME = "~/ftr-jobs"
"""Folder on the head for the results of a submitted command without `output`, one folder a job."""
TRAINING = ("run", "sweep")
_NAMING = ("config", "dataset", "model", "head")
_WITH_FILES = ("data", "train", "trainer")
"""Groups of keys that may name a file, such as `trainer.fsdp_config`, and never a folder to be
sent.
"""
_SENT = "sent"


@dataclass(frozen=True, slots=True)
class ClusterCommand:
    """A command as the cluster runs it: `words`, and `files` by their path in its working folder.

    `output` is the folder on the head for results; `here` the one on this machine, None where the
    command makes no run or names a folder of the cluster itself.
    """

    words: tuple[str, ...]
    files: dict[str, Path]
    output: str | None = None
    here: Path | None = None


def plugin_files_of(words: Sequence[str]) -> list[str]:
    """Return the plugin files that the settings of a command name."""
    return plugin_files(_all([word for word in words if "=" in word and not word.startswith("-")]))


def cluster_command(words: Sequence[str], job: str, plugins: Sequence[str] = ()) -> ClusterCommand:
    """Return the command `words` (`run task=qa dataset=mine.json`) as it runs on the cluster.

    A relative path that exists here is sent and keeps its name; an absolute one is a path on the
    cluster. `plugins` are the paths there of plugin files. Raises `RequestError` where that is not
    possible, and when the files are too large.
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
    return ClusterCommand((command, *_before_options(kept, extra)), files, output, here)


def _copy_files(command: ClusterCommand, folder: Path, say: Callable[[str], None]) -> None:
    """Copy the files of a command into `folder`, and print their names and sizes."""
    for place, source in command.files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        say(f"sends {source} ({_size(source) / 1e6:.1f} MB)")


def _all(settings: Sequence[str]) -> Layer:
    """Return the settings of the words and of the `config` files, where those are here."""
    given = parse_words(settings)
    named = given.get("config")
    value = named.value if named else []
    paths = value if isinstance(value, list) else [value]
    return read_settings(settings) if all(Path(str(path)).is_file() for path in paths) else given


def _rewritten(word: str, files: dict[str, Path]) -> list[str]:
    """Send what a word names, and return it with the paths there; a mapping that changes becomes a
    word for each of its keys.
    """
    layer = parse_words([word])
    placed = {key: _placed(key, setting, files) for key, setting in layer.items()}
    if all(placed[key] in (setting.value, setting.text) for key, setting in layer.items()):
        return [word]
    return [f"{key}={_word(value)}" for key, value in placed.items()]


def _of_files(settings: Sequence[str], files: dict[str, Path]) -> Iterator[tuple[str, object]]:
    """Send what `config` files name, and yield those of their settings whose path changes."""
    words = parse_words(settings)
    for key, setting in _all(settings).items():
        if key not in words and (value := _placed(key, setting, files)) != setting.value:
            yield key, value


def _placed(key: str, setting: Setting, files: dict[str, Path]) -> object:
    """Return the value of a setting with the paths there of the files that it names, inside
    expressions, lists and mappings too.
    """
    group = key.partition(".")[0]
    if group not in (*_NAMING, *_WITH_FILES):
        return setting.value
    a_file = group in _WITH_FILES
    # A folder may be called 2024.
    as_text = not a_file and key in COMPONENTS and setting.text is not None

    def place(path: str) -> str:
        return _send(path, files) if _is_here(path, a_file=a_file) else path

    return _value(key, setting.text if as_text else setting.value, setting.origin, place)


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
    """Whether a path is one of this machine: `~` and absolute paths are of the cluster."""
    if not path or path.startswith("~") or "\0" in path or Path(path).is_absolute():
        return False
    try:
        return Path(path).is_file() if a_file else Path(path).exists()
    except OSError:  # a text that is too long for a name
        return False


def _leads_out(path: str) -> bool:
    return os.path.normpath(path).startswith("..")


def _send(path: str, files: dict[str, Path]) -> str:
    """Add a file or folder to those that are sent; return its path there, a new one where it is
    outside this folder.
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


DEFAULT = "http://127.0.0.1:8265"
ANSWER_SECONDS = 8.0
AGENT_SECONDS = 20.0
FETCH_SECONDS = 900
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
STOPPED = 130
_OVERRIDING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class JobServer:
    """The job server at an address.

    Raises `ConfigError` when there is none or it refuses the token.
    """

    def __init__(self, address: str | None) -> None:
        self.address = _checked(address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT)
        silence_ray()
        ray_private.enable_token()
        _check_answer(self.address)
        from ray.job_submission import JobSubmissionClient

        for client in JobSubmissionClient.__mro__:
            logging.getLogger(client.__module__).setLevel(logging.ERROR)

        # Ray lets these win over the address that it is given.
        with _without(*_OVERRIDING), _explained(self.address):
            self._client = JobSubmissionClient(self.address)

    def submit(
        self,
        command: str,
        job: str,
        folder: Path,
        environment: dict[str, str],
        notes: dict[str, str],
    ) -> None:
        """Start the shell command `command` as `job` on the head, in a copy of `folder`."""
        runtime = {"working_dir": str(folder), "env_vars": environment}
        # A folder of data may have such a file, and lacks nothing of it here.
        deadline = time.monotonic() + AGENT_SECONDS
        with _explained(self.address), _with(RAY_RUNTIME_ENV_IGNORE_GITIGNORE="1"):
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=command, submission_id=job, runtime_env=runtime, metadata=notes
                    )
                    return
                except RuntimeError as error:
                    # A head that has just started listens before it can start anything.
                    if "No available agent" not in str(error) or time.monotonic() > deadline:
                        raise
                time.sleep(1)

    def details(self, job: str) -> Any:
        """Return status, exit code, start time and notes of a job.

        Raises `RequestError` for an unknown one.
        """
        with _explained(self.address):
            try:
                return self._client.get_job_info(job)
            except RuntimeError as error:
                if "404" in str(error):
                    raise RequestError(f"`{self.address}` knows no job `{job}`.") from error
                raise

    def log(self, job: str) -> str:
        """Return all that a job has printed."""
        with _explained(self.address):
            text: str = self._client.get_job_logs(job)
            return text

    def stop(self, job: str) -> None:
        """Ask a job to end; Ray gives it 3 seconds (`RAY_JOB_STOP_WAIT_TIME_S` on the head) between
        SIGTERM and SIGKILL.
        """
        with _explained(self.address):
            self._client.stop_job(job)

    def wait(
        self, job: str, ready: Callable[[str], bool] | None = None, seconds: float = 120.0
    ) -> str:
        """Wait until a job has ended, or its log is `ready`, and return the log."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self.details(job).status in ENDED
            log = self.log(job) if ended or ready else ""
            if ended or (ready and ready(log)):
                return log
            if time.monotonic() > deadline:
                raise RunError(
                    f"job `{job}` at {self.address} is not done after {seconds:g} s: is the head "
                    "overloaded?"
                )
            time.sleep(0.3)

    def follow(self, job: str, write: Callable[[str], None]) -> None:
        """Write what a job prints, as it prints it, until it has ended; reconnect when needed."""
        once = _Once(write)
        while True:
            with contextlib.suppress(RuntimeError, OSError):
                asyncio.run(self._tail(job, once))
            if self.details(job).status in ENDED:
                break
            time.sleep(0.5)
        # The last lines may have been printed after the tail ended.
        once(self.log(job), start=0)

    def exit_code(self, job: str) -> int:
        """Return the exit code of a job that has ended.

        Raises `RunError` when it never began or was killed.
        """
        details = self.details(job)
        if details.status == "STOPPED":
            return STOPPED
        code: int | None = details.driver_exit_code
        if code is None or code < 0:
            last = next(reversed((details.message or "").strip().splitlines()), "no reason given")
            raise RunError(
                f"job `{job}` did not end by itself: "
                f"{'killed by signal ' + str(-code) if code else last}"
            )
        return code

    def fetch(self, node: str, file: str, target: Path) -> None:
        """Copy a file of the logs of a node to `target`."""
        import requests

        query = f"node_id={node}&filename={quote(file)}&lines=-1&timeout={FETCH_SECONDS}"
        with _explained(self.address):
            answer = requests.get(
                f"{self.address}/api/v0/logs/file?{query}",
                headers=ray_private.token_headers(),
                stream=True,
                timeout=FETCH_SECONDS,
            )
            answer.raise_for_status()
            with target.open("wb") as stream:
                for piece in answer.iter_content(1 << 20):
                    stream.write(piece)

    async def _tail(self, job: str, once: _Once) -> None:
        lines: AsyncIterator[str] = self._client.tail_job_logs(job)
        seen = 0
        async for text in lines:
            once(text, start=seen)
            seen += len(text)


class _Once:
    """Writes a text that comes in pieces, some of them repeated, every character once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._count = write, 0

    def __call__(self, text: str, start: int) -> None:
        new = text[max(self._count - start, 0) :]
        if new:
            self._write(new)
            self._count = start + len(text)


def _checked(address: str) -> str:
    """Return the address with its scheme. Raises `ConfigError`, also where the extra is missing."""
    try:
        import aiohttp  # noqa: F401
        import requests  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"`ftr submit` needs Ray's job client, and `{error.name}` is missing: install "
            "`ftr[cluster]`."
        ) from error
    full = address if "://" in address else f"http://{address}"
    parts = urlsplit(full)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"`--address {address}`: give the address of the job server, such as "
            "`http://head:8265`."
        )
    return full.rstrip("/")


def _check_answer(address: str) -> None:
    import requests

    try:
        answer = requests.get(
            f"{address}/api/version",
            timeout=ANSWER_SECONDS,
            headers=ray_private.token_headers(),
        )
    except requests.exceptions.ConnectionError:
        raise ConfigError(
            f"`--address {address}`: nobody listens there. The head must run with its dashboard "
            "(`ray start --head --include-dashboard=true`, `ray[default]` installed), and its "
            "port 8265 be reachable."
        ) from None
    except requests.exceptions.RequestException as error:
        raise ConfigError(
            f"`--address {address}`: no answer ({type(error).__name__}): is it the job server of a "
            "Ray cluster?"
        ) from None
    if answer.status_code in (401, 403):
        raise ConfigError(f"`--address {address}`: {token_trouble()}")
    if answer.status_code != 200 or "ray_version" not in answer.text:
        raise ConfigError(
            f"`--address {address}`: something listens there that is no job server of Ray (its "
            "port is 8265)."
        )


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what Ray's client raises into one line."""
    import requests

    try:
        yield
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise RunError(
            f"the job server at {address} is gone: {type(error).__name__}. What runs there goes on "
            "running."
        ) from error
    except RuntimeError as error:
        if "404" in str(error):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(f"the job server at {address} answers: {first}") from error


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextlib.contextmanager
def _with(**variables: str) -> Iterator[None]:
    with _without(*variables):
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                os.environ.pop(name)


Say = Callable[[str], None]

PYTHON = "python"
"""The Python that is first on the path of the head's `ray start`, as in Ray's documentation."""


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted command: its id, and the folders of its results on the head and here."""

    server: JobServer
    id: str
    output: str | None
    here: Path | None


def submit(
    words: Sequence[str], server: JobServer, registry: Registry, say: Say, fetch: Path | None = None
) -> Job:
    """Start the command `words` on the cluster, with the files it names and the plugins that the
    head lacks.

    `fetch` is the folder for results, if not `output`. Raises `RequestError` before a start.
    """
    _check_secrets(words)
    name = f"ftr-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    command = cluster_command(words, name, list(ship.places(registry).values()))
    if words[0] in TRAINING:
        trust.remember(trust.plugin(plugin.sha256) for plugin in registry.files)
    here = fetch or command.here
    wanted = ship.wanted(registry)
    own = node.installed(wanted)
    lacking = ship.differences(
        own,
        _installed_there(server, wanted),
        urlsplit(server.address).hostname or "?",
        python=False,
    )
    notes = {
        "ftr": own_version(),
        "ftr_command": shlex.join(command.words),
        "ftr_output": command.output or "",
        "ftr_here": str(here or ""),
    }
    with atomic.scratch("submit") as scratch:
        folder = Path(scratch)
        _copy_files(command, folder, say)
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
    return Job(server, name, command.output, here)


def _check_secrets(words: Sequence[str]) -> None:
    """Refuse secrets in a command: Ray shows it to all users of the cluster, and logs it."""
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
    """Copy the runs and sweeps of a job to this machine, and return their folders.

    Raises `RunError` when they cannot be fetched.
    """
    if job.output is None or job.here is None:
        return []
    details = job.server.details(job.id)
    helper = f"{job.id}-results-{secrets.token_hex(2)}"
    since = (details.start_time or 0) / 1000 - 1
    with atomic.scratch("fetch") as scratch:
        _submit_node(job.server, helper, Path(scratch), "results", job.output, str(since))
        try:
            log = job.server.wait(helper, lambda log: node.MARK in log, node.KEPT_SECONDS)
            offered = json.loads(_answer(log))
            if not offered["names"]:
                return []
            archive = Path(scratch) / "results.tar"
            job.server.fetch(offered["node"], offered["file"], archive)
            if atomic.sha256(archive) != offered["sha256"]:
                raise RunError(
                    f"the results of `{job.id}` came back damaged; they lie on the head in "
                    f"`{job.output}`."
                )
            node.unpack(archive, job.here)
            for name in offered["names"]:
                atomic.to_disk(job.here / name)
        finally:
            job.server.stop(helper)
    return [job.here / name for name in offered["names"]]


def _installed_there(server: JobServer, wanted: ship.Wanted) -> node.Report:
    """Ask the head what is installed there."""
    job = f"ftr-installed-{secrets.token_hex(4)}"
    with atomic.scratch("installed") as scratch:
        _submit_node(server, job, Path(scratch), "installed", json.dumps(wanted))
        try:
            log = server.wait(job)
        except BaseException:
            server.stop(job)
            raise
    answer = _answer(log)
    if not answer:
        last = next(reversed(log.strip().splitlines()), "it printed nothing")
        raise RunError(f"`{PYTHON}` on the head cannot report what is installed there: {last}")
    report: node.Report = json.loads(answer)
    return report


def _submit_node(server: JobServer, job: str, folder: Path, *words: str) -> None:
    """Run `ftr.cluster.node` on the head, which may lack ftr."""
    (folder / "ftr_node.py").write_bytes(Path(node.__file__).read_bytes())
    server.submit(
        f"{PYTHON} ftr_node.py {shlex.join(words)}", job, folder, {}, {"ftr": own_version()}
    )


def _answer(log: str) -> str:
    return log.rpartition(node.MARK)[2].partition("\n")[0] if node.MARK in log else ""
