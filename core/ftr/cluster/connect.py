"""Connect to Ray: a cluster with the same plugins on every node, or processes on this machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.cluster import node, ray_private, ship, worker
from ftr.config.schema import ComputeConfig
from ftr.errors import ConfigError, RunError, counted
from ftr.paths import writable
from ftr.registry.registry import Registry

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
"""Time limit for a head to answer, including the start of a process; Ray itself waits minutes."""
_ANSWER = "ftr-head "


def probe(asked: str) -> str:
    """Return `host:port` of the cluster at `compute.address=asked` that this program can join.

    Raises `ConfigError` with the reason: nothing listens, another program does, the token is
    missing or not the cluster's, this machine is not one of its nodes.
    """
    silence_ray()
    host, port = _parts(_resolved(asked), asked)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"`compute.address={asked}`: nobody listens at {host}:{port} ({reason}). Start a "
            "cluster there (`ray start --head`), or leave the key out to use this machine."
        ) from error
    ray_private.enable_token()
    _check_head(f"{host}:{port}", asked)
    return f"{host}:{port}"


def silence_ray() -> None:
    """Turn off Ray's progress messages; importing Ray sets its log level, so import it first."""
    import ray

    logging.getLogger(ray.__name__).setLevel(logging.ERROR)


def _resolved(asked: str) -> str:
    if asked != "auto":
        return asked
    found = ray_private.head_address()
    if found is None:
        where = (
            f"`RAY_ADDRESS` is `{os.environ['RAY_ADDRESS']}`"
            if os.environ.get("RAY_ADDRESS")
            else "no Ray runs on this machine"
        )
        raise ConfigError(
            f"`compute.address=auto`: {where}. Start it here (`ray start --head`), or give "
            "`compute.address=host:port`."
        )
    return found


def _parts(address: str, asked: str) -> tuple[str, int]:
    if "://" in address:
        raise ConfigError(
            f"`compute.address={asked}`: give `host:port` of the head's own port (6379), without a "
            "scheme. From a machine outside the cluster use `ftr submit --address "
            "http://head:8265`."
        )
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"`compute.address={asked}`: give `auto` or `host:port`, such as `head:6379`."
        )
    return host.strip("[]"), int(port)


def _check_head(address: str, asked: str) -> None:
    """Ask the head for its nodes in another process: Ray's client has no time limit, and prints."""
    command = [sys.executable, "-m", __name__, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"`compute.address={asked}`: what listens at {address} does not answer like the head "
            "of a Ray cluster. Give the port of `ray start --head` (6379), not that of the "
            "dashboard (8265) or of Ray Client (10001)."
        ) from None
    line = done.stdout.rpartition(_ANSWER)[2].strip()
    trouble = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    answer = json.loads(line) if line else {"trouble": trouble}
    if answer.get("token"):
        raise ConfigError(f"`compute.address={asked}`: {token_trouble()}")
    if "trouble" in answer:
        raise ConfigError(
            f"`compute.address={asked}`: the head at {address} refuses this program: "
            f"{answer['trouble']}"
        )
    if not set(answer["here"]) & set(answer["nodes"]):
        raise ConfigError(
            f"`compute.address={asked}`: this machine is not a node of the cluster at {address}, "
            f"and only a node can drive it. Join it (`ray start --address={address}`), or send the "
            "command there with `ftr submit --address http://HEAD:8265`."
        )


def token_trouble() -> str:
    """Return what is wrong with the token of this process, and how to fix it."""
    given = token_source()
    wrong = (
        f"the token in {given} is not the cluster's"
        if given
        else "the cluster asks for a token, and this machine has none"
    )
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode != "token":
        wrong = f"the cluster asks for a token, which `RAY_AUTH_MODE={mode}` turns off"
    return (
        f"{wrong}. Copy the one of the head (`ray get-auth-token` prints it) to `RAY_AUTH_TOKEN` "
        "or `~/.ray/auth_token`."
    )


def token_source() -> str | None:
    """Return where this process finds its token for Ray, or None."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(name):
            return f"`{name}`"
    return "`~/.ray/auth_token`" if Path("~/.ray/auth_token").expanduser().is_file() else None


def _answer(address: str) -> dict[str, Any]:
    """Return the living nodes of the cluster at `address` and the nodes on this machine."""
    try:
        alive = ray_private.living_nodes(address, ANSWER_SECONDS)
    except Exception as error:
        return {
            "token": type(error).__name__ == "AuthenticationError",
            "trouble": next(iter(str(error).splitlines()), ""),
        }
    return {"nodes": alive, "here": ray_private.nodes_here()}


HOOK = "ftr.cluster.worker.quiet_worker"
PRELOADED = "RAY_preload_python_modules"
"""Ray's own setting: the modules that each of its processes imports when it starts."""
REPORT_SECONDS = 120.0
"""Time limit for a node to report what is installed; it may have to start a process first."""


