"""Inside Ray Tune: the searcher that proposes trials, and the callback that writes the journal,
shows the table and keeps the budget.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from ftr import atomic
from ftr.config.space import grid_points, grid_size
from ftr.errors import FtrError
from ftr.study.directory import Journal
from ftr.study.remote import storage_folder
from ftr.study.search import Budget, Ending, Proposer, Trials, Values
from ftr.study.table import LiveTable
from ftr.study.trial import Shared, run_trial
from ftr.study.trials import SweepState, Trial

if TYPE_CHECKING:
    from ftr.config.space import Dimension


ASKS, DRAWS = 25, 200
"""How often a searcher is asked for a configuration that is new, and how many are drawn at random
after that.
"""
COUNTED = 100_000
"""Configurations of a space that is gone through from end to end to find one that is left."""
Check = Callable[[Mapping[str, object], int], dict[str, Any]]
"""From the values and the seed of a trial to its spec; raises `FtrError` where no run can have
these values.
"""


@dataclass(slots=True)
class Group:
    """The trials of one configuration: one, or as many as there are repeats.

    `proposals` are the numbers under which the searcher proposed it: several, where it did so
    again.
    """

    values: Values
    proposals: list[int] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    bests: dict[int, float | None] = field(default_factory=dict)

    def score(self, repeats: int) -> tuple[bool, float | None]:
        """Return whether all repeats ended, and the mean of their best scores (None: none has
        one).
        """
        found = [best for best in self.bests.values() if best is not None and math.isfinite(best)]
        return len(self.bests) >= repeats, sum(found) / len(found) if found else None


class TrialSource(Searcher):  # type: ignore[misc]  # ray is not checked
    """A `Searcher` to Tune; to us the one place where trials get their numbers, values and seeds.

    No configuration is handed out twice: values that a searcher proposes again are answered with
    the score that is known.
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
        self.tried: dict[str, int] = {}
        """The group of each configuration, by its values as they are written, and by all it
        resolves to.
        """
        self.written: set[str] = set()
        self.groups: dict[int, Group] = {}
        self.numbers: dict[str, int] = {}
        self.waiting: list[tuple[int, Values, int]] = []
        self.next_trial = self.next_group = self.next_proposal = 0
        self.ending: Ending | None = None

    def recall(self, events: list[dict[str, Any]], state: SweepState) -> list[str]:
        """Bring the proposer to where it was by the same calls in the same order; returns notes for
        people.

        Trials that did not end wait to be handed out again, in their order.
        """
        notes: list[str] = []
        for event in events:
            if event["event"] == "trial":
                self._recall_trial(event, notes)
            elif event["event"] == "duplicate":
                self.proposer.propose(event["proposal"])
                self._proposed_again(event["proposal"], event["group"])
            elif event["event"] == "end":
                trial = state.trials[event["trial"]]
                self._tell(trial.number, trial.group, trial.best)
        self.waiting = [
            (t.number, dict(t.values), t.repeat) for t in state.trials.values() if not t.ended
        ]
        self._complete_groups(state)
        return notes

    def _recall_trial(self, event: dict[str, Any], notes: list[str]) -> None:
        number, group, values = event["trial"], event["group"], event["values"]
        if group not in self.groups:
            proposal = event.get("proposal", group)
            again = values if proposal is None else self.proposer.propose(proposal)
            if again != values and not notes:
                notes.append(
                    f"the searcher does not come to the values of trial {number} again: it "
                    "continues with what it was told"
                )
            self._take(group, values, proposal)
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
        values, proposal = (None, None) if self.ending else self._new_values()
        if values is None:
            self.ending = self.ending or self._ended()
            return
        group, self.next_group = self.next_group, self.next_group + 1
        self._take(group, values, proposal)
        self.waiting = [self._numbered(group, values, repeat) for repeat in range(self.repeats)]

    def _new_values(self) -> tuple[Values | None, int | None]:
        """Return values that were not tried and the number of their proposal; (None, None): there
        are no more.

        The searcher is asked first; where it proposes nothing new, the number is None: it is not
        told of them.
        """
        for _ in range(ASKS):
            values = None if self._through() else self.proposer.propose(self.next_proposal)
            if values is None:
                return None, None
            proposal, self.next_proposal = self.next_proposal, self.next_proposal + 1
            group = self._group_like(values)
            if group is None:
                return values, proposal
            self.write("duplicate", proposal=proposal, group=group)
            self._proposed_again(proposal, group)
        return next(
            (values for values in self._others() if self._group_like(values) is None), None
        ), None

    def _ended(self) -> Ending:
        if self.space and (self.size is None or self.size > COUNTED):
            return Ending(
                "space",
                f"no configuration was found that is not among the {len(self.groups)} that were "
                "tried",
            )
        return Ending("space", f"all {len(self.groups)} configurations of the space were tried")

    def _through(self) -> bool:
        return self.size is not None and len(self.written) >= self.size

    def _others(self) -> Iterator[Values]:
        """Yield values drawn from the space, then each combination of a space that can be
        counted.
        """
        rng = np.random.default_rng([self.seed, self.next_group])
        for _ in range(DRAWS if self.space else 0):
            yield {key: dimension.sample(rng) for key, dimension in self.space.items()}
        if self.size is not None and self.size <= COUNTED:
            yield from grid_points(self.space)

    def _group_like(self, values: Values) -> int | None:
        """Return the group that has the configuration of `values`, however they are spelled."""
        written = _text(values)
        group = self.tried.get(written)
        if group is None:
            group = self.tried.get(self._resolved(values))
            if group is not None:
                self.tried[written] = group
                self.written.add(written)
        return group

    def _resolved(self, values: Values) -> str:
        """Return all that a trial of `values` is configured with, as text: equal for `8` and `8.0`
        where a key takes whole numbers.
        """
        try:
            return _text(self.check(values, self.seed).get("config", values))
        except FtrError:
            return _text(values)

    def _take(self, group: int, values: Values, proposal: int | None) -> None:
        """Note a configuration as tried."""
        self.groups[group] = Group(values, [] if proposal is None else [proposal])
        self.next_proposal = max(self.next_proposal, 0 if proposal is None else proposal + 1)
        self.written.add(_text(values))
        for text in (_text(values), self._resolved(values)):
            self.tried.setdefault(text, group)

    def _proposed_again(self, proposal: int, group: int) -> None:
        """Let the searcher know what became of a configuration it proposes again, now or as soon as
        that is known.
        """
        self.next_proposal = max(self.next_proposal, proposal + 1)
        self.groups[group].proposals.append(proposal)
        done, score = self.groups[group].score(self.repeats)
        if done:
            self.proposer.tell(proposal, score)

    def _numbered(self, group: int, values: Values, repeat: int) -> tuple[int, Values, int]:
        number, self.next_trial = self.next_trial, self.next_trial + 1
        known = self.groups[group]
        known.trials.append(number)
        proposal = next(iter(known.proposals), None)
        # Left out where it is the group's number, as it always was while searchers could propose
        # values twice.
        apart = {} if proposal == group else {"proposal": proposal}
        self.write("trial", trial=number, values=values, group=group, repeat=repeat, **apart)
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
            for proposal in self.groups[group].proposals:
                self.proposer.tell(proposal, score)

    def _group_of(self, number: int) -> int:
        return next(key for key, group in self.groups.items() if number in group.trials)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: `end` is told by the observer, which knows all results."""

    def __getstate__(self) -> None:
        """Keep nothing: Tune pickles what it is given, and not all that hangs on this can be."""

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
        """Redraw the table and copy the journal now and then; let Tune forget what it need not know
        any more.
        """
        self.board.keep()
        while self.ended:
            forget(self.ended.pop())
        now = time.monotonic()
        if now - self.drawn >= REDRAW_SECONDS:
            self.drawn = now
            self.board.table.update(self.board.state)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a process started the trial."""
        number = trial.config["trial"]
        known = self.board.state.trials.get(number)
        attempt = known.attempts + 1 if known else 1
        self.board.write("start", trial=number, attempt=attempt)
        if attempt > 1:
            self.board.table.event(f"trial {number}: restarted")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
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
        self.board.table.event(
            f"trial {number}: epoch {result['epoch']:.3g}, {self.board.table.primary} "
            f"{result['value']:.4g}{best}"
        )

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
        self._end(
            trial,
            "failed",
            f"its process died {trial.num_failures} times: {lines[-1] if lines else 'no message'}",
            None,
        )

    def _end(self, trial: Any, status: str, cause: str | None, log: str | None) -> None:
        number = trial.config["trial"]
        self.board.write("end", trial=number, status=status, cause=cause, log=log)
        ended = self.board.state.trials[number]
        self.board.source.end(ended)
        self.board.closed(ended)
        self.board.keep(now=True)
        self.board.table.event(f"trial {number}: {status}{f' ({cause})' if cause else ''}")


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


def drive(
    board: Board,
    scheduler: Any,
    shared: Shared,
    trials: Trials,
    storage: str | None = None,
    ahead: int | None = None,
) -> Ending | None:
    """Run trials until the source, the budget or the user ends it; returns why, None where the
    source simply ran dry.

    `ahead` is how many trials may wait for room, for schedulers that compare a whole bracket; None:
    as few as Tune can do with. Ray must be up. Raises KeyboardInterrupt as it comes; the board is
    true at any time.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(ahead or "auto")
    limit = Limit(board)
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
                callbacks=[Observer(board)],
                stop=limit,
                verbose=0,
            ),
        )
        tuner.fit()
    if filesystem is not None:
        # What Tune wrote for itself; the sweep does not need it.
        with contextlib.suppress(OSError):
            filesystem.delete_dir(folder)
    return limit.ending or board.source.ending


def _folder_name(trial: Any) -> str:
    """Return a short name: Tune would put every value of the trial into the folder's."""
    return f"{trial.config.get('trial', 0):04d}-{trial.trial_id}"
