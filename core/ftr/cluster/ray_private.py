"""Every private API of Ray that the cluster modules use, each with the reason.

Written for Ray 2.50 to 2.60; `tests/cluster/test_ray_private.py` fails when a version lacks one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any


def enable_token() -> None:
    """Turn token authentication on where a token exists and `RAY_AUTH_MODE` is unset.

    Ray does so itself only for new clusters and for `auto`; setting the variable alone comes too
    late once Ray has read its configuration.
    """
    try:
        setup = import_module("ray._private.authentication.authentication_token_setup")
    except ImportError:  # before Ray 2.52
        return
    setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def token_headers() -> dict[str, str]:
    """Return the HTTP headers with which the dashboard accepts this process.

    The job client has none that asks whether a server answers and gives up after some seconds.
    """
    module = import_module("ray._private.authentication.http_token_authentication")
    headers: dict[str, str] = module.get_auth_headers_if_auth_enabled({})
    return headers


def head_address() -> str | None:
    """Return `host:port` that `address="auto"` means, or None.

    `ray.init("auto")` tells it only after it has connected, and waits for minutes for a head that
    does not answer.
    """
    services = import_module("ray._private.services")
    try:
        address: str | None = services.canonicalize_bootstrap_address("auto")
    except Exception:  # a `ConnectionError` when there is none, a `ValueError` when it is malformed
        return None
    return address


def living_nodes(address: str, seconds: float) -> list[str]:
    """Return the ids of the living nodes of the cluster at `address`. Raises what Ray raises.

    `ray.nodes()` needs a connection, and `ray.init` has no time limit.
    """
    client: Any = import_module("ray._raylet").GcsClient(address=address)
    nodes = client.get_all_node_info(timeout=seconds)
    return [node.hex() for node, info in nodes.items() if info.state == 0]  # `GcsNodeState.ALIVE`


@contextlib.contextmanager
def tune_inherits() -> Iterator[None]:
    """Let the processes of Tune have the variables of the node that they run on, and no others.

    Tune asks for an environment of its own for every trial, so Ray starts another process for it
    and never uses those that wait. On a node that this process started, the variables are there.
    """
    module: Any = import_module("ray.tune.execution.class_cache")
    before = module.DEFAULT_ENV_VARS, module.ENV_VARS_TO_PROPAGATE
    module.DEFAULT_ENV_VARS, module.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        module.DEFAULT_ENV_VARS, module.ENV_VARS_TO_PROPAGATE = before


def nodes_here() -> list[str]:
    """Return the ids of the Ray nodes that run on this machine, of any cluster.

    Without a connection no public API names them.
    """
    return list(import_module("ray._private.services").find_node_ids())


def autoscaler_limits() -> Any:
    """Return the `ClusterConfig` that a managed autoscaler reported, None where there is none.

    Ray Train uses the same figures; no public API gives the nodes that may be added.
    """
    state = import_module("ray._private.state").state
    return state.get_cluster_config() if hasattr(state, "get_cluster_config") else None
