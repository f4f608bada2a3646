"""What is left of a training that failed or was interrupted: its record, the traceback, and how to go on."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

from ftr.errors import FtrError, PluginError, RunError
from ftr.jobs.say import shown_path
from ftr.runs.directory import RunDirectory
from ftr.runs.lock import hold
from ftr.train.checkpoint import last_step
from ftr.train.history import attempts

Say = Callable[[str], None]


@contextlib.contextmanager
def traceback_kept(directory: RunDirectory, say: Say) -> Iterator[None]:
    """Keep in `error.log` where an error within came from, unless it was raised on purpose; the message says where that is."""
    try:
        yield
    except Exception as error:
        _keep_traceback(directory, error, say)
        raise


def _keep_traceback(directory: RunDirectory, error: Exception, say: Say) -> None:
    if isinstance(error, FtrError) and not isinstance(error, PluginError):
        return
    log = directory.keep_traceback(error)
    if isinstance(error, PluginError):
        error.log = shown_path(log) if log else ""
    elif log:
        say(f"the traceback is in {shown_path(log)}")


def close_failed(directory: RunDirectory, record: dict[str, Any], error: BaseException, say: Say) -> None:
    """Write how a training ended into its record, and say how it goes on where there is something to go on from."""
    interrupted = isinstance(error, KeyboardInterrupt)
    status = "interrupted" if interrupted else "failed"
    ending = {"status": status, "finished": time.time(), "error": f"{type(error).__name__}: {error}".removesuffix(": ")}
    step = last_step(directory.path)
    try:
        directory.write({**record, **ending, "resumed": attempts(directory.path)[1:]})
    except RunError as unwritable:
        say(str(unwritable))
    if interrupted or step is not None:
        place = "nothing was kept yet, it will start over" if step is None else f"it will go on from step {step}"
        say(f"{status}: {place} with")
        say(f"  ftr resume {shlex.quote(shown_path(directory.path))}")


def leave_failed(directory: RunDirectory, record: dict[str, Any], error: Exception, say: Say) -> None:
    """Leave what can be resumed of a run that failed before there was data to train on: its record, and the traceback."""
    with hold(directory.path):
        _keep_traceback(directory, error, say)
        close_failed(directory, record, error, say)
