"""Inside Ray Tune: the searcher that proposes trials, and the callback that writes the journal,
shows the table and keeps the budget.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from ftr import atomic
from ftr.config.space import Dimension, grid_points, grid_size
from ftr.errors import FtrError
from ftr.study.directory import Journal
from ftr.study.remote import storage_folder
from ftr.study.retention import Retention
from ftr.study.search import Budget, Ending, Proposer, Trials, Values
from ftr.study.table import LiveTable
from ftr.study.trial import Shared, run_trial
from ftr.study.trials import SweepState, Trial

ASKS, DRAWS = 25, 200
"""How often a searcher is asked for a configuration that is new, and how many are drawn at random
after that.
"""
COUNTED = 100_000
"""The largest number of configurations that are listed to find one that is left."""
FINAL = "final"
"""Key of the last report of a trial: how it ended, as its process saw it."""
Check = Callable[[Mapping[str, object], int], dict[str, Any]]
"""From the values and the seed of a trial to its spec; raises `FtrError` where no run can have
these values.
"""


@dataclass(slots=True)
class Group:
    """The trials of one configuration: one, or as many as there are repeats.

    `proposals` are the numbers under which the searcher proposed it, `bests` the best scores of
    the trials that ended, by number.
    """

    number: int
    values: Values
    proposals: list[int]
    repeats: set[int] = field(default_factory=set)
    bests: dict[int, float | None] = field(default_factory=dict)

    def score(self, repeats: int) -> tuple[bool, float | None]:
        """Return whether all repeats ended, and the mean of their best scores (None: none has
        one).
        """
        found = [best for best in self.bests.values() if best is not None and math.isfinite(best)]
        return len(self.bests) >= repeats, sum(found) / len(found) if found else None


class TrialSource(Searcher):  # type: ignore[misc]  # ray is not checked
    """A `Searcher` for Tune, which gives trials their numbers, values and seeds.

    No configuration is tried twice: where a searcher proposes values again, it gets the score that
    is known.
    """

    def __init__(
        self,
        proposer: Proposer,
        budget: Budget,
        write: Callable[..., None],
        check: Check,
        *,
        seed: int,
        repeats: int,
        space: Mapping[str, Dimension] | None = None,
    ) -> None:
        """`write` journals an event before anything follows from it; `check` makes the spec of a
        trial from its values and seed.
        """
        super().__init__(metric=None, mode=None)
        self.proposer, self.budget, self.write, self.check = proposer, budget, write, check
        self.seed, self.repeats, self.space = seed, repeats, space or {}
        self.size = grid_size(self.space) if space else None
        self.groups: dict[int, Group] = {}
        self.written: dict[str, Group] = {}
        """The group of each configuration by its values, as they were proposed."""
        self.resolved: dict[str, Group] = {}
        """The same by all that it resolves to."""
        self.waiting: list[Trial] = []
        self.next_trial = self.next_group = self.next_proposal = 0
        self.ending: Ending | None = None

    def recall(self, events: list[dict[str, Any]], state: SweepState) -> list[str]:
        """Bring the proposer to where it was by the same calls in the same order; returns notes for
        people.

        Trials that did not end wait to be suggested again, in their order.
        """
        notes: list[str] = []
        for event in events:
            if event["event"] == "trial":
                self._recall_trial(event, notes)
            elif event["event"] == "duplicate":
                self.proposer.propose(event["proposal"])
                self._add_proposal(self.groups[event["group"]], event["proposal"])
            elif event["event"] == "end":
                self.end(state.trials[event["trial"]])
        self.waiting = [trial for trial in state.trials.values() if not trial.ended]
        for group in self.groups.values():
            # Repeats that were not written down before the sweep died.
            self.waiting += self._new_trials(group)
        return notes

    def _recall_trial(self, event: dict[str, Any], notes: list[str]) -> None:
        number, values = event["group"], event["values"]
        self.next_trial = max(self.next_trial, event["trial"] + 1)
        if number not in self.groups:
            proposal = event.get("proposal", number)
            again = values if proposal is None else self.proposer.propose(proposal)
            if again != values and not notes:
                notes.append(
                    f"the searcher no longer proposes the values of trial {event['trial']}; it "
                    "continues from the scores that are known"
                )
            self._new_group(number, values, proposal)
        self.groups[number].repeats.add(event.get("repeat", 0))

    def suggest(self, trial_id: str) -> Any:
        """Return the spec of the next trial, or that there is none."""
        while True:
            if not self.waiting:
                self._propose()
            if not self.waiting:
                return Searcher.FINISHED
            trial = self.waiting.pop(0)
            try:
                return {"trial": trial.number, **self.check(trial.values, self.seed + trial.repeat)}
            except FtrError as error:
                self.write("end", trial=trial.number, status="failed", cause=str(error), log=None)
                self.end(trial)

    def _propose(self) -> None:
        """Let the trials of another configuration wait, or note why there is none."""
        self.ending = self.ending or self.budget.sated(self.scores(), self.next_group)
        values, proposal = (None, None) if self.ending else self._new_values()
        if values is not None:
            self.waiting = self._new_trials(self._new_group(self.next_group, values, proposal))
        elif self.ending is None:
            tried = len(self.groups)
            self.ending = Ending(
                "space",
                f"no configuration was found that is not among the {tried} that were tried"
                if self.space and (self.size is None or self.size > COUNTED)
                else f"all {tried} configurations of the space were tried",
            )

    def _new_values(self) -> tuple[Values | None, int | None]:
        """Return values that were not tried and the number of their proposal; (None, None): there
        are no more.

        The searcher is asked first. Where it proposes nothing new the number is None: it never
        learns their score.
        """
        for _ in range(ASKS):
            all_tried = self.size is not None and len(self.written) >= self.size
            values = None if all_tried else self.proposer.propose(self.next_proposal)
            if values is None:
                return None, None
            group = self._group_of(values)
            if group is None:
                return values, self.next_proposal
            self.write("duplicate", proposal=self.next_proposal, group=group.number)
            self._add_proposal(group, self.next_proposal)
        others = (values for values in self._others() if self._group_of(values) is None)
        return next(others, None), None

    def _others(self) -> Iterator[Values]:
        """Yield values drawn from the space, then each combination of a space that can be
        counted.
        """
        rng = np.random.default_rng([self.seed, self.next_group])
        for _ in range(DRAWS if self.space else 0):
            yield {key: dimension.sample(rng) for key, dimension in self.space.items()}
        if self.size is not None and self.size <= COUNTED:
            yield from grid_points(self.space)

    def _group_of(self, values: Values) -> Group | None:
        """Return the group that has the configuration of `values`, however they are written."""
        written = _text(values)
        if written not in self.written:
            known = self.resolved.get(self._resolved(values))
            if known is None:
                return None
            self.written[written] = known
        return self.written[written]

    def _resolved(self, values: Values) -> str:
        """Return all that a trial of `values` is configured with, as text: equal for `8` and `8.0`
        where a key takes whole numbers.
        """
        try:
            return _text(self.check(values, self.seed).get("config", values))
        except FtrError:
            return _text(values)

    def _new_group(self, number: int, values: Values, proposal: int | None) -> Group:
        group = self.groups[number] = Group(number, values, [])
        self.next_group = max(self.next_group, number + 1)
        self.written.setdefault(_text(values), group)
        self.resolved.setdefault(self._resolved(values), group)
        if proposal is not None:
            self._add_proposal(group, proposal)
        return group

    def _add_proposal(self, group: Group, proposal: int) -> None:
        """Let the searcher know the score of what it proposed, now or as soon as it is known."""
        self.next_proposal = max(self.next_proposal, proposal + 1)
        group.proposals.append(proposal)
        self._tell(group, [proposal])

    def _new_trials(self, group: Group) -> list[Trial]:
        """Number the repeats of a configuration that have no trial yet, and write them down."""
        # Left out where it is the group's number, as in journals from before there were duplicates.
        proposal = next(iter(group.proposals), None)
        extra = {} if proposal == group.number else {"proposal": proposal}
        trials = []
        for repeat in sorted(set(range(self.repeats)) - group.repeats):
            number, self.next_trial = self.next_trial, self.next_trial + 1
            about = {"values": group.values, "group": group.number, "repeat": repeat}
            self.write("trial", trial=number, **about, **extra)
            group.repeats.add(repeat)
            trials.append(Trial(number, group.values, group.number, repeat))
        return trials

    def scores(self) -> list[float]:
        """Return the scores of the configurations that are done."""
        ended = [group.score(self.repeats) for group in self.groups.values()]
        return [score for done, score in ended if done and score is not None]

    def end(self, trial: Trial) -> None:
        """Record the outcome of a trial."""
        group = self.groups[trial.group]
        group.bests[trial.number] = trial.best
        self._tell(group, group.proposals)

    def _tell(self, group: Group, proposals: list[int]) -> None:
        done, score = group.score(self.repeats)
        for proposal in proposals if done else []:
            self.proposer.tell(proposal, score)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: `Board` calls `end`, for it knows all results."""

    def __getstate__(self) -> None:
        """Pickle nothing: Tune pickles what it is given, and this refers to what cannot be."""

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal is all there is."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""


