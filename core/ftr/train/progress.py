"""The counts of a training, and interrupts (Ctrl-C, SIGTERM)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

RECENT_STEPS = 20


@dataclass(slots=True)
class Meter:
    """Counts a training: steps done of `steps`, examples, and the seconds they took.

    A step's time runs from the last `mark` (or step) to its `add`: reading and padding rows, both
    passes and the optimizer. Evaluations end with a `mark`, so they are left out.
    """

    steps: int
    epochs: float
    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    pending: tuple[int, *tuple[float, ...]] = (0,)
    """Examples of the current step, and the losses of it and of earlier steps that are new."""
    _since: float = field(default_factory=time.monotonic)
    _recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    """Examples and seconds of the last steps of this attempt, without the first if there is
    another.
    """
    _cold: bool = True
    """Whether the first step, which is slower than those to come, is in `_recent`."""

    def mark(self) -> None:
        """Start the time of the next step."""
        self._since = time.monotonic()

    def add(self, examples: int, *losses: float) -> None:
        """Count a finished step of `examples` examples, and the `losses` known since the last."""
        seconds = time.monotonic() - self._since
        self.seconds += seconds
        if self._cold and self._recent:
            self._cold = False
            self._recent.clear()
        self._recent.append((examples, seconds))
        self.mark()
        self.step += 1
        self.examples += examples
        self.smooth(losses)

    def smooth(self, losses: Iterable[float]) -> None:
        """Take the losses of steps into the shown one, which is smoothed over about ten steps."""
        for loss in losses:
            self.loss = loss if self.loss != self.loss else 0.9 * self.loss + 0.1 * loss

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, for a checkpoint."""
        return {name: getattr(self, name) for name in ("step", "examples", "seconds", "loss")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counts of a checkpoint."""
        for name in ("step", "examples", "seconds", "loss"):
            setattr(self, name, state[name])

    @property
    def rate(self) -> float:
        """Examples a second since the training began."""
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def step_seconds(self) -> float:
        """Seconds of a step, as of the last ones of this attempt; 0 before the first."""
        seconds = sum(one for _, one in self._recent)
        return seconds / len(self._recent) if self._recent else 0.0

    def line(self, left: str = "") -> str:
        """Return what the progress line says, with the time `left`: speed as of the last steps.

        A narrow terminal drops the last parts.
        """
        examples, seconds = (sum(column) for column in zip((0, 0.0), *self._recent, strict=True))
        epoch = self.step / self.steps * self.epochs
        parts = [f"epoch {epoch:.2f}/{self.epochs:g}", left, f"loss {self.loss:.4f}"]
        if seconds:
            parts.append(f"{examples / seconds:.1f} examples/s")
        return " · ".join(filter(None, [*parts, f"step {self.step}/{self.steps}"]))


SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = b"\nftr: stopping after this step and its checkpoint; signal again to stop at once\n"


class Interrupt:
    """Whether this process was asked to stop.

    A signal sets `requested`. The training sets `deferring` while it can stop by itself soon. At
    any other time, and the second time, a signal also raises `KeyboardInterrupt` at once.
    """

    def __init__(self) -> None:
        self.requested = self.deferring = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within, those that are not ignored, and only in the main thread."""
        self.requested = self.deferring = False
        old, hook = {}, sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            # A command in the background of a script, or under `nohup`, ignores some of them.
            old = {
                number: signal.getsignal(number)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        if old:
            sys.unraisablehook = lambda lost: (
                None if isinstance(lost.exc_value, KeyboardInterrupt) else hook(lost)
            )
        try:
            for number in old:
                signal.signal(number, self._heard)
            yield
        finally:
            if old:
                sys.unraisablehook = hook
            for number, handler in old.items():
                signal.signal(number, handler)
            self.requested = self.deferring = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        once_more, self.requested = self.requested, True
        if once_more or not self.deferring:
            # A library may swallow it, in an import or a `__del__`: `requested` then stops the
            # training after its next step.
            raise KeyboardInterrupt
        # Not `print`: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)


INTERRUPT = Interrupt()
"""Signals are of the whole process, and so is this."""


def current_interrupt() -> Interrupt:
    """Return `INTERRUPT` in the main thread, else a new one: signals do not reach other threads."""
    return INTERRUPT if threading.current_thread() is threading.main_thread() else Interrupt()
