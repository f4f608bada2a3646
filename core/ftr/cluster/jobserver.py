"""Client of Ray's job server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ftr.cluster.connect import hush, token_trouble, use_token
from ftr.errors import ConfigError, RequestError, RunError

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
        hush()
        use_token()
        _check_answer(self.address)
        from ray.dashboard.modules import dashboard_sdk
        from ray.dashboard.modules.job import sdk
        from ray.job_submission import JobSubmissionClient

        for module in (dashboard_sdk, sdk):
            logging.getLogger(module.__name__).setLevel(logging.ERROR)

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
        """Hand over what a job prints, as it prints it, until it has ended; a connection that
        breaks is taken up again.
        """
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
        query = f"node_id={node}&filename={quote(file)}&lines=-1&timeout={FETCH_SECONDS}"
        with _explained(self.address):
            answer = self._client._do_request(
                "GET", f"/api/v0/logs/file?{query}", stream=True, timeout=FETCH_SECONDS
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
    """Hands over a text that comes in pieces, some of them again, every character once."""

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
    from ray._private.authentication.http_token_authentication import (
        get_auth_headers_if_auth_enabled,
    )

    try:
        answer = requests.get(
            f"{address}/api/version",
            timeout=ANSWER_SECONDS,
            headers=get_auth_headers_if_auth_enabled({}),
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


@contextmanager
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


@contextmanager
def _without(*names: str) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _with(**variables: str) -> Iterator[None]:
    with _without(*variables):
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                os.environ.pop(name)
