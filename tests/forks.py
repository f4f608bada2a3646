"""`ftr` commands in processes of their own that need not import torch and transformers first.

One process, started when it is first needed, has imported them; every command is a fork of it. What
a command imports beyond that, its signals, its files and its exit are its own.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

# Not Ray: it reads its settings from the environment when it is imported.
IMPORTED = ["ftr.train.session", "ftr_plugins.classification.metrics"]


class Fork:
    """A running command, with what tests use of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], cwd: Path | None) -> None:
        """Start `ftr` with these words."""
        self._out = Path(tempfile.mkdtemp(prefix="fork-"))
        weakref.finalize(self, shutil.rmtree, self._out, ignore_errors=True)
        self._process: ForkServerProcess = _forking().Process(
            target=_run, args=(list(words), str(cwd or Path.cwd()), dict(os.environ), self._out)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> Any:
        """The exit code; None while it runs, negative where a signal ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code or None."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("ftr", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return what stands on stdout and stderr."""
        self.wait(timeout)
        out, err = (
            (self._out / name).read_text(encoding="utf-8") if (self._out / name).exists() else ""
            for name in ("stdout", "stderr")
        )
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """End it with SIGTERM."""
        self._process.terminate()


@cache
def _forking() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _run(words: list[str], cwd: str, environment: Mapping[str, str], out: Path) -> None:
    """Be the command, in the child."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [cwd, *(path for path in given if path and path not in sys.path)]
    sys.argv = ["ftr", *words]
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (out / name).open("wb", buffering=0) as stream:
            os.dup2(stream.fileno(), number)
        opened = open(number, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    from ftr.cli.main import program

    program()