def _text(values: object) -> str:
    """Return values as text, equal for equal numbers: 8 and 8.0, 0.0 and -0.0."""
    return json.dumps(_plain(values), sort_keys=True, default=str)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(eq=False)
class Board(Callback, Stopper):  # type: ignore[misc]  # ray is not checked
    """The state of a sweep: Tune calls this at every start, result and end of a trial, and asks it
    whether the sweep is over.
    """

    state: SweepState
    journal: Journal
    budget: Budget
    table: LiveTable
    closed: Callable[[Trial], None]
    keep: Callable[..., None] = lambda **how: None
    source: TrialSource = field(init=False)
    retention: Retention = field(init=False)
    ending: Ending | None = None
    refused: str | None = None
    """Why no trial can be ranked, as the first evaluation showed."""
    ended: list[Any] = field(default_factory=list)
    """Tune's trials that are over and not yet emptied."""

    def __getstate__(self) -> None:
        """Pickle nothing, for the same reason as `TrialSource`."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether the budget is used up, or no trial can be ranked."""
        self.ending = self.ending or self.budget.exhausted()
        return self.ending is not None or self.refused is not None

    def write(self, event: str, **fields: Any) -> None:
        """Write an event to the journal, and apply it to the state."""
        self.state.apply(self.journal.append(event, **fields))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw the table and copy the journal now and then, and remove models that can go."""
        self.keep()
        while self.ended:
            forget(self.ended.pop())
        self.retention.remove()
        self.table.update(self.state)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a process started the trial."""
        number = trial.config["trial"]
        known = self.state.trials.get(number)
        attempt = known.attempts + 1 if known else 1
        self.write("start", trial=number, attempt=attempt)
        if attempt > 1:
            self.table.event(f"trial {number}: restarted")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note an evaluation; the last report of a trial has those that were missed."""
        number, final = trial.config["trial"], result.get(FINAL)
        if final and final.get("refused"):
            self.refused = final["cause"]
        known = {evaluation.step for evaluation in self.state.trials[number].results}
        for evaluation in final["evaluations"] if final else [result]:
            if not final or evaluation["step"] not in known:
                self._evaluation(number, evaluation)

    def _evaluation(self, number: int, result: dict[str, Any]) -> None:
        before = self.state.best_value
        keys = ("epoch", "step", "value", "scores", "seconds", "interval")
        self.write("result", trial=number, **{key: result.get(key) for key in keys})
        self.budget.count(number, result["epoch"])
        best = " (best so far)" if self.state.best_value != before else ""
        self.table.event(
            f"trial {number}: epoch {result['epoch']:.3g}, {self.table.primary} "
            f"{result['value']:.4g}{best}"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note how a trial ended: by itself, by its own failure, or stopped."""
        last = trial.last_result or {}
        epochs = trial.config.get("config", {}).get("epochs", math.inf)
        if final := last.get(FINAL):
            self._end(trial, final["status"], final.get("cause"), final.get("log"))
        elif last.get("epoch", 0.0) >= epochs:
            # A scheduler may stop a trial at the very evaluation that is its last.
            self._end(trial, "done")
        else:
            ending = self.budget.exhausted()
            self._end(trial, "stopped", ending.reason if ending else "scheduler")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial's process died once too often."""
        error = getattr(trial, "get_pickled_error", lambda: None)()
        lines = str(error or trial.error_file or "its process died").strip().splitlines()
        last = lines[-1] if lines else "no message"
        self._end(trial, "failed", f"its process died {trial.num_failures} times: {last}")

    def _end(
        self, trial: Any, status: str, cause: str | None = None, log: str | None = None
    ) -> None:
        self.ended.append(trial)
        number = trial.config["trial"]
        self.write("end", trial=number, status=status, cause=cause, log=log)
        self.source.end(self.state.trials[number])
        self.closed(self.state.trials[number])
        self.keep(now=True)
        self.table.event(f"trial {number}: {status}{f' ({cause})' if cause else ''}")


