"""`ftr submit`: run any command on a cluster through Ray's job server, with the files it names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from ftr import atomic
from ftr.cluster import node, ray_private, ship
from ftr.cluster.connect import silence_ray, token_trouble, variables
from ftr.config.found import ORIGINS, SWITCH
from ftr.errors import ConfigError, RequestError, RunError
from ftr.registry import trust
from ftr.registry.discovery import own_version
from ftr.registry.registry import Registry
from ftr.terminal import mask

DEFAULT = "http://127.0.0.1:8265"
ANSWER_SECONDS = 8.0
AGENT_SECONDS = 20.0
WAIT_SECONDS = 120.0
FETCH_SECONDS = 900
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
STOPPED = 130
PYTHON = "python"
"""The Python that is first on the path of the head's `ray start`, as in Ray's documentation."""


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

        # Ray prefers these variables to the address that it is given.
        with (
            variables({"RAY_API_SERVER_ADDRESS": None, "RAY_ADDRESS": None}),
            _explained(self.address),
        ):
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
        deadline = time.monotonic() + AGENT_SECONDS
        # A `.gitignore` in a folder of data must not keep files back.
        with _explained(self.address), variables({"RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1"}):
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
        """Ask a job to end; Ray waits 3 seconds (`RAY_JOB_STOP_WAIT_TIME_S` on the head) between
        SIGTERM and SIGKILL.
        """
        with _explained(self.address):
            self._client.stop_job(job)

    def wait(self, job: str, mark: str | None = None, seconds: float = WAIT_SECONDS) -> str:
        """Wait until a job has ended or has printed a line with `mark`, and return its log."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self.details(job).status in ENDED
            log = self.log(job) if ended or mark else ""
            if ended or (mark and "\n" in log.partition(mark)[2]):
                return log
            if time.monotonic() > deadline:
                raise RunError(
                    f"job `{job}` at {self.address} is not done after {seconds:g} s: is the head "
                    "overloaded?"
                )
            time.sleep(0.3)

    def follow(self, job: str, write: Callable[[str], None]) -> None:
        """Write what a job prints, as it prints it, until it has ended; reconnect when needed."""
        count = 0  # characters written

        def write_new(text: str, start: int) -> None:
            """Write what is new of a text that begins at `start` of the log."""
            nonlocal count
            if new := text[max(count - start, 0) :]:
                write(new)
                count = start + len(text)

        async def tail() -> None:
            lines: AsyncIterator[str] = self._client.tail_job_logs(job)
            seen = 0
            async for text in lines:
                write_new(text, seen)
                seen += len(text)

        while True:
            with contextlib.suppress(RuntimeError, OSError):
                asyncio.run(tail())
            if self.details(job).status in ENDED:
                break
            time.sleep(0.5)
        # The job may have printed its last lines after the tail ended.
        write_new(self.log(job), 0)

    def exit_code(self, job: str) -> int:
        """Return the exit code of a job that has ended.

        Raises `RunError` when it never began or was killed.
        """
        details = self.details(job)
        if details.status == "STOPPED":
            return STOPPED
        code: int | None = details.driver_exit_code
        if code is None or code < 0:
            last = f"killed by signal {-code}" if code else _last_line(details.message or "")
            raise RunError(f"job `{job}` did not end by itself: {last or 'no reason given'}")
        return code

    def fetch(self, node: str, file: str, target: Path) -> None:
        """Copy a file of the logs of a node to `target`."""
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


