"""What is left of a training that failed or was interrupted: its record, the traceback, and how to go on."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

from ftr import atomic
from ftr.errors import FtrError, PluginError, RunError
from ftr.jobs.say import shown_path
from ftr.runs.directory import RunDirectory
from ftr.runs.lock import hold
from ftr.train.checkpoint import CHECKPOINTS, last_step
from ftr.train.history import ATTEMPTS, attempts

Say = Callable[[str], None]
KEPT = "ftr_traceback_kept"


@contextlib.contextmanager
def traceback_kept(directory: RunDirectory, say: Say) -> Iterator[None]:
    """Keep in `error.log` where an error within came from, unless it was raised on purpose; the message says where that is."""
    try:
        yield
    except Exception as error:
        _keep_traceback(directory, error, say)
        raise


def _keep_traceback(directory: RunDirectory, error: Exception, say: Say) -> None:
    if (isinstance(error, FtrError) and not isinstance(error, PluginError)) or hasattr(error, KEPT):
        return
    log = directory.keep_traceback(error)
    # A run of several keeps what a member within it has kept already only once.
    setattr(error, KEPT, log)
    if isinstance(error, PluginError):
        error.log = shown_path(log) if log else ""
    elif log:
        say(f"the traceback is in {shown_path(log)}")


def close_failed(directory: RunDirectory, record: dict[str, Any], error: BaseException, say: Say) -> None:
    """Write how a training ended into its record, and say how it goes on where there is something to go on from."""
    step = last_step(directory.path)
    status = write_ending(directory, {**record, "resumed": attempts(directory.path)[1:]}, error, say)
    if status == "interrupted" or step is not None:
        place = "nothing was kept yet, it will start over" if step is None else f"it will go on from step {step}"
        say_how_to_resume(directory, f"{status}: {place}", say)


def write_ending(directory: RunDirectory, record: dict[str, Any], error: BaseException, say: Say) -> str:
    """Write how a training ended into its record, and return the status: `interrupted` or `failed`."""
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    ending = {"status": status, "finished": time.time(), "error": f"{type(error).__name__}: {error}".removesuffix(": ")}
    try:
        directory.write({**record, **ending})
    except RunError as unwritable:
        say(str(unwritable))
    return status


def say_how_to_resume(directory: RunDirectory, what: str, say: Say) -> None:
    """Say `what` became of a run, and the command that goes on with it."""
    say(f"{what} with")
    say(f"  ftr resume {shlex.quote(shown_path(directory.path))}")


def note_beginning(directory: RunDirectory, record: dict[str, Any]) -> None:
    """See to it that the attempts begin with the first, also when that ended before it began to train."""
    path = directory.path / CHECKPOINTS / ATTEMPTS
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        atomic.append_line(path, {"time": record.get("created", time.time()), "process": record.get("process"), "step": 0})


def leave_failed(directory: RunDirectory, record: dict[str, Any], error: Exception, say: Say) -> None:
    """Leave what can be resumed of a run that failed before there was data to train on: its record, and the traceback."""
    with hold(directory.path):
        _keep_traceback(directory, error, say)
        close_failed(directory, record, error, say)
