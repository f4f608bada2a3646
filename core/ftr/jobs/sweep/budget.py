"""When a sweep has had enough: trials, hours, epochs, or no more to be gained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftr.runs.expected import expected_gain

if TYPE_CHECKING:
    from ftr.config.sweep import SweepConfig


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a sweep ends: a word for the journal, a sentence for people. `at_once`: running trials are stopped too."""

    reason: str
    detail: str
    at_once: bool = False


@dataclass(slots=True)
class Budget:
    """The limits of a sweep and what was used of them.

    `trials` limits the configurations (None: nothing does), `spent_before` are the seconds of earlier parts of a resumed sweep.
    """

    sweep: SweepConfig
    trials: int | None
    mode: str
    spent_before: float = 0.0
    epochs: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds the sweep has run, over all its parts."""
        return self.spent_before + time.monotonic() - self.began

    def count(self, trial: int, epoch: float) -> None:
        """Note how far a trial has come."""
        self.epochs[trial] = max(epoch, self.epochs.get(trial, 0.0))

    def exhausted(self) -> Ending | None:
        """Return why everything must stop now, or None."""
        if self.sweep.time is not None and self.seconds >= self.sweep.time:
            return Ending("time", f"`time={self.sweep.time:g}` seconds are over", at_once=True)
        used = sum(self.epochs.values())
        if self.sweep.epochs_total is not None and used >= self.sweep.epochs_total:
            return Ending("epochs_total", f"{used:g} epochs were trained, `epochs_total={self.sweep.epochs_total:g}`", at_once=True)
        return None

    def sated(self, scores: Sequence[float], started: int) -> Ending | None:
        """Return why no further configuration is begun, or None: `scores` of those finished, `started` so far."""
        if self.trials is not None and started >= self.trials:
            if self.sweep.searcher == "grid" and self.sweep.trials is None:
                return Ending("grid", "the whole grid was tried")
            return Ending("trials", f"all {self.trials} configurations were tried")
        gain = None if self.sweep.patience is None else expected_gain(scores, self.mode)
        if gain is not None and self.sweep.patience is not None and gain < self.sweep.patience:
            return Ending("patience", f"twice as many trials are expected to gain less than {gain:.2g}, `patience={self.sweep.patience:g}`")
        return None
