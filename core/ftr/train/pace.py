"""When a checkpoint is due."""

import time
from dataclasses import dataclass, field
from typing import Literal

SECONDS_BETWEEN = 30.0
SHARE = 1 / 20
"""Most of the time that `auto` spends on writing."""


@dataclass(slots=True)
class Pace:
    """Counts steps, or with `auto` seconds, since the last checkpoint; what writing costs is measured."""

    every: int | Literal["auto"]
    last_step: int = 0
    writing: float = 0.0
    longest: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)

    def begin(self, step: int) -> None:
        """Start counting at `step`, now."""
        self.last_step = step
        self._began = self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to write one after `step`."""
        if step == self.last_step or self.every == 0:
            return False
        if self.every != "auto":
            return step // self.every > self.last_step // self.every
        now = time.monotonic()
        return now - self._since >= SECONDS_BETWEEN and self.writing + self.longest <= SHARE * (now - self._began)

    def wrote(self, step: int, seconds: float) -> None:
        """Count a checkpoint of `step` that took `seconds`."""
        self.last_step, self._since = step, time.monotonic()
        self.writing, self.longest = self.writing + seconds, max(self.longest, seconds)
