"""What the driver does while Ray Tune runs trials: write the journal, feed the searcher, show the table, mind the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray.tune import Callback, Stopper

from ftr.jobs.sweep.budget import Budget, Ending
from ftr.jobs.sweep.source import TrialSource
from ftr.runs.journal import Journal
from ftr.runs.trial_table import LiveTable
from ftr.runs.trials import SweepState, Trial

REDRAW_SECONDS = 0.5
FINAL = "final"
"""Key of the last report of a trial: how it ended, as its process saw it."""


@dataclass(slots=True)
class Board:
    """The state of a sweep as the driver knows it, and everything that must hear of a change."""

    state: SweepState
    journal: Journal
    budget: Budget
    table: LiveTable
    closed: Callable[[Trial], None]
    keep: Callable[..., None] = lambda **how: None
    source: TrialSource = field(init=False)
    refused: str | None = None
    """Why the whole sweep makes no sense, as its first evaluation showed."""

    def __getstate__(self) -> None:
        """Keep nothing, for the same reason as `TrialSource`: the table writes to a stream."""

    def write(self, event: str, **fields: Any) -> None:
        """Journal an event, and take it into the state."""
        self.state.take(self.journal.append(event, **fields))


class Observer(Callback):  # type: ignore[misc]  # ray is not checked
    """Hears of every trial's start, results and end."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.drawn = 0.0
        self.ended: list[Any] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw the table and copy the journal now and then; let Tune forget what it need not know any more."""
        self.board.keep()
        while self.ended:
            forget(self.ended.pop())
        now = time.monotonic()
        if now - self.drawn >= REDRAW_SECONDS:
            self.drawn = now
            self.board.table.update(self.board.state)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a process took the trial up."""
        number = trial.config["trial"]
        known = self.board.state.trials.get(number)
        attempt = known.attempts + 1 if known else 1
        self.board.write("start", trial=number, attempt=attempt)
        if attempt > 1:
            self.board.table.event(f"trial {number}: taken up again")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Note an evaluation; the last report of a trial brings no new one."""
        number = trial.config["trial"]
        if FINAL in result:
            if result[FINAL].get("refused"):
                self.board.refused = result[FINAL]["cause"]
            known = {evaluation.step for evaluation in self.board.state.trials[number].results}
            for entry in result[FINAL]["evaluations"]:
                if entry["step"] not in known:
                    self._evaluation(number, entry)
            return
        self._evaluation(number, result)

    def _evaluation(self, number: int, result: dict[str, Any]) -> None:
        before = self.board.state.best_value
        keys = ("epoch", "step", "value", "scores", "seconds")
        self.board.write("result", trial=number, **{key: result[key] for key in keys})
        self.board.budget.count(number, result["epoch"])
        best = " (best so far)" if self.board.state.best_value != before else ""
        self.board.table.event(f"trial {number}: epoch {result['epoch']:.3g}, {self.board.table.primary} {result['value']:.4g}{best}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note how a trial ended: by itself, by its own failure, or stopped."""
        self.ended.append(trial)
        final = (trial.last_result or {}).get(FINAL)
        length = trial.config.get("config", {}).get("epochs", math.inf)
        if final is None and (trial.last_result or {}).get("epoch", 0.0) >= length:
            # A scheduler may stop a trial at the very evaluation that is its last.
            self._end(trial, "done", None, None)
        elif final:
            self._end(trial, final["status"], final.get("cause"), final.get("log"))
        elif self.board.budget.exhausted() is not None:
            ending = self.board.budget.exhausted()
            self._end(trial, "stopped", ending.reason if ending else None, None)
        else:
            self._end(trial, "stopped", "scheduler", None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial's process died once too often."""
        self.ended.append(trial)
        error = getattr(trial, "get_pickled_error", lambda: None)()
        lines = str(error or trial.error_file or "its process died").strip().splitlines()
        self._end(trial, "failed", f"its process died {trial.num_failures} times: {lines[-1] if lines else 'no message'}", None)

    def _end(self, trial: Any, status: str, cause: str | None, log: str | None) -> None:
        number = trial.config["trial"]
        self.board.write("end", trial=number, status=status, cause=cause, log=log)
        ended = self.board.state.trials[number]
        self.board.source.end(ended)
        self.board.closed(ended)
        self.board.keep(now=True)
        self.board.table.event(f"trial {number}: {status}{f' ({cause})' if cause else ''}")


def forget(trial: Any) -> None:
    """Drop what Tune keeps to its end of a trial that is over: three copies of its configuration, and means of every score.

    Without this the driver grows by about 100 kB with every trial.
    """
    trial.config = {"trial": trial.config["trial"]}
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.run_metadata.last_result = {}
    trial.run_metadata.metric_analysis = {}
    trial.run_metadata.metric_n_steps = {}


class Limit(Stopper):  # type: ignore[misc]  # as above
    """Ends everything when the budget is used up."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.ending: Ending | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether the sweep is over."""
        self.ending = self.ending or self.board.budget.exhausted()
        return self.ending is not None or self.board.refused is not None
