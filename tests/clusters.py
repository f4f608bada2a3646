"""A real Ray cluster of several nodes on one machine, each node a `ray start` of its own that can be killed.

    with ray_cluster(Size(cpus=1), Size(cpus=2, resources={"disk": 1})) as cluster:
        ...                      # `cluster.address` is what `compute.address` takes, in this process or in one it starts
        cluster.kill(cluster.nodes[1])
        cluster.add(Size(cpus=2))

The first node is the head; it lives in this machine's own network, so that a driver outside finds it. Where network
namespaces may be made (root, Linux, `ip`), every other node has one of its own, joined by a bridge; elsewhere the nodes
have loopback addresses of their own. All share the disk. `kill` ends every process of a node with SIGKILL, as the loss
of its machine would; only processes that carry the node's own mark are ever touched, and none outlives this process.

Token authentication is on: a fresh token in `RAY_AUTH_TOKEN`, with `RAY_AUTH_MODE=token`, stands in `os.environ` while
the cluster lives, for drivers in this process and in those it starts.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from networks import Network, free_port, loopback, may_isolate, namespaces

MARK = "FTR_TEST_NODE"
# A dead node is noticed within seconds, not within the half minute that spares a busy network.
QUICK = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}
OBJECT_STORE = 100 * 2**20
START_SECONDS = 90.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Size:
    """What a node offers; GPUs are claimed, not real."""

    cpus: int = 1
    gpus: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    memory_gb: float | None = None
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable


@dataclass(slots=True)
class Node:
    """One node: its `ray start`, its address, the mark its processes carry, and its log."""

    process: subprocess.Popen[bytes]
    host: str
    mark: str
    log: Path
    size: Size

    def processes(self) -> list[int]:
        """Return the ids of the living processes that were started by this node."""
        wanted = f"{MARK}={self.mark}".encode()
        return [
            number
            for number in _running()
            if _session(number) == self.process.pid or wanted in _environment(number)
        ]

    def said(self) -> str:
        """Return what `ray start` printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Cluster:
    """A running cluster; made by `ray_cluster`."""

    def __init__(self, folder: Path, network: Network, environment: dict[str, str]) -> None:
        self.nodes: list[Node] = []
        self.dashboard: str | None = None
        self.folder, self._network, self._environment = folder, network, environment
        self._port, self._count = free_port(network.host(0)), 0

    @property
    def head(self) -> Node:
        """The first node."""
        return self.nodes[0]

    @property
    def address(self) -> str:
        """`host:port`, as `compute.address` takes it."""
        return f"{self._network.host(0)}:{self._port}"

    def add(self, size: Size, *options: str, dashboard: bool = False) -> Node:
        """Start one more node and return it once it has joined."""
        number, self._count = self._count, self._count + 1
        host = self._network.host(number)
        place = self.folder / str(number)
        place.mkdir()
        command = [
            *self._network.enter(number),
            size.python,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            *_resources(size),
        ]
        command += [
            f"--node-ip-address={host}",
            f"--temp-dir={place}",
            "--disable-usage-stats",
            "--dashboard-agent-listen-port=0",
        ]
        command += self._as_head(host, dashboard) if number == 0 else [f"--address={self.address}"]
        command += options
        mark = f"{self.folder.name}-{number}"
        environment = {**os.environ, **self._environment, **size.environment, MARK: mark}
        log = self.folder / f"{number}.log"
        with log.open("wb") as stream:
            # Runs no code of threads' concern: one system call, before the program begins.
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=_die_along,  # noqa: PLW1509
            )
        node = Node(process, host, mark, log, size)
        self.nodes.append(node)
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in node.said() and process.poll() is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"a node did not start in {START_SECONDS:g} s:\n{node.said()}")
            time.sleep(0.05)
        if process.poll() is not None:
            raise RuntimeError(f"a node left with {process.returncode}:\n{node.said()}")
        return node

    def kill(self, node: Node) -> None:
        """End every process of `node` at once with SIGKILL, the raylet and its workers included."""
        self.nodes = [other for other in self.nodes if other is not node]
        # A machine that is lost says no last word: its processes are frozen before the first of them can notice anything.
        for process in node.processes():
            _signal(process, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while (living := node.processes()) or node.process.poll() is None:
            for process in living:
                _signal(process, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes of a killed node are left: {living}")
            time.sleep(0.05)

    def end(self) -> None:
        """Kill all nodes, the head last: the others would complain that it is gone."""
        for node in reversed(self.nodes.copy()):
            self.kill(node)

    def _as_head(self, host: str, dashboard: bool) -> list[str]:
        options = [
            "--head",
            f"--port={self._port}",
            f"--ray-client-server-port={free_port(host)}",
            f"--include-dashboard={str(dashboard).lower()}",
        ]
        if dashboard:
            port = free_port(host)
            self.dashboard = f"http://{host}:{port}"
            options += [f"--dashboard-host={host}", f"--dashboard-port={port}"]
        return options


@contextmanager
def ray_cluster(
    *sizes: Size,
    dashboard: bool = False,
    environment: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Start a cluster of a head and further nodes, and end it, whatever happens.

    `dashboard` starts the job server too, at `cluster.dashboard` (needs `ray[default]`); `environment` is added to that
    of every node, `options` to the head's `ray start`. Skips the test on anything but Linux.
    """
    if sys.platform != "linux":
        pytest.skip("nodes are told apart by what Linux says of processes")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.callback(forget_token)
        for name in ("RAY_ADDRESS", "RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH"):
            patch.delenv(name, raising=False)
        for name, value in token.items():
            patch.setenv(name, value)
        forget_token()
        # Ray's sockets lie below, and their paths may be 107 characters long.
        folder = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        network = stack.enter_context(namespaces() if may_isolate() else loopback())
        cluster = Cluster(folder, network, {**QUICK, **(environment or {})})
        stack.callback(cluster.end)
        for number, size in enumerate(sizes or (Size(),)):
            cluster.add(
                size, *(options if number == 0 else ()), dashboard=dashboard and number == 0
            )
        yield cluster


def forget_token() -> None:
    """Let Ray, where it is imported, read mode and token from the environment anew; a driver in this process leaves first."""
    if "ray" not in sys.modules:
        return
    import ray

    raylet: Any = import_module("ray._raylet")
    ray.shutdown()
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _resources(size: Size) -> list[str]:
    memory = [] if size.memory_gb is None else [f"--memory={int(size.memory_gb * 1e9)}"]
    return [
        f"--num-cpus={size.cpus}",
        f"--num-gpus={size.gpus}",
        f"--resources={json.dumps(size.resources)}",
        f"--object-store-memory={OBJECT_STORE}",
        *memory,
    ]


def _running() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(process: int) -> bytes:
    """Return what a process was started with, unless it wrote its title over it, as Ray's workers do."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def _session(process: int) -> int | None:
    """Return the session of a process that lives; what a job server starts opens one of its own."""
    try:
        state, _, _, session, *_ = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return None if state == "Z" else int(session)


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _die_along() -> None:
    """End a node with the process that started it, even where that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
