"""What passes from a trial to Ray Tune, and the hold a trial has on its run directory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.errors import RequestError
from ftr.runs.lock import hold

if TYPE_CHECKING:
    from ftr.runs.directory import RunDirectory

ORPHAN_SECONDS = 60.0
"""How long a trial waits for a process that still works on it."""


class Reports:
    """Hands evaluations to Tune, and remembers the last for the report that ends a trial."""

    def __init__(self, send: Callable[[dict[str, Any]], None], keep: Callable[[], None] | None = None) -> None:
        self.send, self.keep = send, keep or (lambda: None)
        self.last: dict[str, Any] = {"epoch": 0.0, "step": 0, "value": float("nan"), "scores": {}, "seconds": 0.0}

    def __call__(self, evaluation: dict[str, Any]) -> None:
        """Report one evaluation. Does not return where Tune stops the trial there (`SystemExit`)."""
        scores = {key: value for key, value in evaluation["scores"].items() if isinstance(value, int | float)}
        self.last = {**{key: evaluation[key] for key in ("epoch", "step", "value", "seconds")}, "scores": scores}
        self.keep()
        self.send(self.last)


@contextlib.contextmanager
def held(directory: RunDirectory) -> Iterator[None]:
    """Hold a run directory, waiting for an earlier process of the same trial to die: its driver may have died just now."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(directory.path))
            except RequestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                continue
            yield
            return


def sender(set_aside: bool) -> Callable[[dict[str, Any]], None]:
    """Return what hands a result to Tune.

    With `set_aside` a checkpoint goes with it, for schedulers that ask for one: an empty folder, ours lie in the run directory.
    """
    from ray import tune

    if not set_aside:
        return tune.report  # type: ignore[no-any-return]  # ray is not checked

    def send(result: dict[str, Any]) -> None:
        with atomic.scratch("train") as folder:
            (Path(folder) / "empty").touch()
            tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    return send
