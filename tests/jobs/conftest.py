"""Commands that run as processes of their own, and do not outlive a test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from interruptions import Start, command


@pytest.fixture
def start() -> Iterator[Start]:
    """Start commands; those that a failed test leaves are ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*given: object, **where: Any) -> subprocess.Popen[str]:
        started.append(command(*given, **where))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate()