def connect(
    compute: ComputeConfig,
    registry: Registry,
    report: Callable[[str], None],
    settings: Mapping[str, str] | None = None,
) -> None:
    """Connect to the cluster at `compute.address`; without one, start Ray on this machine.

    On a cluster, ftr and the plugins loaded here are compared with those of every node. What a node
    lacks, or has in the same version with other files, is sent and loads in all processes of this
    driver. `settings` are environment variables for those processes. Raises `ConfigError` when
    nothing answers, the token is wrong or a version differs; `RunError` when Ray does not start.
    """
    import ray

    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    if compute.address is None:
        _start_here(registry)
        return
    address = probe(compute.address)
    # A job of the job server has an environment; this driver's adds to it.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    _join(address, compute.address, {})
    # The environment of processes is set when connecting, but only a connection tells what nodes
    # lack: connect twice.
    wanted = ship.wanted(registry)
    here = node.installed(wanted)
    sent: dict[str, list[str]] = {}
    for place, there in _ask_nodes(node.installed, wanted).items():
        for name in ship.differences(here, there, place):
            sent.setdefault(name, []).append(place)
    versions = {name: here["packages"][name]["version"] for name in sorted(sent)}
    ray.shutdown()
    with atomic.scratch("ship") as folder:
        staged = ship.stage(list(versions), here, Path(folder))
        staged += ship.stage_files(registry, Path(folder))
        _join(address, compute.address, _environment(registry, staged, settings))
    for plugin in registry.files:
        # To every node: another file may have its path there.
        sent[plugin.distribution] = [
            node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]
        ]
        versions[plugin.distribution] = plugin.version
    if not versions:
        return
    for name, version in versions.items():
        nodes = counted(len(sent[name]), "node")
        report(f"sent {name} {version} to {nodes}: {', '.join(sent[name])}")
    only = {place for places in sent.values() for place in places}
    for place, failures in _ask_nodes(_load_failures, list(versions), only).items():
        for name, cause in failures.items():
            raise ConfigError(
                f"`{name}` was sent to node {place} and does not load there: {cause}. Install it "
                "on the nodes."
            )


def _environment(
    registry: Registry, staged: Collection[Path], settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the `runtime_env` of Ray in which the plugins of this process load."""
    # Where it is `offline`, transformers prints that when it is imported.
    quiet = {"WANDB_MODE": ""} if os.environ.get("WANDB_MODE") else {}
    environment = {
        "env_vars": {**(settings or {}), **ship.environment(registry), **quiet},
        "worker_process_setup_hook": HOOK,
    }
    return {**environment, "py_modules": [str(path) for path in staged]} if staged else environment


@contextlib.contextmanager
def variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for the block and what is started within; None unsets one."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _start_here(registry: Registry) -> None:
    import ray

    if token_source() is None and "RAY_AUTH_MODE" not in os.environ and not writable("~/.ray"):
        # Ray has no token, and cannot save one in the home folder.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        with atomic.scratch("ship") as folder, contextlib.ExitStack() as stack:
            # The processes get a one-file plugin as it is now, not as edited while they run.
            staged = ship.stage_files(registry, Path(folder))
            environment = _environment(registry, staged)
            if not staged:
                # Ray starts a process for each core at once, which serves only what asks for no
                # environment; it inherits the variables.
                own = {PRELOADED: worker.__name__}
                stack.enter_context(variables({**environment["env_vars"], **own}))
                environment = {}
            ray.init(
                # Without it Ray joins any cluster it finds traces of on this machine.
                address="local",
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=True,
                runtime_env=environment,
            )
    except Exception as error:  # Ray raises bare ones when its processes do not start
        raise RunError(
            f"Ray cannot start its processes on this machine: {_first_line(error).rstrip('.')}. "
            f"{_fix(error)}"
        ) from error


def _fix(error: Exception) -> str:
    if not isinstance(error, OSError) or not error.filename:
        return "A run with `compute.workers=0` needs no Ray."
    if ".ray" in Path(error.filename).parts:
        return (
            "Ray keeps its token there: set `RAY_AUTH_TOKEN` to any secret of 32 letters or more "
            "instead."
        )
    return (
        "Ray keeps its sessions there: set `RAY_TMPDIR` to a folder of your own, with a short path."
    )


def _join(address: str, asked: str, runtime_env: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=True,
            runtime_env=runtime_env,
        )
    except Exception as error:  # also when a cluster refuses a driver
        raise ConfigError(
            f"`compute.address={asked}`: the Ray cluster there refuses this program: "
            f"{_first_line(error)}"
        ) from error


def _load_failures(names: list[str]) -> dict[str, str]:
    """Return why plugins of distributions do not load here."""
    from ftr.registry.discovery import OWN, discover

    records = discover()
    loaded = {record.distribution for record in records if record.status == "loaded"}
    causes = {record.distribution: record.cause for record in records if record.status != "loaded"}
    return {
        name: causes.get(name, "it is not found")
        for name in names
        if name not in loaded or (name != OWN and name in causes)
    }


def _ask_nodes(
    question: Callable[..., Any], about: Collection[str], only: Collection[str] | None = None
) -> dict[str, Any]:
    """Run `question` on every living node, or those with the addresses `only`; return the answers
    by address.
    """
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def alive() -> dict[str, str]:
        return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}

    # By value, not by name: a node may lack ftr.
    cloudpickle.register_pickle_by_value(node)
    try:
        remote = ray.remote(num_cpus=0, max_retries=1)(question)
        asked = {}
        for number, address in alive().items():
            if only is None or address in only:
                strategy = NodeAffinitySchedulingStrategy(node_id=number, soft=False)
                reference = remote.options(scheduling_strategy=strategy).remote(about)
                asked[reference] = number, address
    finally:
        cloudpickle.unregister_pickle_by_value(node)
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=REPORT_SECONDS)
    if late:
        raise RunError(
            f"node {asked[late[0]][1]} did not report within {REPORT_SECONDS:g} s what is "
            "installed there: is it overloaded?"
        )
    answers = {}
    for reference in done:
        number, address = asked[reference]
        try:
            answers[address] = ray.get(reference)
        except Exception as error:
            if number in alive():  # else it died meanwhile
                raise RunError(
                    f"node {address} cannot report what is installed there: {_first_line(error)}"
                ) from error
    return answers


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


if __name__ == "__main__":
    sys.stdout.write(_ANSWER + json.dumps(_answer(sys.argv[1])) + "\n")
