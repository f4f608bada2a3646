"""Addresses for the nodes of a cluster on one machine: network namespaces where they may be made,
else loopback ones.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Network:
    """Addresses on the loopback device, which every Linux machine has."""

    def host(self, number: int) -> str:
        """Return the address of the node `number`."""
        return f"127.0.77.{number + 1}"

    def enter(self, number: int) -> list[str]:
        """Return what stands before a command for it to run on the node `number`."""
        return []


class Namespaces(Network):
    """A bridge on this machine, and a namespace behind it for every node but the head."""

    def __init__(self, name: str, third: int) -> None:
        self.name, self.third = name, third
        self.made: list[str] = []

    def host(self, number: int) -> str:
        return f"10.213.{self.third}.{number + 1}"

    def enter(self, number: int) -> list[str]:
        if number == 0:
            return []
        space = f"{self.name}n{number}"
        if space not in self.made:
            self._make(space, number)
        return ["ip", "netns", "exec", space]

    def _make(self, space: str, number: int) -> None:
        outside, inside = f"{self.name}v{number}", f"{self.name}w{number}"
        _ip("netns", "add", space)
        self.made.append(space)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
        _ip("link", "set", outside, "master", self.name, "up")
        _ip("-n", space, "addr", "add", f"{self.host(number)}/24", "dev", inside)
        _ip("-n", space, "link", "set", inside, "up")
        _ip("-n", space, "link", "set", "lo", "up")


@contextmanager
def loopback() -> Iterator[Network]:
    """Give the nodes loopback addresses."""
    yield Network()


@contextmanager
def namespaces() -> Iterator[Network]:
    """Make a bridge, and take it and the namespaces behind it away again."""
    _sweep()
    third = next(third for third in range(256) if f"10.213.{third}." not in _ip("-o", "addr"))
    network = Namespaces(f"fr{os.getpid()}x{third:x}", third)
    _ip("link", "add", network.name, "type", "bridge")
    try:
        _ip("addr", "add", f"{network.host(0)}/24", "dev", network.name)
        _ip("link", "set", network.name, "up")
        yield network
    finally:
        for space in network.made:
            _ip("netns", "del", space)
        _ip("link", "del", network.name)


def _sweep() -> None:
    """Take away what tests that were killed left behind: names begin with the id of the process
    that made them.
    """
    for command in (("netns", "list"), ("-o", "link", "show", "type", "bridge")):
        for name, process in re.findall(r"\b(fr(\d+)x[0-9a-f]+(?:n\d+)?)\b", _ip(*command)):
            if not Path(f"/proc/{process}").exists():
                subprocess.run(
                    ["ip", *(("netns",) if command[0] == "netns" else ("link",)), "del", name],
                    check=False,
                    capture_output=True,
                )


def may_isolate() -> bool:
    """Whether this process may make network namespaces; `FTR_TEST_NETWORK=loopback` says no."""
    if (
        os.environ.get("FTR_TEST_NETWORK") == "loopback"
        or os.geteuid() != 0
        or shutil.which("ip") is None
    ):
        return False
    name = f"frtry{os.getpid() % 100000}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", name, "type", "bridge")
            _ip("link", "del", name)
        finally:
            _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on at `host`, now."""
    with socket.socket() as asking:
        asking.bind((host, 0))
        port: int = asking.getsockname()[1]
        return port


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