def _checked(address: str) -> str:
    """Return the address with its scheme. Raises `ConfigError`, also where the extra is missing."""
    try:
        import aiohttp  # noqa: F401
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
    try:
        answer = requests.get(
            f"{address}/api/version", timeout=ANSWER_SECONDS, headers=ray_private.token_headers()
        )
    except requests.exceptions.ConnectionError:
        raise ConfigError(
            f"`--address {address}`: nobody listens there. The head must run with its dashboard "
            "(`ray start --head --include-dashboard=true`, `ray[default]` installed), and its "
            "port 8265 must be reachable."
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
            f"`--address {address}`: what listens there is not a job server of Ray (its port is "
            "8265)."
        )


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """Raise errors of Ray's client as a `RunError` of one line."""
    try:
        yield
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise RunError(
            f"the connection to the job server at {address} is lost: {type(error).__name__}. Its "
            "jobs keep running."
        ) from error
    except RuntimeError as error:
        if "404" in str(error):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunError(f"the job server at {address} answers: {first}") from error


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "")


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted command: its id, and the folders of its results on the head and here."""

    server: JobServer
    id: str
    output: str | None
    here: Path | None


def submit(
    words: Sequence[str],
    server: JobServer,
    registry: Registry,
    report: Callable[[str], None],
    fetch: Path | None = None,
) -> Job:
    """Start the command `words` on the cluster, with the files it names and the plugins that the
    head lacks.

    `fetch` is the folder for results, instead of `output`. Raises `RequestError` before a start.
    """
    _check_secrets(words)
    name = f"ftr-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    command = ship.cluster_command(words, name, list(ship.places(registry).values()))
    if words[0] in ship.TRAINING:
        trust.remember(trust.plugin(plugin.sha256) for plugin in registry.files)
    here = fetch or command.here
    wanted = ship.wanted(registry)
    own = node.installed(wanted)
    with _ask_head(server, "installed", json.dumps(wanted)) as there:
        host = urlsplit(server.address).hostname or "?"
        lacking = ship.differences(own, there, host, python=False)
    found = [f"{key}={setting.value}" for key, setting in ship.found_here(words).items()]
    if found:
        report(f"sends found settings: {', '.join(found)}")
    notes = {
        "ftr": own_version(),
        "ftr_command": shlex.join(command.words),
        "ftr_output": command.output or "",
        "ftr_here": str(here or ""),
    }
    with atomic.scratch("submit") as scratch:
        folder = Path(scratch)
        for line in command.copy_files(folder):
            report(line)
        ship.stage(lacking, own, folder)
        for sent in lacking:
            report(f"sends {sent} {own['packages'][sent]['version']}, which the head lacks")
        # Ray refuses to upload an empty folder.
        (folder / "ftr-command.txt").write_text(notes["ftr_command"] + "\n", encoding="utf-8")
        ship.stage_files(registry, folder)
        for plugin in registry.files:
            report(f"sends {plugin.distribution} {plugin.version}, a plugin")
        environment = {
            **ship.tracker_environment([*words, *found], report),
            **ship.environment(registry, silent=False),
            SWITCH: "off",  # what was found here is in the command
            ORIGINS: json.dumps(command.origins),
            "PYTHONUNBUFFERED": "1",
        }
        server.submit(f"{PYTHON} -m ftr {notes['ftr_command']}", name, folder, environment, notes)
    return Job(server, name, command.output, here)


def _check_secrets(words: Sequence[str]) -> None:
    """Refuse secrets in a command: Ray shows it to all users of the cluster, and logs it."""
    for word in words:
        if mask(word) != word:
            raise ConfigError(
                f"`{mask(word)}` has a secret, and Ray shows a submitted command to all users of "
                "the cluster: write the setting into a file and give `config=FILE`, or set it in "
                "the environment of the nodes (S3: `AWS_ACCESS_KEY_ID`, …)."
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
    since = str((job.server.details(job.id).start_time or 0) / 1000 - 1)
    with (
        _ask_head(job.server, "results", job.output, since, seconds=node.KEPT_SECONDS) as offered,
        atomic.scratch("fetch") as scratch,
    ):
        if offered["names"]:
            archive = Path(scratch) / "results.tar"
            job.server.fetch(offered["node"], offered["file"], archive)
            if atomic.sha256(archive) != offered["sha256"]:
                raise RunError(
                    f"the results of `{job.id}` were damaged on the way; they are on the head in "
                    f"`{job.output}`."
                )
            node.unpack(archive, job.here)
        folders = [job.here / name for name in offered["names"]]
        for folder in folders:
            atomic.to_disk(folder)
    return folders


@contextlib.contextmanager
def _ask_head(
    server: JobServer, *words: str, seconds: float = WAIT_SECONDS
) -> Iterator[dict[str, Any]]:
    """Run `ftr.cluster.node` on the head, which may lack ftr, and yield its answer; stop it at the
    end of the block.
    """
    job = f"ftr-{words[0]}-{secrets.token_hex(4)}"
    with atomic.scratch("node") as scratch:
        (Path(scratch) / "ftr_node.py").write_bytes(Path(node.__file__).read_bytes())
        command = f"{PYTHON} ftr_node.py {shlex.join(words)}"
        server.submit(command, job, Path(scratch), {}, {"ftr": own_version()})
    try:
        log = server.wait(job, node.MARK, seconds)
        if node.MARK not in log:
            last = _last_line(log) or "it printed nothing"
            raise RunError(f"`{PYTHON}` on the head cannot run ftr's helper `{words[0]}`: {last}")
        yield json.loads(log.partition(node.MARK)[2].partition("\n")[0])
    finally:
        server.stop(job)
