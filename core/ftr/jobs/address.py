"""Finding out within seconds whether a Ray cluster answers at an address, and takes this machine and its token."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ftr.errors import ConfigError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
"""How long a head may take to answer, the start of a process included: Ray itself would wait for minutes."""
_ANSWER = "ftr-head "


def probe(asked: str) -> str:
    """Return `host:port` of the cluster meant by `compute.address=asked`, after making sure that this program can join it.

    Raises `ConfigError` that says what is in the way: nobody listens, another program does, the token is missing or not
    the cluster's, this machine is none of its nodes.
    """
    hush()
    host, port = _parts(_resolved(asked), asked)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"`compute.address={asked}`: nobody listens at {host}:{port} ({reason}). Start a cluster there (`ray start --head`), "
            "or leave the key out to use this machine."
        ) from error
    use_token()
    _check_head(f"{host}:{port}", asked)
    return f"{host}:{port}"


def hush() -> None:
    """Keep Ray from telling what it does; importing it sets what it tells, so that comes first."""
    import ray

    logging.getLogger(ray.__name__).setLevel(logging.ERROR)


def use_token() -> None:
    """Turn token authentication on where a token is at hand and nobody has turned it off; Ray does so only for `auto`."""
    try:
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    except ImportError:  # before Ray 2.52
        return
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _resolved(asked: str) -> str:
    if asked != "auto":
        return asked
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found: str | None = canonicalize_bootstrap_address("auto")
    except Exception:  # a `ConnectionError` when there is none, a `ValueError` when it is malformed
        found = None
    if found is None:
        where = f"`RAY_ADDRESS` is `{os.environ['RAY_ADDRESS']}`" if os.environ.get("RAY_ADDRESS") else "no Ray runs on this machine"
        raise ConfigError(f"`compute.address=auto`: {where}. Start it here (`ray start --head`), or give `compute.address=host:port`.")
    return found


def _parts(address: str, asked: str) -> tuple[str, int]:
    if "://" in address:
        raise ConfigError(
            f"`compute.address={asked}`: give `host:port` of the head's own port (6379), without a scheme. "
            "From a machine outside the cluster use `ftr submit --address http://head:8265`."
        )
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(f"`compute.address={asked}`: give `auto` or `host:port`, such as `head:6379`.")
    return host.strip("[]"), int(port)


def _check_head(address: str, asked: str) -> None:
    """Ask the head which nodes there are, as Ray does when it connects.

    In a process of its own: Ray's client cannot be told to give up early, and says on stderr what is said here better.
    """
    command = [sys.executable, "-m", __name__, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"`compute.address={asked}`: something listens at {address}, and it does not answer as the head of a Ray cluster does. "
            "Give the port of `ray start --head` (6379), not that of the dashboard (8265) or of Ray Client (10001)."
        ) from None
    told = done.stdout.rpartition(_ANSWER)[2].strip()
    answer = json.loads(told) if told else {"trouble": (done.stderr.strip().splitlines() or ["no answer"])[-1]}
    if answer.get("token"):
        raise ConfigError(f"`compute.address={asked}`: {token_trouble()}")
    if "trouble" in answer:
        raise ConfigError(f"`compute.address={asked}`: the head at {address} does not take this program: {answer['trouble']}")
    if not set(answer["here"]) & set(answer["nodes"]):
        raise ConfigError(
            f"`compute.address={asked}`: this machine is no node of the cluster at {address}, and only a node can drive it. "
            f"Join it (`ray start --address={address}`), or send the command there with `ftr submit --address http://HEAD:8265`."
        )


def token_trouble() -> str:
    """Return what is wrong with the token of this process, and the mend."""
    given = token_source()
    wrong = f"the token in {given} is not the cluster's" if given else "the cluster asks for a token, and there is none here"
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None and mode != "token":
        wrong = f"the cluster asks for a token, and `RAY_AUTH_MODE={mode}` keeps it back"
    return f"{wrong}. Copy the one of the head (`ray get-auth-token` prints it) to `RAY_AUTH_TOKEN` or `~/.ray/auth_token`."


def token_source() -> str | None:
    """Return where this process has a token for Ray from, or None."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(name):
            return f"`{name}`"
    return "`~/.ray/auth_token`" if Path("~/.ray/auth_token").expanduser().is_file() else None


def _answer(address: str) -> dict[str, Any]:
    """Return the living nodes of the cluster at `address`, and those of any cluster on this machine."""
    services: Any = import_module("ray._private.services")
    raylet: Any = import_module("ray._raylet")
    try:
        client = raylet.GcsClient(address=address)
        nodes = client.get_all_node_info(timeout=ANSWER_SECONDS)
    except Exception as error:
        return {"token": type(error).__name__ == "AuthenticationError", "trouble": next(iter(str(error).splitlines()), "")}
    alive = [node.hex() for node, told in nodes.items() if told.state == 0]  # `GcsNodeState.ALIVE`
    return {"nodes": alive, "here": list(services.find_node_ids())}


if __name__ == "__main__":
    sys.stdout.write(_ANSWER + json.dumps(_answer(sys.argv[1])) + "\n")
