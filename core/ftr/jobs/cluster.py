"""Connecting a driver to Ray: to a cluster, with the same plugins on every node, or to processes on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.config.models import ComputeConfig
from ftr.errors import ConfigError, RunError
from ftr.jobs import look, ship
from ftr.jobs.address import probe, token_source
from ftr.paths import writable
from ftr.registry import Registry

Say = Callable[[str], None]

HOOK = "ftr.jobs.launch.quiet_worker"
LOOK_SECONDS = 120.0
"""How long a node may take to say what is installed there: it may have to start a process first."""


def connect(compute: ComputeConfig, registry: Registry, say: Say, settings: Mapping[str, str] | None = None) -> None:
    """Connect this process to the cluster at `compute.address`, or start Ray on this machine where none is given.

    On a cluster the plugins loaded here, and ftr itself, are compared with those of every node: what is missing there,
    or the same version with other files, is sent along, and loads in all processes of this driver. `settings` are
    environment variables for those processes. Raises `ConfigError` when nothing answers at the address, when the token
    is not the cluster's, and when a version differs; `RunError` when Ray does not start here.
    """
    import ray

    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    if compute.address is None:
        _own_token()
        _start_here(registry)
        return
    address = probe(compute.address)
    # A job of the job server brings an environment along; this driver's adds to it.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    _init(address, compute.address, {})
    # Ray takes what its processes load at the time of connecting, and it takes a connection to know what the nodes lack.
    wanted = ship.wanted(registry)
    here = look.look(wanted)
    lacking = {node: names for node, report in _ask_nodes(look.look, wanted).items() if (names := ship.differences(here, report, node))}
    ray.shutdown()
    names = sorted({name for missing in lacking.values() for name in missing})
    with atomic.scratch("ship") as folder:
        staged = ship.stage(names, here, Path(folder))
        staged += ship.stage_files(registry, Path(folder))
        _init(address, compute.address, _environment(registry, staged, settings))
    versions = {name: here["packages"][name]["version"] for name in names}
    # A file goes to every node: what stands at its path there is anybody's guess.
    everywhere = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]} if registry.files else set()
    for plugin in registry.files:
        versions[plugin.distribution] = plugin.version
        lacking = {node: [*lacking.get(node, []), plugin.distribution] for node in {*lacking, *everywhere}}
    if versions:
        _check_sent(versions, lacking, say)


def _environment(registry: Registry, staged: Collection[Path], settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the `runtime_env` of Ray in which the plugins of this process load."""
    environment = {"env_vars": {**(settings or {}), **ship.environment(registry)}, "worker_process_setup_hook": HOOK}
    return {**environment, "py_modules": [str(path) for path in staged]} if staged else environment


def _start_here(registry: Registry) -> None:
    import ray

    try:
        with atomic.scratch("ship") as folder:
            ray.init(
                # Without it Ray joins any cluster it finds traces of on this machine.
                address="local",
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=True,
                # A plugin of one file may be edited while the processes run: they get what it was when they were started.
                runtime_env=_environment(registry, ship.stage_files(registry, Path(folder))),
            )
    except Exception as error:  # Ray raises bare ones when its processes do not start
        raise RunError(f"Ray cannot start its processes on this machine: {_first_line(error).rstrip('.')}. {_mend(error)}") from error


def _own_token() -> None:
    """Give Ray a token for this process alone where it has none and could not keep one in the home folder."""
    if token_source() is None and "RAY_AUTH_MODE" not in os.environ and not writable("~/.ray"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _mend(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        if ".ray" in Path(error.filename).parts:
            return "Ray keeps its token there: set `RAY_AUTH_TOKEN` to any secret of 32 letters or more instead."
        return "Ray keeps its sessions there: name a folder of your own, with a short path, in `RAY_TMPDIR`."
    return "A run with `compute.workers=0` needs no Ray."


def _init(address: str, asked: str, runtime_env: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=True, runtime_env=runtime_env)
    except Exception as error:  # and when a cluster does not take a driver
        raise ConfigError(f"`compute.address={asked}`: the Ray cluster there does not take this program: {_first_line(error)}") from error


def _check_sent(versions: Mapping[str, str], lacking: Mapping[str, list[str]], say: Say) -> None:
    """Say what was sent, by name and version, after every node that lacked it has loaded it."""
    for name, version in versions.items():
        nodes = [node for node, missing in lacking.items() if name in missing]
        say(f"sent {name} {version} to {len(nodes)} node{'s' if len(nodes) > 1 else ''}: {', '.join(nodes)}")
    for node, troubles in _ask_nodes(_troubles, list(versions), only=set(lacking)).items():
        for name, trouble in troubles.items():
            raise ConfigError(f"`{name}` was sent to node {node} and does not load there: {trouble}. Install it on the nodes.")


def _troubles(names: list[str]) -> dict[str, str]:
    """Return why plugins of distributions do not load here."""
    from ftr.discovery import OWN, discover

    records = discover()
    loaded = {record.distribution for record in records if record.status == "loaded"}
    told = {record.distribution: record.cause for record in records if record.status != "loaded"}
    return {name: told.get(name, "it is not found") for name in names if name not in loaded or (name != OWN and name in told)}


def _ask_nodes(question: Callable[..., Any], about: object, only: Collection[str] | None = None) -> dict[str, Any]:
    """Put a question to every living node, or those of the addresses `only`, and return the answers by address."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value, not by name: a node may lack ftr.
    cloudpickle.register_pickle_by_value(look)
    try:
        remote = ray.remote(num_cpus=0, max_retries=1)(question)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=number, soft=False)).remote(about): (number, address)
            for number, address in nodes.items()
            if only is None or address in only
        }
    finally:
        cloudpickle.unregister_pickle_by_value(look)
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_SECONDS)
    if late:
        raise RunError(f"node {asked[late[0]][1]} did not say within {LOOK_SECONDS:g} s what is installed there: is it overloaded?")
    answers = {}
    for reference in done:
        number, address = asked[reference]
        try:
            answers[address] = ray.get(reference)
        except Exception as error:
            if any(node["NodeID"] == number and node["Alive"] for node in ray.nodes()):
                raise RunError(f"node {address} cannot say what is installed there: {_first_line(error)}") from error
            # It died while it was asked.
    return answers


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
