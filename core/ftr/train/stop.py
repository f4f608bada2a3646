"""Ctrl-C and SIGTERM: a training step is finished and a checkpoint written first; everything else stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = b"\nftr: stopping after this step and its checkpoint; once more to stop at once\n"


class Stop:
    """Whether this process was asked to stop.

    A signal sets `asked`. `patient` is set by the training while it can stop by itself soon. At any other time, and the
    second time, a signal also raises `KeyboardInterrupt` where the program stands.
    """

    def __init__(self) -> None:
        """Nothing was asked."""
        self.asked = self.patient = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within; elsewhere than in the main thread, and for signals that are ignored, do nothing."""
        self.asked = self.patient = False
        old, hook = {}, sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            # A command in the background of a script, or under `nohup`, is to ignore some of them.
            old = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
        if old:
            sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, KeyboardInterrupt) else hook(lost)
        try:
            for number in old:
                signal.signal(number, self._heard)
            yield
        finally:
            if old:
                sys.unraisablehook = hook
            for number, handler in old.items():
                signal.signal(number, handler)
            self.asked = self.patient = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        once_more, self.asked = self.asked, True
        if once_more or not self.patient:
            # A library may swallow it, in an import or a `__del__`: `asked` then stops the training after its next step.
            raise KeyboardInterrupt
        # Not `print`: the signal may have come in the middle of one.
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)


STOP = Stop()
"""Signals are of the whole process, and so is this."""


def stop_of_this_thread() -> Stop:
    """Return `STOP` in the main thread, else one that nobody asks: trainings in other threads are stopped by who started them."""
    return STOP if threading.current_thread() is threading.main_thread() else Stop()
