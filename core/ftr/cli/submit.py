"""`ftr submit`: a command on a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ftr.cli.answer import Answer
from ftr.cli.main import COMMANDS
from ftr.errors import RequestError, did_you_mean
from ftr.runs.prepare import to_stderr
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.cluster.submit import Job

INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the job server, what becomes of the results, and the command."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="COMMAND key=value",
        help="any command of ftr with its settings; its own options go behind `--`",
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the job server (default: RAY_API_SERVER_ADDRESS, or http://127.0.0.1:8265)",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not follow the job: print its id and leave"
    )
    parser.add_argument(
        "--follow", metavar="JOB", help="follow a job submitted before, instead of a new one"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where results go on this machine (default: `output`)",
    )
    parser.add_argument("--no-fetch", action="store_true", help="leave results on the cluster")


def execute(args: argparse.Namespace) -> Answer:
    """Submit, follow, fetch; the exit code is the job's own."""
    from ftr.cluster.submit import JobServer, find, plugin_files_of, submit
    from ftr.registry.registry import registry_with

    _check(args)
    server = JobServer(args.address)
    if args.follow:
        job = find(server, args.follow, args.output)
    else:
        job = submit(
            args.words, server, registry_with(plugin_files_of(args.words)), to_stderr, args.output
        )
    if not args.follow:
        to_stderr(f"job {job.id} at {server.address}")
    if args.no_wait:
        return Answer({"job": job.id, "address": server.address}, _ways(job))
    try:
        server.follow(job.id, _to_stderr if args.json else _to_stdout)
    except KeyboardInterrupt:
        return _interrupted(job)
    code = server.exit_code(job.id)
    fetched = [] if args.no_fetch or code == RequestError.exit_code else _fetched(job)
    data = {
        "job": job.id,
        "address": server.address,
        "exit_code": code,
        "output": job.output,
        "fetched": [str(path) for path in fetched],
    }
    return Answer(data, "\n".join(f"fetched: {path}" for path in fetched), code)


def _check(args: argparse.Namespace) -> None:
    if args.follow:
        if args.words or args.no_wait:
            raise RequestError("`--follow` takes the id of a job and no command.")
        return
    if not args.words:
        raise RequestError("name a command to submit, such as `ftr submit run task=qa`.")
    name = args.words[0]
    if name not in COMMANDS or name == "submit":
        raise RequestError(
            f"`{name}` is no command that can be submitted.{did_you_mean(name, COMMANDS)}"
        )
    if args.output and args.no_fetch:
        raise RequestError("`--output` and `--no-fetch` exclude each other.")


def _fetched(job: Job) -> list[Path]:
    from ftr.cluster.submit import fetch_results

    return fetch_results(job)


def _interrupted(job: Job) -> Answer:
    """Stop the job or leave it alone, as the one at the terminal says; where there is none it goes
    on.
    """
    if not _asked_to_stop():
        return Answer(
            {"job": job.id, "address": job.server.address, "status": "detached"},
            f"detached\n{_ways(job)}",
            INTERRUPTED,
        )
    job.server.stop(job.id)
    job.server.wait(job.id)
    lies = f"; what it made lies on the head in {job.output}" if job.output else ""
    return Answer(
        {"job": job.id, "address": job.server.address, "status": "stopped"},
        f"stopped{lies}",
        INTERRUPTED,
    )


def _asked_to_stop() -> bool:
    if not sys.stdin.isatty():
        return False
    try:
        while True:
            show("\nstop the job, or detach? [s/d] ", end="")
            answer = sys.stdin.readline()
            if answer.strip().lower()[:1] in ("s", "d") or not answer:
                return answer.strip().lower().startswith("s")
    except KeyboardInterrupt:
        return False


def _ways(job: Job) -> str:
    where = f"--address {job.server.address}"
    return f"follow: ftr submit {where} --follow {job.id}\nstop:   ray job stop {where} {job.id}"


def _to_stdout(text: str) -> None:
    show(text, sys.stdout, end="")


def _to_stderr(text: str) -> None:
    show(text, end="")
