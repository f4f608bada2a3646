"""A process without a network, for as long as a check needs one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse every connection and name look-up to elsewhere within; yields the addresses that were
    asked for.
    """
    asked: list[str] = []

    def refusing(inner: Callable[..., Any], place: int) -> Callable[..., Any]:
        def refuse(*arguments: Any, **keywords: Any) -> Any:
            address = (
                arguments[place] if len(arguments) > place else next(iter(keywords.values()), None)
            )
            if (
                isinstance(address, str) and place == 1
            ):  # a socket of this machine has a path for address
                return inner(*arguments, **keywords)
            asked.append(str(address[0] if isinstance(address, tuple) else address))
            raise OSError(f"no network in this check (asked for {asked[-1]})")

        return refuse

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refusing(socket.socket.connect, 1))
        patch.setattr(socket.socket, "connect_ex", refusing(socket.socket.connect_ex, 1))
        patch.setattr(socket, "getaddrinfo", refusing(socket.getaddrinfo, 0))
        yield asked
