"""`ftr submit`: run a command on a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ftr.cli.main import COMMANDS, INTERRUPTED, Answer
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded
from ftr.registry.registry import registry_with
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.cluster.submit import Job

EXAMPLES = (
    "ftr submit run task=qa epochs=2 --address http://127.0.0.1:8265",
    "ftr submit --follow JOB",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the job server, the folder for results, and the command."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="COMMAND key=value",
        help="any command of ftr with its settings; put its own options after `--`",
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        help="job server (default: RAY_API_SERVER_ADDRESS, or http://127.0.0.1:8265)",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="print the id of the job and exit at once"
    )
    parser.add_argument("--follow", metavar="JOB", help="follow a submitted job")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder for results on this machine (default: `output` of the command)",
    )
    parser.add_argument("--no-fetch", action="store_true", help="leave results on the cluster")


def execute(args: argparse.Namespace) -> Answer:
    """Submit, follow, fetch the results. The exit code is that of the job."""
    from ftr.cluster.ship import plugin_files_of
    from ftr.cluster.submit import JobServer, fetch_results, find, submit

    _check(args)
    server = JobServer(args.address)
    if args.follow:
        job = find(server, args.follow, args.output)
    else:
        registry = registry_with(plugin_files_of(args.words))
        job = submit(args.words, server, registry, show, args.output)
        show(f"job {job.id} at {server.address}")
    known = {"job": job.id, "address": server.address}
    if args.no_wait:
        return Answer(known, _next_commands(job))
    stream = sys.stderr if args.json else sys.stdout
    try:
        server.follow(job.id, lambda text: show(text, stream, end=""))
    except KeyboardInterrupt:
        if not _wants_to_stop():
            text = f"detached\n{_next_commands(job)}"
            return Answer({**known, "status": "detached"}, text, INTERRUPTED)
        server.stop(job.id)
        server.wait(job.id)
        results = f"; its results are on the head in {job.output}" if job.output else ""
        return Answer({**known, "status": "stopped"}, f"stopped{results}", INTERRUPTED)
    code = server.exit_code(job.id)
    fetched = [] if args.no_fetch or code == RequestError.exit_code else fetch_results(job)
    data = {
        **known,
        "exit_code": code,
        "output": job.output,
        "fetched": [str(path) for path in fetched],
    }
    return Answer(data, "\n".join(f"fetched: {path}" for path in fetched), code)


def _check(args: argparse.Namespace) -> None:
    if args.output:
        args.output = expanded(args.output, "`--output`:")
    if args.follow:
        if args.words or args.no_wait:
            raise RequestError("`--follow` takes the id of a job and no command.")
        return
    if not args.words:
        raise RequestError("no command to submit: give one, such as `ftr submit run task=qa`.")
    name = args.words[0]
    if name not in COMMANDS or name == "submit":
        raise RequestError(
            f"`{name}` is not a command that can be submitted.{did_you_mean(name, COMMANDS)}"
        )
    if args.output and args.no_fetch:
        raise RequestError("`--output` and `--no-fetch` exclude each other.")


def _wants_to_stop() -> bool:
    """Ask at a terminal whether to stop the job; elsewhere it keeps running."""
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


def _next_commands(job: Job) -> str:
    where = f"--address {job.server.address}"
    return f"follow: ftr submit {where} --follow {job.id}\nstop:   ray job stop {where} {job.id}"
