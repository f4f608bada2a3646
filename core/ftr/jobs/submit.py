"""`ftr submit`: any command of ftr, run on a cluster by Ray's job server, as if it ran here."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ftr import atomic, trust
from ftr.discovery import own_version
from ftr.errors import ConfigError, RunError
from ftr.jobs import look, results, ship
from ftr.jobs.jobserver import JobServer
from ftr.jobs.pack import TRAINING, pack, put
from ftr.masking import mask
from ftr.registry import Registry

Say = Callable[[str], None]

PYTHON = "python"
"""As Ray's own documents call it: the Python that stands first on the path of the head's `ray start`."""


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted command: its id, where its results lie on the head, and where they belong on this machine."""

    server: JobServer
    id: str
    output: str | None
    here: Path | None


def submit(words: Sequence[str], server: JobServer, registry: Registry, say: Say, fetch: Path | None = None) -> Job:
    """Send the command `words` to the cluster, with the files it names and the plugins that the head lacks, and start it.

    `fetch` is where results shall go, if not to `output`. Raises `RequestError` before anything is started.
    """
    _check_secrets(words)
    name = f"ftr-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    packed = pack(words, name, list(ship.places(registry).values()))
    if words[0] in TRAINING:
        trust.remember(trust.plugin(plugin.sha256) for plugin in registry.files)
    here = fetch or packed.here
    wanted = ship.wanted(registry)
    own = look.look(wanted)
    lacking = ship.differences(own, _look_there(server, wanted), urlsplit(server.address).hostname or "?", python=False)
    notes = {"ftr": own_version(), "ftr_command": shlex.join(packed.words), "ftr_output": packed.output or "", "ftr_here": str(here or "")}
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
    """Refuse secrets in a command: Ray shows it to all who see the cluster, and keeps it in its logs."""
    for word in words:
        if mask(word) != word:
            raise ConfigError(
                f"`{mask(word)}` has a secret, and Ray shows a submitted command to all who see the cluster: write the setting into a "
                "file and give `config=FILE`, or let the nodes have it in their environment (S3: `AWS_ACCESS_KEY_ID`, …)."
            )


def find(server: JobServer, job: str, fetch: Path | None = None) -> Job:
    """Return a job that was submitted before. Raises `RequestError` when the server knows none of that id."""
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
        job.server.submit(f"{PYTHON} ftr_results.py {shlex.join(words)}", helper, Path(scratch), {}, {"ftr": own_version()})
        try:
            told = _marked(job.server.wait(helper, lambda log: results.MARK in log, seconds=results.KEPT_SECONDS), results.MARK)
            offered = json.loads(told)
            if not offered["names"]:
                return []
            archive = Path(scratch) / "results.tar"
            job.server.fetch(offered["node"], offered["file"], archive)
            with archive.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != offered["sha256"]:
                    raise RunError(f"the results of `{job.id}` came back damaged; they lie on the head in `{job.output}`.")
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
        server.submit(f"{PYTHON} look.py {shlex.quote(json.dumps(wanted))}", name, Path(scratch), {}, {"ftr": own_version()})
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
