"""Where Ray Tune gets its trials: unfinished ones of the journal first, then new configurations, each written down first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search import Searcher

from ftr.errors import FtrError
from ftr.jobs.sweep.budget import Budget, Ending
from ftr.jobs.sweep.proposers import Proposer, Values
from ftr.runs.trials import SweepState, Trial

Check = Callable[[Mapping[str, object], int], dict[str, Any]]
"""From the values and the seed of a trial to its spec; raises `FtrError` where no run can have these values."""


@dataclass(slots=True)
class Group:
    """The trials of one configuration: one, or as many as there are repeats."""

    values: Values
    trials: list[int] = field(default_factory=list)
    bests: dict[int, float | None] = field(default_factory=dict)

    def score(self, repeats: int) -> tuple[bool, float | None]:
        """Return whether all repeats ended, and the mean of their best scores (None: none has one)."""
        found = [best for best in self.bests.values() if best is not None and math.isfinite(best)]
        return len(self.bests) >= repeats, sum(found) / len(found) if found else None


class TrialSource(Searcher):  # type: ignore[misc]  # ray is not checked
    """A `Searcher` to Tune; to us the one place where trials get their numbers, values and seeds."""

    def __init__(self, proposer: Proposer, budget: Budget, write: Callable[..., None], check: Check, *, seed: int, repeats: int) -> None:
        """`write` journals an event before anything follows from it; `check` makes the spec of a trial from its values and seed."""
        super().__init__(metric=None, mode=None)
        self.proposer, self.budget, self.write, self.check = proposer, budget, write, check
        self.seed, self.repeats = seed, repeats
        self.groups: dict[int, Group] = {}
        self.numbers: dict[str, int] = {}
        self.waiting: list[tuple[int, Values, int]] = []
        self.next_trial = 0
        self.next_group = 0
        self.ending: Ending | None = None

    def recall(self, events: list[dict[str, Any]], state: SweepState) -> list[str]:
        """Bring the proposer to where it was by the same calls in the same order; returns notes for people.

        Trials that did not end wait to be handed out again, in their order.
        """
        notes: list[str] = []
        for event in events:
            if event["event"] == "trial":
                self._recall_trial(event, notes)
            elif event["event"] == "end":
                trial = state.trials[event["trial"]]
                self._tell(trial.number, trial.group, trial.best)
        self.waiting = [(t.number, dict(t.values), t.repeat) for t in state.trials.values() if not t.ended]
        self._complete_groups(state)
        return notes

    def _recall_trial(self, event: dict[str, Any], notes: list[str]) -> None:
        number, group, values = event["trial"], event["group"], event["values"]
        if group not in self.groups:
            again = self.proposer.propose(group)
            if again != values and not notes:
                notes.append(f"the searcher does not come to the values of trial {number} again: it goes on with what it was told")
            self.groups[group] = Group(values)
        self.groups[group].trials.append(number)
        self.next_trial = max(self.next_trial, number + 1)
        self.next_group = max(self.next_group, group + 1)

    def _complete_groups(self, state: SweepState) -> None:
        """Number the repeats that were not written down before the sweep died."""
        for number, group in self.groups.items():
            known = {state.trials[trial].repeat for trial in group.trials}
            for repeat in range(self.repeats):
                if repeat not in known:
                    self.waiting.append(self._numbered(number, group.values, repeat))

    def suggest(self, trial_id: str) -> Any:
        """Return the spec of the next trial, or that there is none any more."""
        while True:
            if not self.waiting:
                self._open_group()
            if not self.waiting:
                return Searcher.FINISHED
            number, values, repeat = self.waiting.pop(0)
            try:
                spec = self.check(values, self.seed + repeat)
            except FtrError as error:
                self.write("end", trial=number, status="failed", cause=str(error), log=None)
                self._tell(number, self._group_of(number), None)
                continue
            self.numbers[trial_id] = number
            return {"trial": number, **spec}

    def _open_group(self) -> None:
        self.ending = self.ending or self.budget.sated(self.scores(), self.next_group)
        values = None if self.ending else self.proposer.propose(self.next_group)
        if values is None:
            self.ending = self.ending or Ending("trials", "the searcher has no more configurations")
            return
        group, self.next_group = self.next_group, self.next_group + 1
        self.groups[group] = Group(values)
        self.waiting = [self._numbered(group, values, repeat) for repeat in range(self.repeats)]

    def _numbered(self, group: int, values: Values, repeat: int) -> tuple[int, Values, int]:
        number, self.next_trial = self.next_trial, self.next_trial + 1
        self.groups[group].trials.append(number)
        self.write("trial", trial=number, values=values, group=group, repeat=repeat)
        return number, values, repeat

    def scores(self) -> list[float]:
        """Return the scores of the configurations that are done."""
        ended = [group.score(self.repeats) for group in self.groups.values()]
        return [score for done, score in ended if done and score is not None]

    def end(self, trial: Trial) -> None:
        """Take the outcome of a trial."""
        self._tell(trial.number, trial.group, trial.best)

    def _tell(self, number: int, group: int, best: float | None) -> None:
        self.groups[group].bests[number] = best
        done, score = self.groups[group].score(self.repeats)
        if done:
            self.proposer.tell(group, score)

    def _group_of(self, number: int) -> int:
        return next(key for key, group in self.groups.items() if number in group.trials)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `end` is told by the observer, which knows all results."""

    def __getstate__(self) -> None:
        """Keep nothing: Tune pickles what it is given, and not all that hangs on this can be."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal is all there is."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""
