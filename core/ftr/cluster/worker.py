"""How each process of Ray on this machine begins: importing this module there does it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from ftr import atomic


def quiet_worker() -> None:
    """Turn off the logs of Ray Train and torch in their own processes: errors come back to the
    driver, once.

    Names the cluster too: Ray Train's helpers look for one by themselves, and fail where another
    runs on the machine.
    """
    import ray

    os.environ.setdefault("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


IMPORTS = "FTR_IMPORTS"
"""Variable with a folder, and the modules that the first process imports ahead of its work."""
TAKEN, DONE = "taken", "done"
LONGEST = 60.0
"""Seconds to wait for imports: a process may have died in them."""
SETTLED = 0.1
"""Seconds until Ray knows that a process is free."""


@contextlib.contextmanager
def imports_ahead(modules: Sequence[str]) -> Iterator[Callable[[], bool]]:
    """Let the first process of a Ray that is started within import modules at once, while this one
    does something else; yields what waits for it, and returns whether there was one.

    One alone: on few cores the others would slow it down. Ray gives a process no work before it has
    imported, and starts another one instead: so wait before there is work.
    """
    with atomic.scratch("imports") as place:
        os.environ[IMPORTS] = os.pathsep.join([place, *modules])
        folder = Path(place)

        def wait() -> bool:
            deadline = time.monotonic() + LONGEST
            if not (folder / TAKEN).is_dir():
                return False
            while not (folder / DONE).is_dir() and time.monotonic() < deadline:
                time.sleep(SETTLED / 10)
            time.sleep(SETTLED)
            return True

        try:
            yield wait
        finally:
            os.environ.pop(IMPORTS, None)


def import_asked() -> None:
    """Import what `imports_ahead` asks for, unless another process does; errors are left to the
    work that needs it.
    """
    place, *modules = os.environ.get(IMPORTS, "").split(os.pathsep)
    if modules:
        with contextlib.suppress(OSError):
            Path(place, TAKEN).mkdir()
            try:
                for module in modules:
                    with contextlib.suppress(Exception):
                        import_module(module)
            finally:
                Path(place, DONE).mkdir()


if Path(sys.argv[0]).name == "default_worker.py":  # and not in a program that joined a cluster
    quiet_worker()
    import_asked()