def forget(trial: Any) -> None:
    """Drop what Tune keeps to its end of a trial that is over: three copies of its configuration,
    and means of every score.

    Without this the driver grows by about 100 kB with every trial.
    """
    trial.config = {"trial": trial.config["trial"]}
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.run_metadata.last_result = {}
    trial.run_metadata.metric_analysis = {}
    trial.run_metadata.metric_n_steps = {}


def drive(
    board: Board,
    scheduler: Any,
    shared: Shared,
    trials: Trials,
    storage: str | None = None,
    ahead: int | None = None,
) -> Ending | None:
    """Run trials until the source, the budget or the user ends the sweep; returns why, or None
    where the source gives no reason.

    `ahead` is how many trials may wait for resources, for schedulers that compare a whole bracket;
    None: as few as possible. Ray must run. After a `KeyboardInterrupt` the board is up to date.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(ahead or "auto")
    filesystem, folder = (None, None) if storage is None else storage_folder(storage, "tune")
    with atomic.scratch("tune") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, shared=shared), trials.resources),
            tune_config=tune.TuneConfig(
                search_alg=board.source,
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=trials.at_once,
                trial_dirname_creator=_folder_name,
                trial_name_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder or scratch,
                storage_filesystem=filesystem,
                failure_config=tune.FailureConfig(max_failures=trials.retries),
                callbacks=[board],
                stop=board,
                verbose=0,
            ),
        )
        tuner.fit()
    if filesystem is not None:
        # What Tune wrote for itself; the sweep does not need it.
        with contextlib.suppress(OSError):
            filesystem.delete_dir(folder)
    return board.ending or board.source.ending


def _folder_name(trial: Any) -> str:
    """Return a short name: Tune would put every value of the trial into the folder's."""
    return f"{trial.config.get('trial', 0):04d}-{trial.trial_id}"
